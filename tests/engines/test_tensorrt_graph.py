"""The generator's graph for TensorRT, run in ONNX Runtime; and the metadata that binds a plan to its GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from generators import random_generator
from numpy.typing import NDArray
from onnx import TensorProto

from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, encoder_signature, generator_signature
from engines.graph.generator_weights import ExportedGeneratorWeights, generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.model_directory import Precision
from engines.plan_metadata import PlanMetadata, Platform, check_platform, kernel_capability
from engines.tensorrt.graph import exported_graph, graph_of_native_layers, graph_with_plugins, plugin_nodes
from engines.tensorrt.operators import OPERATORS
from export.graphs.encoder import onnx_from_encoder
from export.graphs.generator import onnx_from_generator
from export.networks.encoder import encoder_from_weights
from export.networks.generator import generator_from_weights
from export.random_weights import random_encoder
from export.verification import batches_for

BATCH = 2
SIGNATURE = generator_signature(Geometry(32, 16))
ENCODER_SIGNATURE = encoder_signature(Geometry(32, 16))

W = np.random.default_rng(0).standard_normal((BATCH, 8, 16)).astype(np.float32)
PSI = np.array([[1], [0.6]], np.float32)

GRAPHS: dict[str, Callable[[ExportedGeneratorWeights], onnx.ModelProto]] = {
    "passes": partial(graph_with_plugins, signature=SIGNATURE, batch=BATCH, capability=80),
    "fused": partial(graph_with_plugins, signature=SIGNATURE, batch=BATCH, capability=80, fused_from=16),
    "native": partial(graph_of_native_layers, signature=SIGNATURE, batch=BATCH),
    "native, any batch": partial(graph_of_native_layers, signature=SIGNATURE, batch=None),
}


def exported_generator(folder: Path, channels: dict[int, int], conv_clamp: float | None = None) -> Path:
    generator = generator_from_weights(random_generator(max(channels), channels, conv_clamp=conv_clamp))
    model = folder / "generator.onnx"
    onnx.save(onnx_from_generator(generator, generator_signature(Geometry(max(channels), 16))), model)
    return model


@pytest.fixture(scope="module", params=[None, 0.7], ids=["plain", "clamped"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_generator(tmp_path_factory.mktemp("generator"), {4: 12, 8: 10, 16: 7, 32: 5}, request.param)


@pytest.fixture(scope="module")
def weights(exported: Path) -> ExportedGeneratorWeights:
    return generator_weights_from_graph(read_graph(exported))


def run(model: onnx.ModelProto, **inputs: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, inputs)
    array: NDArray[Any] = output
    return array


@pytest.mark.parametrize("form", GRAPHS)
def test_a_graph_for_tensorrt_gives_the_exported_generators_pictures(
    exported: Path, weights: ExportedGeneratorWeights, form: str
) -> None:
    expected = run(onnx.load(exported), w=W, psi=PSI).astype(int)
    difference = np.abs(run(GRAPHS[form](weights), w=W, psi=PSI) - expected)
    assert difference.max() <= 1  # half precision moves values on the edge between two levels
    assert difference.mean() < 0.1


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("passes", {"Tail": 3, "ToRgb": 3, "LastToRgb": 1}),
        ("fused", {"Tail": 1, "ConvUp": 2, "ToRgb": 2, "ConvRgb": 1, "LastConvRgb": 1}),
        ("native", {}),
        ("native, any batch", {}),
    ],
)
def test_each_layer_becomes_one_node(weights: ExportedGeneratorWeights, form: str, expected: dict[str, int]) -> None:
    graph = GRAPHS[form](weights)
    assert Counter(node.op_type for node in graph.graph.node if node.op_type in OPERATORS) == expected
    assert plugin_nodes(graph) == sum(expected.values())
    assert sorted(function.name for function in graph.functions) == sorted(expected)


def test_wide_layers_are_convolved_by_tensorrt_and_finished_by_a_plugin(tmp_path: Path) -> None:
    # One block of the fused kernel holds 128 output channels; ToRGB sums over them.
    exported = exported_generator(tmp_path, {4: 8, 8: 136})
    signature = generator_signature(Geometry(8, 16))
    graph = graph_with_plugins(
        generator_weights_from_graph(read_graph(exported)), signature, BATCH, capability=80, fused_from=8
    )
    assert Counter(node.op_type for node in graph.graph.node if node.op_type in OPERATORS) == {
        "ToRgb": 1,
        "ConvUp": 1,
        "LastToRgb": 1,
    }
    difference = np.abs(run(graph, w=W[:, :4], psi=PSI) - run(onnx.load(exported), w=W[:, :4], psi=PSI).astype(int))
    assert difference.max() <= 1


def test_a_node_says_where_its_plugin_is(weights: ExportedGeneratorWeights) -> None:
    for node in GRAPHS["fused"](weights).graph.node:
        if node.op_type in OPERATORS:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            assert (attributes["plugin_namespace"], attributes["plugin_version"]) == (b"toonify", b"1")
            assert (attributes["aot"], attributes["capability"]) == (1, 80)
            assert attributes["clamp"] in (np.inf, np.float32(0.7))
            assert len(node.input) == len(OPERATORS[node.op_type].inputs)


@pytest.fixture(scope="module")
def encoder() -> onnx.ModelProto:
    weights = random_encoder((8, 12, 16, 24), 0, latent_avg=W[0])
    return onnx_from_encoder(encoder_from_weights(weights), ENCODER_SIGNATURE)


def test_a_graph_for_any_batch_gives_each_sample_what_it_gives_it_alone(weights: ExportedGeneratorWeights) -> None:
    graph = GRAPHS["native, any batch"](weights)
    together, alone = run(graph, w=W, psi=PSI), [run(graph, w=W[i : i + 1], psi=PSI[i : i + 1]) for i in range(BATCH)]
    assert np.abs(together - np.concatenate(alone).astype(int)).max() <= 1


def test_an_encoder_for_any_batch_is_in_half_precision_too(encoder: onnx.ModelProto) -> None:
    face = batches_for(ENCODER_SIGNATURE)[1]["face"]
    graph = exported_graph(encoder, None, "fp16")
    for part in (face, face[:1]):
        np.testing.assert_allclose(run(graph, face=part), run(encoder, face=part), rtol=0, atol=0.03)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_an_encoder_keeps_its_codes_and_its_tensors_and_has_a_fixed_batch(
    encoder: onnx.ModelProto, precision: Precision
) -> None:
    graph = exported_graph(encoder, BATCH, precision)
    types = {t.data_type for t in graph.graph.initializer if t.data_type != TensorProto.INT64}
    assert types == ({TensorProto.FLOAT16, TensorProto.FLOAT} if precision == "fp16" else {TensorProto.FLOAT})
    assert {value.type.tensor_type.shape.dim[0].dim_value for value in [*graph.graph.input, *graph.graph.output]} == {
        BATCH
    }
    face = batches_for(ENCODER_SIGNATURE)[1]["face"]
    expected = run(encoder, face=face)
    # Values of order 1, through fifty layers.
    np.testing.assert_allclose(run(graph, face=face), expected, rtol=0, atol=0.03 if precision == "fp16" else 2e-4)


def test_a_generator_in_single_precision_is_the_exported_one_inlined(exported: Path) -> None:
    graph = exported_graph(onnx.load(exported), BATCH, "fp32")
    assert not graph.functions
    assert np.array_equal(run(graph, w=W, psi=PSI), run(onnx.load(exported), w=W, psi=PSI))


DIRECTORY = Path("models/toon")
HERE = Platform(tensorrt="11.4.0.106", gpu="NVIDIA H100 80GB HBM3", capability=90)


def plan_metadata(**changes: object) -> PlanMetadata:
    fields = {"platform": HERE, "compatibility": "none", "plugins": 17, "kernel_capability": 90, "plans": {}}
    return PlanMetadata.model_validate(fields | changes)


def test_a_plan_runs_where_it_was_built() -> None:
    check_platform(plan_metadata(), HERE, DIRECTORY)


@pytest.mark.parametrize("change", [{"tensorrt": "10.16.1.11"}, {"gpu": "NVIDIA A100", "capability": 80}])
def test_a_plan_of_another_tensorrt_or_gpu_is_refused_with_the_command(change: dict[str, object]) -> None:
    built = plan_metadata(platform=HERE.model_copy(update=change))
    with pytest.raises(EngineError, match=r"expected TensorRT 11\.4.* \(9\.0\); build .*: toonify-export plans models"):
        check_platform(built, HERE, DIRECTORY)


def test_compatible_plans_run_on_other_gpus() -> None:
    h200 = HERE.model_copy(update={"gpu": "NVIDIA H200"})
    check_platform(plan_metadata(compatibility="same_compute_capability"), h200, DIRECTORY)
    check_platform(plan_metadata(compatibility="ampere_plus"), HERE.model_copy(update={"capability": 120}), DIRECTORY)


@pytest.mark.parametrize(
    ("gpu", "kernels"),
    [(80, 80), (86, 86), (87, 86), (89, 89), (90, 90), (100, 100), (103, 89), (120, 120), (121, 89)],
)
def test_kernels_are_compiled_for_the_gpu_or_the_newest_before_it_whose_code_it_runs(gpu: int, kernels: int) -> None:
    assert kernel_capability(gpu, "none") == kernels
    assert kernel_capability(gpu, "ampere_plus") == 80


def test_a_gpu_before_ampere_has_no_plugins() -> None:
    with pytest.raises(EngineError, match=r"got a GPU of compute capability 7\.5, expected 8\.0 or newer"):
        kernel_capability(75, "none")
