"""The graphs that PyTorch's exporter traces from the reference networks: the oracle of those that are written.

The modules here rewrite copies of the networks as the written graphs do: each modulated convolution becomes one node,
and the ISF head's MLPs per row become batched matrix products. A trace takes ten seconds or more.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnxscript.optimizer
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from engines.contract.tensors import Signature
from engines.graph.generator_weights import MODULATED_CONV, MODULATED_CONV_UP
from engines.graph.writer import OPSET
from export.graphs.functions import DOMAIN, PLUGIN_ATTRIBUTES, modulated_conv_function
from export.networks.classifier import Classifier
from export.networks.encoder import Encoder, input_from_face
from export.networks.generator import (
    ACTIVATION_GAIN,
    DEMODULATION_EPSILON,
    Generator,
    SynthesisLayer,
    picture_from_output,
)
from export.networks.isf import ConditionNetwork, Isf


class ModulatedConvNode(nn.Module):
    """A synthesis layer as one ``ModulatedConv2d`` node with folded constants; it can be exported but not run."""

    squared_weight: Tensor

    def __init__(self, layer: SynthesisLayer) -> None:
        super().__init__()
        self.affine, self.size = layer.affine, layer.noise.shape[0]
        weight = layer.scaled_weight()
        self.channels = weight.shape[0]
        # rsqrt((q + eps) / 2) = sqrt(2) * rsqrt(q + eps), so the activation's gain costs nothing.
        self.register_buffer("squared_weight", weight.square().sum((2, 3)).T / ACTIVATION_GAIN**2)
        self.function = MODULATED_CONV_UP if layer.up else MODULATED_CONV
        self.kernels = nn.ParameterList(
            [weight.transpose(0, 1).contiguous(), layer.fir.expand(self.channels, 1, 4, 4)] if layer.up else [weight]
        )
        noise = layer.noise[None, None] * layer.noise_strength
        self.added = nn.ParameterList([noise * ACTIVATION_GAIN, layer.bias * ACTIVATION_GAIN])
        self.attributes: dict[str, Any] = {**PLUGIN_ATTRIBUTES, "up": int(layer.up), "channels": self.channels}
        if layer.clamp is not None:
            self.attributes["clamp"] = layer.clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        demodulation = torch.rsqrt(style.square() @ self.squared_weight + DEMODULATION_EPSILON / ACTIVATION_GAIN**2)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{self.function}",
            [x, *self.kernels, style, demodulation, *self.added],
            self.attributes,
            dtype=x.dtype,
            shape=(w.shape[0], self.channels, self.size, self.size),
            version=1,
        )


class StackedConditionNetwork(nn.Module):
    """The ISF head's condition network, with its MLPs per row as one wide and two batched matrix products."""

    first_weight: Tensor
    first_bias: Tensor

    def __init__(self, network: ConditionNetwork) -> None:
        super().__init__()
        self.shared = network.shared
        linears = [layer for layer in network.unshared.modules() if isinstance(layer, nn.Linear)]
        first, *others = (linears[level::3] for level in range(3))
        self.heads = len(first)
        self.register_buffer("first_weight", torch.cat([layer.weight for layer in first]))
        self.register_buffer("first_bias", torch.cat([layer.bias for layer in first]))
        self.weights = nn.ParameterList(torch.stack([layer.weight.T for layer in level]) for level in others)
        self.biases = nn.ParameterList(torch.stack([layer.bias[None] for layer in level]) for level in others)

    def forward(self, z: Tensor, attributes: Tensor) -> Tensor:  # [N, Z], [N, A] -> [N, heads, D]
        # One wide product, not one broadcast over the heads: OpenVINO 2026.4 fails on a batched product whose left
        # operand lacks the batch.
        x: Tensor = nn.functional.linear(self.shared(torch.cat([z, attributes], 1)), self.first_weight, self.first_bias)
        x = x.reshape(-1, self.heads, x.shape[1] // self.heads).transpose(0, 1)  # [heads, N, D]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = x.relu() @ weight + bias
        return x.transpose(0, 1)


class _GeneratorGraph(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator)
        for _, block in self.generator.blocks:
            for name, layer in list(block.named_children()):
                if isinstance(layer, SynthesisLayer):
                    setattr(block, name, ModulatedConvNode(layer))

    def forward(self, w: Tensor, psi: Tensor) -> Tensor:
        return picture_from_output(self.generator(w, psi))


class _IsfGraph(nn.Module):
    def __init__(self, isf: Isf) -> None:
        super().__init__()
        self.isf = copy.deepcopy(isf)
        assert isinstance(self.isf.w_net.z_net, ConditionNetwork)
        self.isf.w_net.z_net = StackedConditionNetwork(self.isf.w_net.z_net)

    def forward(self, w: Tensor, attributes: Tensor, z: Tensor, row_strength: Tensor) -> Tensor:
        edited: Tensor = self.isf(w, attributes, z, row_strength)
        return edited


class _EncoderGraph(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, face: Tensor) -> Tensor:
        w: Tensor = self.encoder(input_from_face(face))
        return w


class _MappingGraph(nn.Module):
    def __init__(self, generator: Generator, rows: int) -> None:
        super().__init__()
        self.mapping, self.rows = generator.mapping, rows

    def forward(self, z: Tensor) -> Tensor:
        w: Tensor = self.mapping(z)
        return w[:, None].repeat(1, self.rows, 1)


class _ClassifierGraph(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, face: Tensor) -> Tensor:
        return torch.sigmoid(self.classifier(input_from_face(face)))


def traced_generator(generator: Generator, signature: Signature) -> onnx.ModelProto:
    """Export (w, psi) -> uint8 pictures; each modulated 3x3 convolution becomes one function node."""
    model = _export(_GeneratorGraph(generator), signature)
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    clamp = any(layer.clamp is not None for layer in generator.modules() if isinstance(layer, SynthesisLayer))
    model.functions.extend(modulated_conv_function(name, clamp=clamp) for name in sorted(used))
    return model


def traced_mapping(generator: Generator, signature: Signature) -> onnx.ModelProto:
    """Export z -> w of a generator's mapping network, untruncated."""
    return _export(_MappingGraph(generator, signature.outputs[0].dims[0]), signature)


def traced_isf(isf: Isf, signature: Signature) -> onnx.ModelProto:
    """Export (w, attributes, z, row_strength) -> w_edited."""
    return _export(_IsfGraph(isf), signature)


def traced_classifier(classifier: Classifier, signature: Signature) -> onnx.ModelProto:
    """Export uint8 faces -> probabilities of attributes."""
    return _export(_ClassifierGraph(classifier), signature)


def traced_encoder(encoder: Encoder, signature: Signature) -> onnx.ModelProto:
    """Export uint8 faces -> W+ codes."""
    return _export(_EncoderGraph(encoder), signature)


def _export(module: nn.Module, signature: Signature) -> onnx.ModelProto:
    dtypes = {"uint8": torch.uint8, "float32": torch.float32}
    # A batch of two, since torch.export would turn a batch of 1 into a constant.
    examples = tuple(torch.zeros((2, *spec.dims), dtype=dtypes[spec.dtype.numpy.name]) for spec in signature.inputs)
    batch = torch.export.Dim("N", min=1, max=1024)
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            dynamic_shapes=tuple({0: batch} for _ in signature.inputs),
            verbose=False,
        )
        assert program is not None
        # Constant expressions of any size, such as gains times weights, are folded here and not at load time.
        onnxscript.optimizer.fold_constants(
            program.model, onnx_shape_inference=False, input_size_limit=1 << 28, output_size_limit=1 << 28
        )
        onnxscript.optimizer.remove_unused_nodes(program.model)
        # The exporter records this machine's paths and source lines in every node.
        ClearMetadataAndDocStringPass()(program.model)
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's warnings about the absence of torchvision and about its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
