"""The choice of a generator's graph by its network."""

from __future__ import annotations

import onnx

from engines.contract.tensors import Signature
from export.graphs.generator import onnx_from_generator
from export.graphs.stylegan1 import onnx_from_stylegan1
from export.networks.generator import Generator, StyleGenerator
from export.networks.stylegan1 import StyleGan1


def onnx_from_network(generator: StyleGenerator, signature: Signature) -> onnx.ModelProto:
    """Write the graph of ``picture_from_output(generator(w, psi))`` for a generator of any architecture."""
    match generator:
        case StyleGan1():
            return onnx_from_stylegan1(generator, signature)
        case Generator():
            return onnx_from_generator(generator, signature)
    raise TypeError(type(generator).__name__)
