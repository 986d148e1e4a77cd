"""An exported encoder's weights, layer by layer, and what must hold for them.

Letters in shapes: I and O input and output channels, S squeezed channels, D width of w, L rows of W+.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engines.contract.arrays import AnyArray
from engines.contract.tensors import FACE_SIZE, Signature
from engines.graph.expectations import Expectation, array_of, between, equal, map_of

FeatureLevel = Literal["coarse", "middle", "fine"]
LATERAL_LEVELS: tuple[FeatureLevel, ...] = ("middle", "fine")
"""The levels that laterals give, each twice as large as the one before, in their order in the graph."""


@dataclass(frozen=True)
class ConvWeights:
    """A convolution with padding that keeps the size, the normalisation before it and the activation after it.

    Attributes:
        weight: float32 [O, I, 3, 3] or [O, I, 1, 1].
        stride: 1 or 2.
        scale: the input's factor, float32 [I]; padding zeros are added after scale and shift.
        shift: the input's offset, float32 [I].
        bias: float32 [O].
        slope: the activation's slope for negative values, float32 [O]; 1 = no activation.
    """

    weight: AnyArray
    stride: int
    scale: AnyArray
    shift: AnyArray
    bias: AnyArray
    slope: AnyArray

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return len(self.weight)

    def expectations(self, place: str, channels_in: int, size: int, *, taps: int, stride: int) -> Iterator[Expectation]:
        """List what must hold for a convolution of a map [size, size, channels_in]."""
        yield equal(f"the stride of {place}", self.stride, stride)
        yield equal(f"the remainder of size by stride of {place}", size % stride, 0)
        yield map_of(f"the map of {place}", size // stride, self.channels)
        yield array_of(f"the weight of {place}", self.weight, self.channels, channels_in, taps, taps)
        for name, array in (("scale", self.scale), ("shift", self.shift)):
            yield array_of(f"the {name} of {place}", array, channels_in)
        for name, array in (("bias", self.bias), ("slope", self.slope)):
            yield array_of(f"the {name} of {place}", array, self.channels)


@dataclass(frozen=True)
class ResidualUnitWeights:
    """A residual unit: two convolutions, squeeze-and-excitation gates and the shortcut.

    Attributes:
        first: the first convolution.
        second: the second convolution, whose stride is the unit's.
        squeeze: float32 [S, O].
        excite: float32 [O, S].
        shortcut: a 1x1 convolution; None = the input itself, subsampled by the stride.
    """

    first: ConvWeights
    second: ConvWeights
    squeeze: AnyArray
    excite: AnyArray
    shortcut: ConvWeights | None

    @property
    def stride(self) -> int:
        """The input's size over the output's, 1 or 2."""
        return self.second.stride

    def expectations(self, place: str, channels_in: int, size: int) -> Iterator[Expectation]:
        """List what must hold for a unit on a map [size, size, channels_in]."""
        channels, squeezed = self.second.channels, len(self.squeeze)
        yield between(f"the stride of {place}", self.stride, 1, 2)
        yield from self.first.expectations(place, channels_in, size, taps=3, stride=1)
        yield from self.second.expectations(place, self.first.channels, size, taps=3, stride=self.stride)
        yield map_of(f"the squeezed channels of {place}", 1, squeezed)
        yield array_of(f"the squeeze of {place}", self.squeeze, squeezed, channels)
        yield array_of(f"the excitation of {place}", self.excite, channels, squeezed)
        if self.shortcut is None:
            yield equal(f"the channels of {place}, which has no convolution as its shortcut", channels, channels_in)
        else:
            shortcut = f"the shortcut of {place}"
            yield from self.shortcut.expectations(shortcut, channels_in, size, taps=1, stride=self.stride)
            yield equal(f"the channels of {shortcut}", self.shortcut.channels, channels)


@dataclass(frozen=True)
class StyleHeadWeights:
    """A row's style head: strided convolutions down to one pixel, then a linear map, weight [D, O] and bias [D]."""

    level: FeatureLevel
    convolutions: tuple[ConvWeights, ...]
    weight: AnyArray
    bias: AnyArray

    def expectations(self, place: str, channels_in: int, size: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold for a head on a map [size, size, channels_in]."""
        for layer in self.convolutions:
            yield between(f"the stride of {place}", layer.stride, 1, 2)
            yield from layer.expectations(place, channels_in, size, taps=3, stride=layer.stride)
            channels_in, size = layer.channels, size // layer.stride
        yield equal(f"the size of the last map of {place}", size, 1)
        yield array_of(f"the weight of {place}", self.weight, w_dim, channels_in)
        yield array_of(f"the bias of {place}", self.bias, w_dim)


@dataclass(frozen=True)
class StyleHeads:
    """The style heads of a pSp or e4e encoder and the feature pyramid that they read.

    Attributes:
        laterals: the 1x1 convolutions of the middle level and, except in a light encoder, of the fine level; each with
            the number of the unit whose output it reads.
        heads: one style head for each row of W+.
        offsets: whether all rows but the first are offsets from the first.
    """

    laterals: tuple[tuple[int, ConvWeights], ...]
    heads: tuple[StyleHeadWeights, ...]
    offsets: bool

    def expectations(self, outputs: Sequence[tuple[int, int]], rows: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold for heads on units whose outputs have these numbers of channels and sizes."""
        channels, size = outputs[-1]
        yield between("the number of laterals", len(self.laterals), 0, len(LATERAL_LEVELS))
        sizes: dict[FeatureLevel, int] = {"coarse": size}
        for name, (number, lateral) in zip(LATERAL_LEVELS, self.laterals, strict=False):
            sizes[name] = size << len(sizes)
            yield equal(f"the size of the {name} level", outputs[number][1], sizes[name])
            yield from lateral.expectations(f"the {name} level", *outputs[number], taps=1, stride=1)
            yield equal(f"the channels of the {name} level", lateral.channels, channels)
        yield equal("the number of style heads", len(self.heads), rows)
        for row, head in enumerate(self.heads):
            yield from head.expectations(f"the style head of row {row}", channels, sizes[head.level], w_dim)


@dataclass(frozen=True)
class PooledHead:
    """Linear layers from means over windows of the last map to a code, and from it to all rows of W+.

    Attributes:
        means: the windows along each axis, float32 [P, S]: window i of x [S] has the mean means[i] @ x.
        weight: the layer from the means to the code, float32 [D, O, P, P].
        bias: float32 [D].
        rows: weight [L D, D] and bias [L D] of the layer from the code to all rows; None = every row is the code.
    """

    means: AnyArray
    weight: AnyArray
    bias: AnyArray
    rows: tuple[AnyArray, AnyArray] | None

    def expectations(self, outputs: Sequence[tuple[int, int]], rows: int, w_dim: int) -> Iterator[Expectation]:
        """List what must hold for a head on units whose outputs have these numbers of channels and sizes."""
        channels, size = outputs[-1]
        windows, code = len(self.means), len(self.weight)
        yield array_of("the windows of the pooled map", self.means, windows, size)
        yield between("the number of windows along an axis", windows, 1, size)
        yield map_of("the code as a map", 1, code)
        yield array_of("the weight of the code", self.weight, code, channels, windows, windows)
        yield array_of("the bias of the code", self.bias, code)
        if self.rows is None:
            yield equal("the width of the code", code, w_dim)
        else:
            weight, bias = self.rows
            yield array_of("the weight of the rows", weight, rows * w_dim, code)
            yield array_of("the bias of the rows", bias, rows * w_dim)


@dataclass(frozen=True)
class ExportedEncoderWeights:
    """An encoder.

    Attributes:
        stem: the first convolution.
        units: the body's residual units, the last of which gives the coarse level.
        head: what gives the codes.
        latent_avg: the average code that is added to those of the head, [L, D].
    """

    stem: ConvWeights
    units: tuple[ResidualUnitWeights, ...]
    head: StyleHeads | PooledHead
    latent_avg: AnyArray

    def expectations(self) -> Iterator[Expectation]:
        """List what must hold for an encoder of these channels, strides and rows."""
        yield from self.stem.expectations("the stem", 3, FACE_SIZE, taps=3, stride=1)
        channels, size = self.stem.channels, FACE_SIZE
        outputs = []
        for number, unit in enumerate(self.units):
            yield from unit.expectations(f"unit {number}", channels, size)
            channels, size = unit.second.channels, size // unit.stride
            outputs.append((channels, size))
        rows, w_dim = self.latent_avg.shape
        yield map_of("a row of W+ as a map", 1, w_dim)
        yield array_of("the average code", self.latent_avg, rows, w_dim)
        yield from self.head.expectations(outputs, rows, w_dim)

    def signature_expectations(self, signature: Signature) -> Iterator[Expectation]:
        """List what must hold for an encoder of this signature."""
        (code,) = signature.outputs
        yield equal("the codes' shape", self.latent_avg.shape, code.dims)
