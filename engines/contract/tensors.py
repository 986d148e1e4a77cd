"""The single source of tensor names, shapes and dtypes for ONNX, engines, Triton configurations and clients.

Letters in shapes: N batch, L rows of W+ (``2 * log2(R) - 2``), R resolution, D width of w (512 in public models),
A attributes, Z size of the ISF noise or of the mapping network's z, G resolutions 4, 8, ..., R of the generator's
layers (``log2(R) - 1``), T transferred models of a live generator, whose blends have the base and these as parents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from math import prod

import numpy as np

FACE_SIZE = 256
"""Side of the encoder's aligned input face, in pixels."""

LIGHT_ENCODER_ROWS = 7
"""Rows of W+, counted from the first, that hold pose and expression and that a light encoder gives; the further rows
hold colours and texture."""

ISF_ATTRIBUTES = ("gender", "glasses", "age", "expression")
"""The attributes' order in the published ISF checkpoints; 1 = male, wears glasses, old, smiling."""


class DType(Enum):
    """An element type with its NumPy name and its Triton name."""

    UINT8 = ("uint8", "UINT8")
    FLOAT32 = ("float32", "FP32")
    INT64 = ("int64", "INT64")
    BYTES = ("object", "BYTES")

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return np.dtype(self.value[0])

    @property
    def triton(self) -> str:
        return self.value[1]

    @property
    def triton_config(self) -> str:
        """Triton's name in ``config.pbtxt``, where BYTES is called STRING."""
        return "TYPE_STRING" if self is DType.BYTES else f"TYPE_{self.triton}"


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor; ``dims`` omits the batch dimension, and -1 in it stands for any length."""

    name: str
    dtype: DType
    dims: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.dtype.numpy.name} [N{''.join(f',{d}' for d in self.dims)}]"


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __iter__(self) -> Iterator[TensorSpec]:
        return iter(self.inputs + self.outputs)

    @property
    def blend(self) -> TensorSpec | None:
        """The blend, which is an input of a live generator; None for any other model."""
        return next((spec for spec in self.inputs if spec.name == BLEND), None)

    @property
    def transferred(self) -> int:
        """How many transferred models a live generator blends with the base; 0 for any other model."""
        return prod(self.blend.dims[1:]) if self.blend else 0


def rows_of(resolution: int) -> int:
    """The number of W+ rows that a generator of this resolution reads: 18 at 1024, 14 at 256."""
    return 2 * (resolution.bit_length() - 1) - 2


def resolution_of(rows: int) -> int:
    """The resolution of the generator that reads this many rows of W+: 1024 for 18, 256 for 14."""
    return 1 << (rows // 2 + 1)


def resolutions_to(resolution: int) -> tuple[int, ...]:
    """The resolutions of the layers of a generator, 4, 8, ..., R: a live blend has one share for each."""
    return tuple(1 << level for level in range(2, resolution.bit_length()))


def resolution_of_shares(count: int) -> int:
    """Return the side in pixels of the pictures of a live generator with this many shares; see ``resolutions_to``."""
    return 2 << count


@dataclass(frozen=True)
class Geometry:
    """The sizes from which every signature of one served pipeline follows; no ``attributes`` means no ISF head.

    ``resolution`` is the side of the pictures in pixels. ``rows`` is the number of W+ rows; 0 is replaced by that of
    ``resolution``. A generator without its highest layers still takes as many rows as the complete one. ``z_dim`` is
    the width of the mapping network's z, where there is such a network. The generator of a live pipeline blends
    ``transferred`` models with the base as each request says; 0 stands for a generator of one blend. ``guarded``: codes
    that lie farther out than those of good faces are pulled in.
    """

    resolution: int
    w_dim: int = 512
    attributes: tuple[str, ...] = ISF_ATTRIBUTES
    noise_size: int = 64
    rows: int = 0
    z_dim: int = 0
    transferred: int = 0
    guarded: bool = False

    def __post_init__(self) -> None:
        if not self.rows:
            object.__setattr__(self, "rows", rows_of(self.resolution))

    @property
    def live(self) -> bool:
        """True if each request chooses the blend."""
        return self.transferred > 0


def _face() -> TensorSpec:
    return TensorSpec("face", DType.UINT8, (FACE_SIZE, FACE_SIZE, 3))


def _w(g: Geometry, name: str = "w") -> TensorSpec:
    return TensorSpec(name, DType.FLOAT32, (g.rows, g.w_dim))


def _image(g: Geometry) -> TensorSpec:
    return TensorSpec("image", DType.UINT8, (g.resolution, g.resolution, 3))


def _jpeg(name: str) -> TensorSpec:
    return TensorSpec(name, DType.BYTES, (1,))


def _controls(g: Geometry, suffix: str = "", *, optional: bool) -> tuple[TensorSpec, ...]:
    if not g.attributes:  # no ISF head: its controls would be tensors without elements, which Triton refuses
        return _generator_controls(g, suffix, optional=optional)
    return *_edit_controls(g, suffix, optional=optional), *_generator_controls(g, suffix, optional=optional)


def _edit_controls(g: Geometry, suffix: str = "", *, optional: bool) -> tuple[TensorSpec, ...]:
    """The head's controls; a head of directions has no noise."""
    noise = (TensorSpec(f"z{suffix}", DType.FLOAT32, (g.noise_size,), optional),) if g.noise_size else ()
    return (
        TensorSpec(f"attributes{suffix}", DType.FLOAT32, (len(g.attributes),), optional),
        *noise,
        TensorSpec(f"row_strength{suffix}", DType.FLOAT32, (g.rows,), optional),
    )


