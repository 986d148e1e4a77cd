"""The exported graphs: names, operators, size, and equality with the reference in every CPU engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
import torch
from generators import random_generator
from isf_heads import ATTRIBUTES, NOISE, WIDTH, head
from onnx_operators import FORBIDDEN

from engines import engine_from_onnx
from engines.contract.tensors import Geometry, generator_signature, isf_signature
from engines.graph.generator_weights import MODULATED_CONV, MODULATED_CONV_UP
from engines.model_directory import EngineName, Precision
from export.graphs.generator import onnx_from_generator
from export.graphs.isf import onnx_from_isf
from export.networks.generator import Generator, generator_from_weights, picture_from_output


@dataclass(frozen=True)
class Exported:
    generator: Generator
    model: onnx.ModelProto
    path: Path


SIGNATURE = generator_signature(Geometry(32, 16))


@pytest.fixture(scope="module", params=[None, 0.7], ids=["plain", "clamped"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    generator = generator_from_weights(random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5}, conv_clamp=request.param))
    model = onnx_from_generator(generator, SIGNATURE)
    path = tmp_path_factory.mktemp("exported") / "generator.onnx"
    onnx.save(model, path)
    return Exported(generator, model, path)


def test_names_and_shapes_are_those_of_the_signature(exported: Exported) -> None:
    graph = exported.model.graph
    assert [value.name for value in graph.input] == [spec.name for spec in SIGNATURE.inputs]
    assert [value.name for value in graph.output] == ["image"]
    (image,) = graph.output
    dims = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert dims == ["N", 32, 32, 3]
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_every_modulated_convolution_is_one_function_node(exported: Exported) -> None:
    counts = Counter(node.op_type for node in exported.model.graph.node)
    assert (counts[MODULATED_CONV], counts[MODULATED_CONV_UP]) == (4, 3)
    assert sorted(function.name for function in exported.model.functions) == [MODULATED_CONV, MODULATED_CONV_UP]
    for node in exported.model.graph.node:
        if node.op_type in (MODULATED_CONV, MODULATED_CONV_UP):
            assert {"plugin_namespace", "plugin_version", "aot"} <= {attribute.name for attribute in node.attribute}


def test_the_graph_is_static_but_for_the_batch(exported: Exported) -> None:
    inlined = onnx.inliner.inline_local_functions(exported.model)
    assert not [node.op_type for node in inlined.graph.node if node.op_type.startswith(FORBIDDEN)]
    onnx.checker.check_model(exported.model, full_check=True)


def test_the_file_says_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    assert str(Path.cwd()).encode() not in exported.model.SerializeToString()
    assert not [node.name for node in exported.model.graph.node if node.metadata_props or node.doc_string]


def test_names_say_where_a_node_or_a_weight_belongs(exported: Exported) -> None:
    graph = exported.model.graph
    names = [node.name for node in graph.node]
    assert len({*names}) == len(names)
    assert {"synthesis.32.up.affine.Gemm", "synthesis.32.conv.ModulatedConv2d", "synthesis.32.rgb.Conv"} <= {*names}
    weights = {value.name for value in graph.initializer}
    assert {"mapping.w_avg", "synthesis.4.const", "synthesis.8.up.weight", "synthesis.8.rgb.affine.bias"} <= weights
    assert exported.model.producer_name == "toonify-serve"
    assert "generator" in exported.model.doc_string


@pytest.mark.parametrize("layer", ["4.conv", "4.rgb", "8.up", "8.conv", "8.rgb"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", pytest.param("winograd", marks=pytest.mark.x86)])
def test_a_style_of_zeros_gives_the_references_picture(tmp_path: Path, engine: EngineName, layer: str) -> None:
    weights = random_generator(8)
    affine = (f"synthesis.{layer}.affine.weight", f"synthesis.{layer}.affine.bias")
    silent = {name: np.zeros_like(value) if name in affine else value for name, value in weights.tensors.items()}
    generator = generator_from_weights(replace(weights, tensors=silent))
    signature = generator_signature(Geometry(8, 16))
    onnx.save(onnx_from_generator(generator, signature), tmp_path / "generator.onnx")
    w, psi = np.ones((1, 4, 16), np.float32), np.ones((1, 1), np.float32)
    with torch.no_grad():
        expected = picture_from_output(generator(torch.from_numpy(w), torch.from_numpy(psi))).numpy()
    with engine_from_onnx(tmp_path / "generator.onnx", signature, engine) as loaded:
        got = loaded.run({"w": w, "psi": psi})["image"]
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_the_file_holds_little_more_than_the_weights(exported: Exported) -> None:
    noise = max(layer.noise.numel() for layer in exported.generator.modules() if hasattr(layer, "noise"))
    weights = max(parameter.numel() for parameter in exported.generator.parameters())
    sizes = {value.name: int(np.prod(value.dims)) for value in exported.model.graph.initializer}
    # A noise map folded with the bias would have the size of a whole activation: 8 times as much here, 32 at 1024.
    assert max(sizes.values()) == max(noise, weights)


# Truncation turns a rounding difference on the edge of two levels into one level. Where the processor lacks bfloat16,
# OpenVINO computes in float32; the bound for it is the one that exports are held to.
@pytest.mark.parametrize(
    ("engine", "precision", "worst", "mean"),
    [("onnxruntime", "fp32", 1, 0.01), ("openvino", "fp32", 1, 0.01), ("openvino", "bf16", 255, 1.0)],
)
def test_engines_give_the_references_pictures(
    exported: Exported, engine: EngineName, precision: Precision, worst: int, mean: float
) -> None:
    w = np.random.default_rng(0).standard_normal((3, 8, 16), dtype=np.float32)
    psi = np.float32([[1], [0.7], [0]])
    with torch.no_grad():
        expected = picture_from_output(exported.generator(torch.from_numpy(w), torch.from_numpy(psi))).numpy()
    with engine_from_onnx(exported.path, SIGNATURE, engine, precision) as loaded:
        batch = loaded.run({"w": w, "psi": psi})["image"]
        single = loaded.run({"w": w[:1], "psi": psi[:1]})["image"]
    for got in (batch, np.concatenate([single, expected[1:]])):
        error = np.abs(got.astype(int) - expected)
        assert error.max() <= worst
        assert error.mean() <= mean


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(exported: Exported) -> None:
    # The OpenVINO engine runs a generator sample by sample; other engines' sums may depend on the batch.
    w = np.random.default_rng(0).standard_normal((3, 8, 16), dtype=np.float32)
    psi = np.float32([[1], [0.7], [0]])
    with engine_from_onnx(exported.path, SIGNATURE, "openvino") as loaded:
        batch = loaded.run({"w": w, "psi": psi})["image"]
        alone = [loaded.run({"w": w[k : k + 1], "psi": psi[k : k + 1]})["image"] for k in range(3)]
    assert np.array_equal(batch, np.concatenate(alone))


@pytest.mark.parametrize("heads", [8, 1])
def test_the_isf_graph_equals_the_reference_with_its_heads_stacked(tmp_path: Path, heads: int) -> None:
    isf = head(heads=heads)
    signature = isf_signature(Geometry(32, WIDTH, ATTRIBUTES, NOISE))
    model = onnx_from_isf(isf, signature)
    assert not [node.op_type for node in model.graph.node if node.op_type.startswith(FORBIDDEN)]
    onnx.save(model, tmp_path / "isf.onnx")
    rng = np.random.default_rng(0)
    shapes = {spec.name: (3, *spec.dims) for spec in signature.inputs}
    values = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    with torch.no_grad():
        expected = isf(**{name: torch.from_numpy(value) for name, value in values.items()}).numpy()
    for engine in ("onnxruntime", "openvino"):
        with engine_from_onnx(tmp_path / "isf.onnx", signature, engine) as loaded:
            got = loaded.run(values)["w_edited"]
        # Measured 5e-7 on values of order 1: sums in another order.
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
