"""Model directories of a pipeline so small that its pictures can be computed by hand.

Resolution 32, 8 rows of 16, two attributes, ISF noise of 4:

    encoder      w = (face[:8, :16, 0] - 128) / 128
    isf          w_edited = w + row_strength * (sum(attributes) + z[0]) / 4
    classifier   probabilities = face[0, :2, 1] / 255
    generator    image = trunc(clamp(127.5 x + 128, 0, 255)), x = gain * psi * w, the 128 numbers of w 24 times over
    mapping      w = z / 4 in every row, from a z of 16; all have the same but "small", which has none

The generator "small" is as if cut at 16: it takes 8 rows too, and gives their numbers 6 times over. The generator
"live" is like "plain" where its blend is the base's, and like "inverse" where it is the transferred model's:

    gain = 1 - blend[0] - blend[1] / 2 - blend[2] / 4 - blend[3] / 4
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines import engine_from_directory
from engines.contract.tensors import DType, TensorSpec
from engines.hashed_files import sha256_of
from engines.matching import MAPPING
from engines.model_directory import Component, LiveBlend, Manifest, Sizes, Verification, manifest_of, write_manifest
from serving.code_spread import CODE_SPREAD, CodeSpread, write_code_spread
from serving.pipeline import Pipeline

SIZES = Sizes(resolution=32, w_dim=16)
ISF_SIZES = Sizes(resolution=32, w_dim=16, attributes=("age", "smile"), noise_size=4)
GAINS = {"plain": 1.0, "inverse": -1.0}
MAPPING_SIZES = Sizes(resolution=32, w_dim=16, z_dim=16)
SMALL_SIZES = Sizes(resolution=16, w_dim=16, rows=8)
DEFAULT_BLEND = (1.0, 1.0, 0.0, 0.0)
"""The default shares of the generator "live" at 4, 8, 16 and 32: r_swap 8."""

REACH = 3.0
"""Default reach of the encoder's codes. The rows of noisy faces lie 2.3 from 0 (mean), those of a black face 4."""

BLEND_WEIGHTS = np.array([[1], [0.5], [0.25], [0.25]], np.float32)

_ELEMENTS = {DType.UINT8: TensorProto.UINT8, DType.FLOAT32: TensorProto.FLOAT}


@dataclass(frozen=True)
class TinyModels:
    """The model directories."""

    encoder: Path
    isf: Path
    classifier: Path
    generators: dict[str, Path]
    live: Path

    def pipeline(self, generator: str = "plain", *, isf: bool = True, classifier: bool = True) -> Pipeline:
        """The in-process form of the ensemble ``toonify_<generator>``."""
        live = generator == "live"
        return Pipeline(
            engine_from_directory(self.encoder),
            engine_from_directory(self.live if live else self.generators[generator]),
            engine_from_directory(self.isf) if isf else None,
            engine_from_directory(self.classifier) if isf and classifier else None,
            default_blend=DEFAULT_BLEND if live else (),
        )


def write_tiny_models(folder: Path) -> TinyModels:
    generators = {name: write_generator(folder / name, name) for name in GAINS}
    for directory in generators.values():
        write_mapping(directory)
    generators["small"] = write_generator(folder / "small", "small", SMALL_SIZES)
    encoder, isf = write_encoder(folder / "encoder"), write_isf(folder / "isf")
    live = write_generator(folder / "live", "live", live=LiveBlend(resolutions=(4, 8, 16, 32), default=DEFAULT_BLEND))
    write_mapping(live)
    return TinyModels(encoder, isf, write_classifier(folder / "classifier"), generators, live)


def blend_weights(models: int) -> NDArray[np.float32]:
    """What each share takes from the gain, [4 * models, 1]: the k-th of the models a k-th of the first one's part."""
    return np.reshape(BLEND_WEIGHTS / np.arange(1, models + 1), (-1, 1)).astype(np.float32)


def gain_of_blend(blend: ArrayLike, models: int = 1) -> NDArray[np.float32]:
    """The gain of a live generator for shares [N, 4 * models] or [4 * models]: [N, 1]."""
    return np.float32(1) - np.atleast_2d(np.asarray(blend, np.float32)) @ blend_weights(models)


