"""Model files that were altered: every engine answers in one sentence, and no shape reaches the kernels unchecked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx_encoders import ROWS, W_DIM, small_encoder
from tiny_models import TinyModels, write_isf
from winograd_instruction_sets import NONE_HERE

from engines import engine_from_onnx, read_manifest
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError, ModelDirectoryError
from engines.contract.tensors import Geometry, Signature, encoder_signature, generator_signature
from engines.engine import Engine
from engines.graph.encoder_reader import encoder_weights_from_graph
from engines.graph.expectations import MIN_SHARED_USE, array_of, check_expectations
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.torch.engine import TorchEngine
from engines.winograd.library import instruction_sets_here
from export.graphs.encoder import onnx_from_encoder
from export.networks.encoder import encoder_from_weights
from export.random_weights import random_encoder

GENERATOR = generator_signature(Geometry(32, 16))
ENCODER = encoder_signature(Geometry(32, W_DIM, rows=ROWS))
ENGINES = ["onnxruntime", "openvino", "torch", "winograd" if instruction_sets_here() else NONE_HERE]

Change = Callable[[ModelProto], None]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    onnx.save(small_encoder(), path)
    return path


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_style_heads("all", tmp_path_factory.mktemp("all_rows"))


@pytest.fixture(scope="module")
def one_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_style_heads("one", tmp_path_factory.mktemp("one_code"))


def without_style_heads(heads: Literal["one", "all"], folder: Path) -> Path:
    encoder = random_encoder((4, 4, 4, 8), 0, latent_avg=np.ones((ROWS, W_DIM), np.float32), heads=heads)
    path = folder / "encoder.onnx"
    onnx.save(onnx_from_encoder(encoder_from_weights(encoder), ENCODER), path)
    return path


def altered(model: Path, folder: Path, change: Change) -> Path:
    proto = onnx.load(model)
    change(proto)
    path = folder / model.name
    path.write_bytes(proto.SerializeToString())
    return path


def nodes(model: ModelProto, operator: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == operator]


def constant(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def changed(operator: str, number: int, index: int, function: Callable[[AnyArray], AnyArray]) -> Change:
    """A change of a constant input of a node, which is found by its operator and its number among such nodes."""

    def change(model: ModelProto) -> None:
        tensor = constant(model, nodes(model, operator)[number].input[index])
        array = np.ascontiguousarray(function(numpy_helper.to_array(tensor)))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


# ---- Shapes and types of weights.


@pytest.mark.x86
@pytest.mark.skipif(not instruction_sets_here(), reason="no compiled kernels run on this processor")
def test_the_small_encoder_which_is_altered_here_runs_as_in_onnx_runtime(encoder: Path) -> None:
    face = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    with opened("onnxruntime", encoder, ENCODER) as engine, opened("winograd", encoder, ENCODER) as winograd:
        expected, got = (loaded.run({"face": face})["w"] for loaded in (engine, winograd))
    assert np.abs(got - expected).max() < 1e-4 * np.ptp(expected)


GENERATOR_CHANGES = {
    "noise of one column": (changed("ModulatedConv2d", -1, -2, lambda a: a[..., :1]), "noise .* 32x32: float32"),
    "noise of another size": (changed("ModulatedConv2dUp", 0, -2, lambda a: a[..., :2, :2]), "noise of a convolution"),
    "bias of one": (changed("ModulatedConv2d", -1, -1, lambda a: a[:1]), "bias of a convolution at 32x32"),
    "ToRGB narrower": (changed("Conv", 2, 1, lambda a: a[:, :3]), "weight of toRGB at 16x16"),
    "ToRGB of two colours": (changed("Conv", 2, 1, lambda a: a[:2]), r"float32 \[3, any, 1, 1\]"),
    "wider than its block": (changed("ModulatedConv2d", 2, 1, lambda a: np.concatenate([a] * 4)), "at 16x16"),
    "no outputs": (changed("ModulatedConv2d", -1, 1, lambda a: a[:0]), "at 32x32|any"),
    "constant narrower": (changed("ModulatedConv2d", 0, 0, lambda a: a[:, :8]), "weight of a convolution at 4x4"),
    "constant of one pixel": (changed("ModulatedConv2d", 0, 0, lambda a: a[..., :1, :1]), "the constant input"),
    "affine wider than w": (changed("Gemm", 0, 1, lambda a: np.concatenate([a] * 9, 1)), "weight of a style"),
    "kernel 5x5": (changed("ModulatedConv2d", -1, 1, lambda a: np.zeros((*a.shape[:2], 5, 5), a.dtype)), "3, 3"),
    "float16": (changed("ModulatedConv2d", -1, 1, lambda a: a.astype(np.float16)), "which is float16"),
    "float64": (changed("ModulatedConv2d", -1, -1, lambda a: a.astype(np.float64)), "which is float64"),
    "a row that w does not have": (changed("Slice", -1, 1, lambda a: a * 0 + 99), "largest row of W"),
    "a row below zero": (changed("Slice", -1, 1, lambda a: a * 0 - 1), "row of W"),
    "w of another width": (changed("Sub", 1, 0, lambda a: a[:8]), "weight of a style"),
}


@pytest.mark.parametrize(("change", "sentence"), GENERATOR_CHANGES.values(), ids=GENERATOR_CHANGES.keys())
def test_a_generator_whose_weights_do_not_fit_each_other_is_refused(
    generator: Path, tmp_path: Path, change: Change, sentence: str
) -> None:
    with pytest.raises(
        EngineError, match=rf"generator\.onnx as a generator: got .*({sentence}).*export the model again"
    ):
        generator_weights_from_graph(read_graph(altered(generator, tmp_path, change)), GENERATOR)


def strided(operator: str, number: int, stride: int) -> Change:
    def change(model: ModelProto) -> None:
        for attribute in nodes(model, operator)[number].attribute:
            if attribute.name == "strides":
                attribute.ints[:] = [stride, stride]

    return change


ENCODER_CHANGES = {
    "first convolution of a unit strided": (strided("Conv", 1, 2), "stride of unit 0"),
    "second convolution of a unit not strided": (strided("Conv", 2, 1), "unit|size"),
    "stride of 3": (strided("Conv", 2, 3), "strides of 1 or 2"),
    "a style head that ends at four pixels": (strided("Conv", -1, 1), "size of the last map"),
    "stem narrower": (changed("Conv", 0, 1, lambda a: a[:1]), "stem|constant"),
    "squeeze wider": (changed("Conv", 3, 1, lambda a: np.concatenate([a] * 9, 1)), "squeeze of unit 0"),
    "linear wider": (changed("Gemm", 3, 1, lambda a: np.concatenate([a] * 9, 1)), "style head of row 3"),
    "normalisation narrower": (changed("BatchNormalization", 0, 4, lambda a: a[:1]), r"float32 \[\d+\] at"),
    "negative variance": (changed("BatchNormalization", 0, 4, lambda a: -a), "positive variance"),
    "float16": (changed("Conv", 1, 1, lambda a: a.astype(np.float16)), "which is float16"),
    "other rows": (changed("Add", -1, 1, lambda a: a[:3]), "number of style heads"),
}


@pytest.mark.parametrize(("change", "sentence"), ENCODER_CHANGES.values(), ids=ENCODER_CHANGES.keys())
def test_an_encoder_whose_weights_do_not_fit_each_other_is_refused(
    encoder: Path, tmp_path: Path, change: Change, sentence: str
) -> None:
    with pytest.raises(EngineError, match=rf"encoder\.onnx as an encoder: got .*({sentence}).*export the model"):
        encoder_weights_from_graph(read_graph(altered(encoder, tmp_path, change)), ENCODER)


ALL_ROWS_CHANGES = {
    "other windows down than across": (changed("MatMul", -1, 0, lambda a: 2 * a), "same windows along both axes"),
    "no windows": (changed("MatMul", -1, 0, lambda a: a[:0]), "any"),
    "weight of the code narrower": (changed("Gemm", 0, 1, lambda a: a[:, 1:]), r"a weight of \d+ means"),
    "bias of the code shorter": (changed("Gemm", 0, 2, lambda a: a[1:]), r"float32 \[\d+\] at"),
    "rows of a wider code": (changed("Gemm", 1, 1, lambda a: np.concatenate([a] * 9, 1)), "weight of the rows"),
    "normalisation narrower": (changed("BatchNormalization", -1, 4, lambda a: a[1:]), r"float32 \[\d+\] at"),
    "negative variance": (changed("BatchNormalization", -1, 4, lambda a: -a), "positive variance"),
    "other rows": (changed("Add", -1, 1, lambda a: a[:3]), "weight of the rows"),
    "windows of a larger map": (strided("Conv", -3, 2), "windows of the pooled map"),
}


@pytest.mark.parametrize(("change", "sentence"), ALL_ROWS_CHANGES.values(), ids=ALL_ROWS_CHANGES.keys())
def test_an_encoder_without_style_heads_whose_weights_do_not_fit_is_refused(
    all_rows: Path, tmp_path: Path, change: Change, sentence: str
) -> None:
    with pytest.raises(EngineError, match=rf"encoder\.onnx as an encoder: got .*({sentence}).*export the model"):
        encoder_weights_from_graph(read_graph(altered(all_rows, tmp_path, change)), ENCODER)


def test_one_code_of_another_width_than_the_average_is_refused(one_code: Path, tmp_path: Path) -> None:
    change = changed("Add", -1, 1, lambda a: a[:, :3])
    with pytest.raises(EngineError, match=r"encoder\.onnx as an encoder: got the width of the code: \d+, expected 3"):
        encoder_weights_from_graph(read_graph(altered(one_code, tmp_path, change)), ENCODER)


@pytest.mark.parametrize(
    ("geometry", "sentence"),
    [
        (Geometry(64, 16), r"pictures' shape: \(32, 32, 3\), expected \(64, 64, 3\)"),
        (Geometry(32, 8), "width of w: 16, expected 8"),
        (Geometry(32, 16, rows=3), "largest row of W"),
    ],
)
def test_a_generator_of_another_signature_is_refused(generator: Path, geometry: Geometry, sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        generator_weights_from_graph(read_graph(generator), generator_signature(geometry))


def test_layers_may_not_use_more_numbers_than_the_file_justifies() -> None:
    expectation = array_of("a weight", np.zeros(MIN_SHARED_USE // 8, np.float32), MIN_SHARED_USE // 8)
    check_expectations("a model", [expectation] * 8, stored=1)
    check_expectations("a model", [expectation] * 9, stored=MIN_SHARED_USE)
    with pytest.raises(EngineError, match=r"got layers with more than .* numbers, expected about the 1 that the file"):
        check_expectations("a model", [expectation] * 9, stored=1)


# ---- Files that every engine refuses in one sentence.


def _external(location: str, offset: str) -> Change:
    def change(model: ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", "64")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def _dims(*dims: int) -> Change:
    def change(model: ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tensor.dims[:] = dims

    return change


def _circle(model: ModelProto) -> None:
    activation = nodes(model, "Gemm")[-1]
    activation.input[0] = activation.output[0]


def _missing_constant(model: ModelProto) -> None:
    model.graph.initializer.remove(max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data)))


def _half_without_conversion(model: ModelProto) -> None:
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _unknown_operator(model: ModelProto) -> None:
    nodes(model, "Gemm")[0].op_type = "Evil"


def _other_output(model: ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"


FILES = {
    "external weights above the directory": _external("../secret.bin", "0"),
    "external weights at an absolute path": _external("/etc/passwd", "0"),
    "external weights under a name that no file system has": _external("x" * 5000, "0"),
    "a negative offset": _external("generator.onnx", "-8"),
    "an offset of 2^63": _external("generator.onnx", str(2**63)),
    "dims that lie": _dims(2**40, 3),
    "dims that overflow": _dims(2**32, 2**32),
    "negative dims": _dims(-4, -4),
    "dims of no number": _dims(0, 2**62, 2**62),
    "too many dims": _dims(*[1] * 100),
    "a circle": _circle,
    "a missing constant": _missing_constant,
    "float16 where float32 is expected": _half_without_conversion,
    "an unknown operator": _unknown_operator,
}


def opened(engine: str, model: Path, signature: Signature) -> Engine:
    if engine == "torch":
        return TorchEngine(model, signature, precision="fp32", device="cpu")
    return engine_from_onnx(model, signature, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("component", ["generator", "encoder"])
def test_every_engine_refuses_an_altered_file_in_one_sentence(
    component: str, change: Change, engine: str, generator: Path, encoder: Path, tmp_path: Path
) -> None:
    original, signature = (generator, GENERATOR) if component == "generator" else (encoder, ENCODER)
    model = altered(original, tmp_path, change)
    inputs = {spec.name: np.ones((1, *spec.dims), spec.dtype.numpy) for spec in signature.inputs}
    with pytest.raises(EngineError) as refusal, opened(engine, model, signature) as loaded:
        loaded.run(inputs)
    sentence = str(refusal.value)
    assert f"{component}.onnx" in sentence
    assert len(sentence) < 700
    assert not any(word in sentence for word in ("Error", "index", ".cpp", "Traceback", "argument"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_file_with_other_outputs_than_the_manifest_says_is_refused_before_it_runs(
    engine: str, generator: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"got the outputs other uint8 .* expected image uint8 \[N,32,32,3\]"):
        opened(engine, altered(generator, tmp_path, _other_output), GENERATOR)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_refuses_what_is_no_model_in_one_sentence(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    os.mkfifo(tmp_path / "fifo")
    for content in (b"", b"no protobuf", os.urandom(1000), b"\x08" * 5000):
        path.write_bytes(content)
        with pytest.raises(EngineError, match=r"generator\.onnx"):
            opened(engine, path, GENERATOR)
    for name in ("missing", "fifo", "."):
        with pytest.raises(EngineError, match="got no such file"):
            opened(engine, tmp_path / name, GENERATOR)


def test_a_graph_attribute_is_refused_since_exported_graphs_have_none(generator: Path, tmp_path: Path) -> None:
    def change(model: ModelProto) -> None:
        node = nodes(model, "Gemm")[0]
        node.attribute.append(helper.make_attribute("body", onnx.GraphProto(name="inner")))

    with pytest.raises(EngineError, match="an attribute 'body' of Gemm"):
        read_graph(altered(generator, tmp_path, change))


# ---- Manifests.

MANIFESTS = {
    "resolution of 10^30": ({"resolution": 10**30}, "sizes.resolution"),
    "negative resolution": ({"resolution": -4}, "sizes.resolution"),
    "resolution 0": ({"resolution": 0}, "sizes.resolution"),
    "resolution 300": ({"resolution": 300}, "Input should be a power of two at sizes.resolution"),
    "w_dim of 10^12": ({"w_dim": 10**12}, "sizes.w_dim"),
    "w_dim 0": ({"w_dim": 0}, "codes should have a width"),
    "negative rows": ({"rows": -3}, "sizes.rows"),
    "rows of 10^9": ({"rows": 10**9}, "sizes.rows"),
    "no attributes": ({"attributes": []}, "an isf or a classifier should have attributes"),
    "negative noise": ({"noise_size": -1}, "sizes.noise_size"),
}


@pytest.mark.parametrize(("sizes", "sentence"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_with_impossible_sizes_is_refused(tmp_path: Path, sizes: dict[str, object], sentence: str) -> None:
    directory = write_isf(tmp_path / "isf")
    path = directory / "manifest.json"
    content = json.loads(path.read_text())
    content["sizes"] |= sizes
    path.write_text(json.dumps(content))
    with pytest.raises(ModelDirectoryError, match=f"(?i){sentence}"):
        read_manifest(directory)


def test_a_manifest_with_a_file_name_that_no_file_system_has_is_refused(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    content = json.loads((tiny_model_directories.isf / "manifest.json").read_text())
    content["files"] = {"x" * 10_000: "0" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ModelDirectoryError, match="String should have at most 255 characters at files"):
        read_manifest(tmp_path)
