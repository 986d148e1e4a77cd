"""The choices that the page offers: the loaded or served generators, and the attributes of the ISF head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.contract.attributes import Ranges
from engines.contract.errors import RequestError
from engines.matching import mapping_of
from engines.model_directory import Manifest, manifest_of
from serving.back_end import BackEnd
from serving.client.defaults import DEFAULT_MODEL
from serving.live_blends import BlendChoices, choices_of_directory

if TYPE_CHECKING:  # models in this process need no gRPC
    from serving.client.calls import ServedModel

_ENSEMBLE = "toonify_"


@dataclass(frozen=True)
class Choice:
    """A generator to choose.

    ``name``: its name in ``serving.controls.Style.model``; None is the server's default.
    ``blend``: the schedule by which it was blended, such as "--r-swap 16"; empty if it is not a blend.
    ``resolution``: side of its pictures in pixels.
    ``resolutions``, ``shares``: of a live model the resolutions 4, 8, ..., R and its default shares at them, which are
    those of the first of the models ``transferred``.
    ``samples``: it draws random faces, with its mapping network.
    """

    name: str | None
    blend: str
    resolution: int
    resolutions: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    transferred: tuple[str, ...] = ()
    samples: bool = False


@dataclass(frozen=True)
class Catalogue:
    """The generators, the default one first, and the ISF head's attributes in its order; none without a head.

    ``keeps``: a classifier reads the attributes that an edit does not name, so that they stay.
    ``ranges``: the ranges of directions; empty for labels.
    """

    models: tuple[Choice, ...]
    attributes: tuple[str, ...]
    keeps: bool = False
    ranges: Ranges = field(default_factory=dict)

    def r_swaps(self, model: str | None) -> tuple[int, ...]:
        """Return every r_swap of a live model, from the base alone to the transferred model alone.

        Raises:
            RequestError: the model is unknown or not live.
        """
        resolutions = next((choice.resolutions for choice in self.models if choice.name == model), ())
        if not resolutions:
            raise RequestError(
                f"model {model!r}",
                got="a model whose blend is fixed",
                expected="a live model, which toonify-export blend --live makes",
                remedy="choose another model",
            )
        return (resolutions[0] // 2, *resolutions)


def catalogue_of(back_end: BackEnd) -> Catalogue:
    """Describe the back end's models, by asking its server or reading its model directories.

    Raises:
        RequestError: there is no model with the back end's model name.
        ModelDirectoryError: a directory has no usable manifest.
        ServerError: the server cannot be reached.
    """
    return _loaded(back_end) if back_end.in_process else _served(back_end)


def _loaded(back_end: BackEnd) -> Catalogue:
    samples = {manifest_of(directory).name for directory in back_end.generators if mapping_of(directory)}
    models = tuple(_loaded_choice(manifest, samples=manifest.name in samples) for manifest in back_end.manifests())
    head = manifest_of(back_end.isf) if back_end.isf else None
    attributes, ranges = (head.sizes.attributes, head.ranges) if head else ((), {})
    return Catalogue(models, attributes, back_end.classifier is not None, ranges)


def _loaded_choice(manifest: Manifest, *, samples: bool) -> Choice:
    blend, resolution = manifest.details.get("blend", {}).get("schedule", ""), manifest.sizes.resolution
    return _choice(manifest.name, blend, resolution, choices_of_directory(manifest), samples=samples)


def _served(back_end: BackEnd) -> Catalogue:
    with back_end.client() as client:
        default = client.describe(back_end.model or DEFAULT_MODEL)
        siblings = [client.describe(name) for name in client.models() if name.startswith(_ENSEMBLE)]
    choices = [_served_choice(model.name.removeprefix(_ENSEMBLE), model) for model in siblings]
    generator = default.parameters.get("generator")
    if generator not in [choice.name for choice in choices]:
        choices.insert(0, _served_choice(None, default))
    choices.sort(key=lambda choice: choice.name != generator)
    ranges = {name: bounds for name, bounds in default.attribute_ranges.items() if bounds.rest is not None}
    return Catalogue(tuple(choices), default.attributes, default.reads_attributes, ranges)


def _served_choice(name: str | None, model: ServedModel) -> Choice:
    blend = model.parameters.get("blend", "")
    return _choice(name, blend, model.resolution, model.blend_choices, samples=bool(model.mapping))


def _choice(name: str | None, blend: str, resolution: int, blends: BlendChoices, *, samples: bool) -> Choice:
    if not blends.default:
        return Choice(name, blend, resolution, samples=samples)
    shares = tuple(blends.default[:: len(blends.transferred)])
    return Choice(name, blend, resolution, blends.resolutions, shares, tuple(blends.transferred), samples=samples)
