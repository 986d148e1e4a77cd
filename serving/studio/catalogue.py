"""The choices that the page offers: the loaded or served generators, and the attributes of the ISF head."""

from __future__ import annotations

from dataclasses import dataclass

from engines.model_directory import manifest_of
from serving.back_end import BackEnd
from serving.client import DEFAULT_MODEL
from serving.client.calls import ServedModel

_ENSEMBLE = "toonify_"


@dataclass(frozen=True)
class Choice:
    """A generator to choose.

    ``name``: its name in ``serving.controls.Style.model``; None is the server's default.
    ``blend``: the schedule by which it was blended, such as "--r-swap 16"; empty if it is not a blend.
    ``resolution``: side of its pictures in pixels.
    """

    name: str | None
    blend: str
    resolution: int


@dataclass(frozen=True)
class Catalogue:
    """The generators, the default one first, and the ISF head's attributes in its order; none without a head.

    ``keeps``: a classifier reads the attributes that an edit does not name, so that they stay.
    """

    models: tuple[Choice, ...]
    attributes: tuple[str, ...]
    keeps: bool = False


def catalogue_of(back_end: BackEnd) -> Catalogue:
    """Describe the back end's models, by asking its server or reading its model directories.

    Raises:
        RequestError: there is no model with the back end's model name.
        ModelDirectoryError: a directory has no usable manifest.
        ServerError: the server cannot be reached.
    """
    return _loaded(back_end) if back_end.in_process else _served(back_end)


def _loaded(back_end: BackEnd) -> Catalogue:
    models = tuple(
        Choice(manifest.name, manifest.details.get("blend", {}).get("schedule", ""), manifest.sizes.resolution)
        for manifest in back_end.manifests()
    )
    attributes = manifest_of(back_end.isf).sizes.attributes if back_end.isf else ()
    return Catalogue(models, attributes, back_end.classifier is not None)


def _served(back_end: BackEnd) -> Catalogue:
    with back_end.client() as client:
        default = client.describe(back_end.model or DEFAULT_MODEL)
        siblings = [client.describe(name) for name in client.models() if name.startswith(_ENSEMBLE)]
    choices = [_choice(model.name.removeprefix(_ENSEMBLE), model) for model in siblings]
    generator = default.parameters.get("generator")
    if generator not in [choice.name for choice in choices]:
        choices.insert(0, _choice(None, default))
    choices.sort(key=lambda choice: choice.name != generator)
    return Catalogue(tuple(choices), default.attributes, default.reads_attributes)


def _choice(name: str | None, model: ServedModel) -> Choice:
    return Choice(name, model.parameters.get("blend", ""), model.resolution)