def expected_pictures(
    faces: NDArray[np.uint8], *, gain: ArrayLike = 1.0, psi: float = 1.0, shift: ArrayLike = 0.0, side: int = 32
) -> NDArray[np.uint8]:
    """The pictures of the pipeline; ``shift`` [N, 8, 1] is what the ISF adds to w."""
    w = (faces[:, :8, :16, 0].astype(np.float32) - 128) / 128 + np.asarray(shift, np.float32)
    return _pictures_of(w, gain, psi, side)


def expected_samples(
    seeds: Sequence[int], *, gain: ArrayLike = 1.0, psi: ArrayLike = 1.0, shift: ArrayLike = 0.0
) -> NDArray[np.uint8]:
    """The pictures of random faces."""
    z = np.stack([np.random.default_rng(seed).standard_normal(16, np.float32) for seed in seeds])
    w = (z / np.float32(4))[:, None].repeat(8, 1) + np.asarray(shift, np.float32)
    return _pictures_of(w, gain, psi, 32)


def _pictures_of(w: NDArray[np.float32], gain: ArrayLike, psi: ArrayLike, side: int) -> NDArray[np.uint8]:
    x = np.asarray(gain, np.float32) * (np.float32(psi) * w).reshape(len(w), -1)
    levels = np.clip(127.5 * x + 128, 0, 255).astype(np.uint8)
    return np.tile(levels, 3 * side**2 // 128).reshape(-1, side, side, 3)


def write_encoder(directory: Path, sizes: Sizes = SIZES) -> Path:
    rows, w_dim = sizes.geometry.rows, sizes.w_dim
    nodes = [
        helper.make_node("Slice", ["face", "start", "end", "axes"], ["corner"]),
        helper.make_node("Squeeze", ["corner", "channel"], ["red"]),
        helper.make_node("Cast", ["red"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["level", "half"], ["centred"]),
        helper.make_node("Div", ["centred", "half"], ["w"]),
    ]
    constants = {"start": [0, 0, 0], "end": [rows, w_dim, 1], "axes": [1, 2, 3], "channel": [3], "half": 128.0}
    return _write_directory(directory, "encoder", "encoder", sizes, nodes, constants)


def with_code_spread(encoder: Path, folder: Path, reach: float = REACH) -> Path:
    """A copy of an encoder that knows how far out codes of good faces lie: within this distance of 0 in every row."""
    shutil.copytree(encoder, folder)
    manifest = manifest_of(folder)
    geometry = manifest.sizes.geometry
    mean = np.zeros((geometry.rows, geometry.w_dim), np.float32)
    write_code_spread(folder, CodeSpread(mean, np.full(geometry.rows, reach, np.float32)))
    files = {**manifest.files, CODE_SPREAD: sha256_of(folder / CODE_SPREAD)}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    return folder


def write_isf(directory: Path, sizes: Sizes = ISF_SIZES) -> Path:
    nodes = [
        helper.make_node("ReduceSum", ["attributes", "one"], ["sum"]),
        helper.make_node("Slice", ["z", "zero", "one", "one"], ["z0"]),
        helper.make_node("Add", ["sum", "z0"], ["total"]),
        helper.make_node("Div", ["total", "four"], ["shift"]),
        helper.make_node("Mul", ["shift", "row_strength"], ["row_shift"]),
        helper.make_node("Unsqueeze", ["row_shift", "two"], ["column"]),
        helper.make_node("Add", ["w", "column"], ["w_edited"]),
    ]
    return _write_directory(directory, "isf", "isf", sizes, nodes, {"zero": [0], "one": [1], "two": [2], "four": 4.0})


def write_classifier(directory: Path, sizes: Sizes = ISF_SIZES) -> Path:
    nodes = [
        helper.make_node("Slice", ["face", "start", "end", "axes"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["level", "white"], ["share"]),
        helper.make_node("Reshape", ["share", "flat"], ["probabilities"]),
    ]
    constants = {
        "start": [0, 0, 1],
        "end": [1, len(sizes.attributes), 2],
        "axes": [1, 2, 3],
        "white": 255.0,
        "flat": [0, -1],
    }
    return _write_directory(directory, "classifier", "classifier", sizes, nodes, constants)


def write_generator(directory: Path, name: str, sizes: Sizes = SIZES, live: LiveBlend | None = None) -> Path:
    """A generator with the gain of its name, or 1, or of each request's blend."""
    resolution = sizes.resolution
    times = resolution**2 * 3 // (sizes.geometry.rows * sizes.w_dim)
    of_blend = [
        helper.make_node("Reshape", ["blend", "flat"], ["all_shares"]),
        helper.make_node("MatMul", ["all_shares", "weights"], ["less"]),
        helper.make_node("Sub", ["one", "less"], ["gain"]),
    ]
    nodes = [
        *(of_blend if live else []),
        helper.make_node("Reshape", ["w", "flat"], ["numbers"]),
        helper.make_node("Mul", ["numbers", "psi"], ["truncated"]),
        helper.make_node("Mul", ["truncated", "gain"], ["x"]),
        helper.make_node("Tile", ["x", "times"], ["repeated"]),
        helper.make_node("Reshape", ["repeated", "shape"], ["picture"]),
        helper.make_node("Mul", ["picture", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["levels"]),
        helper.make_node("Clip", ["levels", "low", "high"], ["clamped"]),
        helper.make_node("Cast", ["clamped"], ["image"], to=TensorProto.UINT8),
    ]
    gain: dict[str, ArrayLike] = (
        {"one": 1.0, "weights": blend_weights(len(live.models))} if live else {"gain": GAINS.get(name, 1.0)}
    )
    numbers = {**gain, "scale": 127.5, "middle": 128.0, "low": 0.0, "high": 255.0}
    shapes = {"flat": [0, -1], "times": [1, times], "shape": [0, resolution, resolution, 3]}
    details = {"blend": {"schedule": "--r-swap 16"}}
    return _write_directory(directory, "generator", name, sizes, nodes, numbers | shapes, details, live)


def write_mapping(generator: Path, sizes: Sizes = MAPPING_SIZES) -> Path:
    """The mapping network of a generator, in its directory."""
    nodes = [
        helper.make_node("Div", ["z", "four"], ["quarter"]),
        helper.make_node("Unsqueeze", ["quarter", "axis"], ["row"]),
        helper.make_node("Tile", ["row", "repeats"], ["w"]),
    ]
    constants = {"four": 4.0, "axis": [1], "repeats": [1, sizes.geometry.rows, 1]}
    name = manifest_of(generator).name
    return _write_directory(generator / MAPPING, "mapping", name, sizes, nodes, constants)


def _write_directory(
    directory: Path,
    component: Component,
    name: str,
    sizes: Sizes,
    nodes: Sequence[NodeProto],
    constants: Mapping[str, ArrayLike],
    details: Mapping[str, object] | None = None,
    live: LiveBlend | None = None,
) -> Path:
    directory.mkdir(parents=True)
    manifest = Manifest(
        component=component,
        name=name,
        sizes=sizes,
        engine="onnxruntime",
        precision="fp32",
        sources=(),
        files={},
        details=dict(details or {}),
        tools={},
        verification=Verification(inputs="none", worst=0, mean=0, psnr=None, bound="none"),
        live=live,
    )
    model = directory / manifest.model_file
    signature = manifest.signature
    graph = helper.make_graph(
        nodes,
        component,
        [_value(spec) for spec in signature.inputs],
        [_value(spec) for spec in signature.outputs],
        [_constant(key, value) for key, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), model)
    write_manifest(directory, manifest.model_copy(update={"files": {model.name: sha256_of(model)}}))
    return directory


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _ELEMENTS[spec.dtype], ["N", *spec.dims])


def _constant(name: str, value: ArrayLike) -> TensorProto:
    """Numbers with a point are float32, lists of whole numbers int64."""
    array = np.asarray(value)
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