def _generator_controls(g: Geometry, suffix: str = "", *, optional: bool) -> tuple[TensorSpec, ...]:
    psi = TensorSpec(f"psi{suffix}", DType.FLOAT32, (1,), optional)
    blend = TensorSpec(f"{BLEND}{suffix}", DType.FLOAT32, blend_dims(g.resolution, g.transferred), optional)
    return (psi, blend) if g.live else (psi,)


def blend_dims(resolution: int, transferred: int) -> tuple[int, ...]:
    """Return the dims of the input ``BLEND``: [G] for one transferred model, and [G, T] for several."""
    count = len(resolutions_to(resolution))
    return (count, transferred) if transferred > 1 else (count,)


BLEND = "blend"
"""The input of a live generator: the transferred model's share at each resolution, lowest first, [G]; if there are
several such models, the share of each, [G, T]. The rest is the base's."""

SEED = TensorSpec("seed", DType.INT64, (1,), optional=True)


def _request_controls(g: Geometry) -> tuple[TensorSpec, ...]:
    seed = (SEED,) if g.attributes else ()
    return (*_controls(g, optional=True), *seed)


def encoder_signature(g: Geometry) -> Signature:
    """Aligned face, RGB 0..255 -> W+ code, to which w_avg is already added."""
    return Signature((_face(),), (_w(g),))


def classifier_signature(g: Geometry) -> Signature:
    """Aligned face, RGB 0..255 -> how probably it has each attribute, 0..1."""
    return Signature((_face(),), (TensorSpec("probabilities", DType.FLOAT32, (len(g.attributes),)),))


def isf_signature(g: Geometry) -> Signature:
    """``w_edited = w + row_strength * (F(w, z, attributes) - w)``; attributes are the full target vector.

    A head of directions, without noise, has no input z.
    """
    return Signature((_w(g), *_edit_controls(g, optional=False)), (_w(g, "w_edited"),))


def generator_signature(g: Geometry) -> Signature:
    """W+ code, truncation (1 = none) and, if it is live, the blend -> picture, RGB 0..255."""
    return Signature((_w(g), *_generator_controls(g, optional=False)), (_image(g),))


def mapping_signature(g: Geometry) -> Signature:
    """Standard normal z -> W+ code, untruncated, whose rows are all equal."""
    return Signature((TensorSpec("z", DType.FLOAT32, (g.z_dim,)),), (_w(g),))


FILLED = "_filled"
"""Suffix of the outputs of ``condition`` and ``draw_z``: controls with their defaults filled in, and guarded codes."""


CODE_DISTANCE = TensorSpec("code_distance", DType.FLOAT32, (1,))
"""How far out a code lies; above 1 it lies farther out than those of good faces, and was pulled in to 1."""


def condition_signature(g: Geometry, *, face: bool = False) -> Signature:
    """Optional controls -> all controls, defaults filled in; where codes are guarded, also the code as it is used.

    Without ``attributes``, ``row_strength_filled`` is zero and the code passes the ISF head unchanged. ``w`` is an
    input because Triton refuses a request that gives none of a model's inputs. With ``face`` the face is an input too,
    from which a classifier reads the attributes that a request keeps.
    """
    inputs = (_w(g), _face()) if face else (_w(g),)
    guarded = (CODE_DISTANCE, _w(g, f"w{FILLED}")) if g.guarded else ()
    return Signature((*inputs, *_request_controls(g)), (*guarded, *_controls(g, FILLED, optional=False)))


def encode_signature(g: Geometry) -> Signature:
    """The served ensemble of guarded codes: aligned face -> W+ code as ``toonify`` uses it, and how far out it lay."""
    return Signature((_face(),), (_w(g), CODE_DISTANCE))


def decode_face_signature() -> Signature:
    """JPEG of an aligned face of any size -> face."""
    return Signature((_jpeg("jpeg"),), (_face(),))


def encode_picture_signature(g: Geometry) -> Signature:
    """Picture -> JPEG."""
    return Signature((_image(g),), (_jpeg("image_jpeg"),))


def toonify_signature(g: Geometry) -> Signature:
    """The served ensemble: aligned face and optional controls -> picture."""
    return Signature((_face(), *_request_controls(g)), (_image(g),))


def draw_z_signature(g: Geometry) -> Signature:
    """Optional seed or z, and the generator's controls -> z and controls, with defaults filled in.

    A request gives at least one of these tensors, which determines the batch.
    """
    controls = (TensorSpec("z", DType.FLOAT32, (g.z_dim,), optional=True), *_generator_controls(g, optional=True))
    filled = (replace(spec, name=spec.name + FILLED, optional=False) for spec in controls)
    return Signature((SEED, *controls), tuple(filled))


def sample_signature(g: Geometry) -> Signature:
    """The served ensemble of random faces: the inputs of ``draw_z`` -> picture."""
    return Signature(draw_z_signature(g).inputs, (_image(g),))


def toonify_jpeg_signature(g: Geometry) -> Signature:
    """The served ensemble with JPEG files: JPEG of an aligned face and optional controls -> JPEG of the picture."""
    return Signature((_jpeg("jpeg"), *_request_controls(g)), (_jpeg("image_jpeg"),))
