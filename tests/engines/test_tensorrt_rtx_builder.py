"""NVIDIA's own parser and builder, those of TensorRT for RTX, accept every graph that this package exports.

They run without a GPU. They know the operators and types that TensorRT knows, but no plugins.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx.inliner
import pytest
import tensorrt_rtx_builder
import torch
from isf_heads import ATTRIBUTES, NOISE, WIDTH, head
from onnx import ModelProto, TensorProto

from benchmarks.networks import CONFIG_F
from engines.contract.tensors import (
    Geometry,
    classifier_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    mapping_signature,
)
from engines.graph.generator_weights import ExportedGeneratorWeights, generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.model_directory import Precision
from engines.tensorrt.graph import exported_graph, graph_of_native_layers
from export.graphs.classifier import onnx_from_classifier
from export.graphs.encoder import onnx_from_encoder
from export.graphs.generator import onnx_from_generator
from export.graphs.isf import onnx_from_isf
from export.graphs.live_generator import onnx_from_live_generator
from export.graphs.mapping import onnx_from_mapping
from export.networks.classifier import Classifier
from export.networks.encoder import encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.random_weights import random_encoder, random_generator

GEOMETRY = Geometry(32, WIDTH, ATTRIBUTES, NOISE)
SMALL = {4: 12, 8: 10, 16: 7, 32: 5}

needs_builder = pytest.mark.skipif(
    find_spec("tensorrt_rtx_libs") is None, reason="TensorRT for RTX has packages for Linux on x86-64 only"
)


@cache
def network() -> Generator:
    return generator_from_weights(random_generator(SMALL, 0, w_dim=WIDTH, mapping_depth=2, conv_clamp=256.0))


@cache
def generator() -> ModelProto:
    return onnx_from_generator(network(), generator_signature(GEOMETRY))


@cache
def live_generator() -> ModelProto:
    return onnx_from_live_generator([network()] * 2, generator_signature(replace(GEOMETRY, transferred=1)))


@cache
def mapping() -> ModelProto:
    return onnx_from_mapping(network().mapping, mapping_signature(replace(GEOMETRY, z_dim=WIDTH)))


@cache
def encoder(kind: Literal["psp", "e4e"]) -> ModelProto:
    average = np.zeros((GEOMETRY.rows, WIDTH), np.float32)
    weights = random_encoder((8, 8, 16, 16), 0, latent_avg=average)
    return onnx_from_encoder(encoder_from_weights(replace(weights, kind=kind)), encoder_signature(GEOMETRY))


@cache
def isf() -> ModelProto:
    return onnx_from_isf(head(), isf_signature(GEOMETRY))


@cache
def classifier() -> ModelProto:
    torch.manual_seed(0)
    return onnx_from_classifier(Classifier([4, 8, 8, 8, 8, 8, 8], 8, len(ATTRIBUTES)), classifier_signature(GEOMETRY))


def weights_of(model: ModelProto, folder: Path) -> ExportedGeneratorWeights:
    onnx.save(model, folder / "generator.onnx")
    return generator_weights_from_graph(read_graph(folder / "generator.onnx"))


def built(model: ModelProto, folder: Path, batches: tuple[int, int]) -> dict[str, Any]:
    """What the builder, in a process of its own, says about ``model``."""
    path = folder / "graph.onnx"
    onnx.save(model, path)
    command = [sys.executable, tensorrt_rtx_builder.__file__, str(path), *map(str, batches)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


NETWORKS: dict[str, Callable[[], ModelProto]] = {
    "generator": generator,
    "pSp encoder": partial(encoder, "psp"),
    "e4e encoder": partial(encoder, "e4e"),
    "ISF head": isf,
    "classifier": classifier,
    "mapping network": mapping,
}
PRECISIONS: list[Precision] = ["fp32", "fp16"]
BUILT = [pair for pair in itertools.product(NETWORKS, PRECISIONS) if pair != ("mapping network", "fp16")]
"""The networks in the precisions of engines; mapping networks are in float32 only."""
SHARED_BODY = "already exists, the output tensors of this new instance will not be queryable"
"""The parser's warning about a function's body, whose nodes have the same names in each of its instances."""


def graph_for_engine(network: str, precision: Precision, batch: int | None, folder: Path) -> ModelProto:
    """The graph of which an engine is built."""
    if (network, precision) == ("generator", "fp16"):
        return graph_of_native_layers(weights_of(generator(), folder), generator_signature(GEOMETRY), batch)
    return exported_graph(NETWORKS[network](), batch, precision)


@needs_builder
@pytest.mark.parametrize("batch", [1, 4, 8, None])
@pytest.mark.parametrize(("network", "precision"), BUILT)
def test_an_exported_network_is_parsed_and_built(
    tmp_path: Path, network: str, precision: Precision, batch: int | None
) -> None:
    answer = built(graph_for_engine(network, precision, batch, tmp_path), tmp_path, (batch or 1, batch or 8))
    assert not answer["errors"]
    assert not answer["warnings"]
    assert answer["bytes"] > 0


@needs_builder
@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_as_exported_is_parsed_and_built(tmp_path: Path, network: str) -> None:
    answer = built(NETWORKS[network](), tmp_path, (1, 8))
    assert not answer["errors"]
    assert all(SHARED_BODY in warning for warning in answer["warnings"])
    assert answer["bytes"] > 0


@needs_builder
def test_the_generator_of_the_papers_size_is_parsed_and_built(tmp_path: Path) -> None:
    geometry = Geometry(max(CONFIG_F))
    network = generator_from_weights(random_generator(CONFIG_F, 0, w_dim=512, mapping_depth=8))
    weights = weights_of(onnx_from_generator(network, generator_signature(geometry)), tmp_path)
    answer = built(graph_of_native_layers(weights, generator_signature(geometry), 1), tmp_path, (1, 1))
    assert not answer["errors"]
    assert answer["bytes"] > 50_000_000


@pytest.mark.parametrize(("network", "precision"), BUILT)
def test_every_node_of_an_engines_graph_has_a_name_of_its_own(
    tmp_path: Path, network: str, precision: Precision
) -> None:
    names = [node.name for node in graph_for_engine(network, precision, None, tmp_path).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("network", [*NETWORKS, "live generator"])
def test_uint8_is_only_cast(network: str) -> None:
    # TensorRT has no other operator on it.
    model = live_generator() if network == "live generator" else NETWORKS[network]()
    graph = onnx.inliner.inline_local_functions(model).graph
    tensors = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    tensors |= {
        node.output[0]
        for node in graph.node
        if any(attribute.name == "to" and attribute.i == TensorProto.UINT8 for attribute in node.attribute)
    }
    users = {node.op_type for node in graph.node if tensors.intersection(node.input)}
    assert users <= {"Cast"}
