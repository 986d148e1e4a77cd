"""What a model repository serves: its sizes, generators and mapping networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engines.contract.attributes import Ranges
from engines.contract.tensors import Geometry
from serving.live_blends import BlendChoices, blend_parameters


@dataclass(frozen=True)
class ServedMapping:
    """A mapping network to serve, which several generators may share.

    ``name``: the NAME in ``mapping_NAME``.
    ``z_dim``: the width of its z.
    """

    name: str
    z_dim: int

    @property
    def model(self) -> str:
        """The name of the served model."""
        return f"mapping_{self.name}"


@dataclass(frozen=True)
class ServedGenerator:
    """A generator to serve.

    ``name``: the NAME in ``generator_NAME`` and ``toonify_NAME``.
    ``parameters``: what clients can read about it.
    ``resolution``: side of its pictures in pixels; None is the geometry's.
    ``default_blend``: the shares of a live generator for requests that give none; empty if it is not live.
    ``transferred``: the names of a live generator's transferred models.
    ``mapping``: its mapping network, with which ``sample_NAME`` draws random faces.
    """

    name: str
    parameters: Mapping[str, str]
    resolution: int | None = None
    default_blend: tuple[float, ...] = ()
    transferred: tuple[str, ...] = ("transfer",)
    mapping: ServedMapping | None = None

    def geometry(self, shared: Geometry) -> Geometry:
        """Return the sizes of the generator's own models, given those that all models of the repository share."""
        transferred = len(self.transferred) if self.default_blend else 0
        return replace(shared, resolution=self.resolution or shared.resolution, transferred=transferred)

    @property
    def blend_parameters(self) -> dict[str, str]:
        """The parameters by which clients know a live generator's blends."""
        return blend_parameters(BlendChoices(self.name, self.default_blend, self.transferred))


@dataclass(frozen=True)
class RepositorySpec:
    """The content of a repository; the first generator is the default one.

    With a ``classifier`` an edit keeps the attributes that it does not name; ``ranges`` are those of a head of
    directions. Where the geometry is guarded, each model ``condition`` has the spread of the encoder's codes beside it.
    """

    geometry: Geometry
    generators: tuple[ServedGenerator, ...]
    classifier: bool = False
    ranges: Ranges = field(default_factory=dict)
