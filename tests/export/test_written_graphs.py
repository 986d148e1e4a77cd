"""The written graphs compute what PyTorch's exporter traces from the same networks, under the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from generators import random_generator
from isf_heads import ATTRIBUTES, NOISE, WIDTH, head
from onnx import ModelProto
from traced_graphs import traced_classifier, traced_encoder, traced_generator, traced_isf, traced_mapping

from engines.contract.tensors import (
    Geometry,
    Signature,
    classifier_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    mapping_signature,
)
from export.graphs.classifier import onnx_from_classifier
from export.graphs.encoder import onnx_from_encoder
from export.graphs.generator import onnx_from_generator
from export.graphs.isf import onnx_from_isf
from export.graphs.mapping import onnx_from_mapping
from export.networks.classifier import Classifier
from export.networks.encoder import encoder_from_weights
from export.networks.generator import Generator, generator_from_weights
from export.random_weights import random_encoder
from export.verification import batches_for

pytestmark = pytest.mark.usefixtures("no_gradients")

W_DIM = 16
ENCODER = random_encoder((8, 8, 12, 16), 0, latent_avg=np.ones((8, W_DIM), np.float32))
CHANNELS = {4: 12, 8: 10, 16: 7, 32: 5}

Pair = Callable[[], tuple[Signature, ModelProto, ModelProto]]
"""Returns a signature, the written model and the traced one."""


def generator(clamp: float | None) -> Pair:
    def pair() -> tuple[Signature, ModelProto, ModelProto]:
        signature = generator_signature(Geometry(32, W_DIM))
        network = generator_from_weights(random_generator(32, CHANNELS, conv_clamp=clamp))
        return signature, onnx_from_generator(network, signature), traced_generator(network, signature)

    return pair


def encoder(kind: str) -> Pair:
    def pair() -> tuple[Signature, ModelProto, ModelProto]:
        signature = encoder_signature(Geometry(32, W_DIM))
        network = encoder_from_weights(replace(ENCODER, kind=kind))  # type: ignore[arg-type]
        return signature, onnx_from_encoder(network, signature), traced_encoder(network, signature)

    return pair


def isf(**options: object) -> Pair:
    def pair() -> tuple[Signature, ModelProto, ModelProto]:
        signature = isf_signature(Geometry(32, WIDTH, ATTRIBUTES, NOISE))
        network = head(**options)  # type: ignore[arg-type]
        return signature, onnx_from_isf(network, signature), traced_isf(network, signature)

    return pair


def mapping(depth: int, z_dim: int) -> Pair:
    def pair() -> tuple[Signature, ModelProto, ModelProto]:
        torch.manual_seed(0)
        signature = mapping_signature(Geometry(32, W_DIM, z_dim=z_dim))
        network = Generator(CHANNELS, W_DIM, z_dim=z_dim, mapping_depth=depth).eval()
        return signature, onnx_from_mapping(network.mapping, signature), traced_mapping(network, signature)

    return pair


def classifier() -> tuple[Signature, ModelProto, ModelProto]:
    torch.manual_seed(0)
    signature = classifier_signature(Geometry(256, attributes=ATTRIBUTES))
    network = Classifier([4, 8, 8, 8, 8, 8, 8], 8, len(ATTRIBUTES)).eval()
    return signature, onnx_from_classifier(network, signature), traced_classifier(network, signature)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(generator(None), id="generator"),
        pytest.param(generator(0.7), id="clamped generator"),
        pytest.param(mapping(8, W_DIM), id="mapping"),
        pytest.param(mapping(2, 12), id="mapping of another width"),
        pytest.param(encoder("psp"), id="psp"),
        pytest.param(encoder("e4e"), id="e4e"),
        pytest.param(isf(), id="isf"),
        pytest.param(isf(norm="adain", pre_norm=False, residual=True), id="residual isf"),
        pytest.param(isf(norm="none", heads=1), id="isf on W"),
        pytest.param(classifier, id="classifier"),
    ],
)
def test_a_written_graph_equals_the_traced_one(pair: Pair) -> None:
    signature, written, traced = pair()
    for graph in (written.graph, traced.graph):
        assert [value.name for value in (*graph.input, *graph.output)] == [spec.name for spec in signature]
    assert [list(map(str, value.type.tensor_type.shape.dim)) for value in written.graph.input] == [
        list(map(str, value.type.tensor_type.shape.dim)) for value in traced.graph.input
    ]
    sessions = [session(model) for model in (written, traced)]
    for batch in batches_for(signature, sizes=(1, 3)):
        got, expected = (run.run(None, batch)[0] for run in sessions)
        # The traced graph leaves out an epsilon of 5e-9, and sums may have another order.
        np.testing.assert_allclose(got.astype(np.float64), expected, rtol=0, atol=1 if got.dtype == np.uint8 else 2e-5)
        assert (got != expected).mean() < 0.001 or got.dtype != np.uint8


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
