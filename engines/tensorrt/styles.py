"""The part of a generator's graph that maps codes to styles and demodulations: two batched products in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.graph.generator_weights import ExportedGeneratorWeights
from engines.graph.style_weights import style_weights
from engines.graph.writer import GraphWriter
from engines.kernels.reference import ACTIVATION_GAIN
from engines.kernels.weights import NormalisedWeight

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class StyleNames:
    """The names of each convolution's style [N, I] and demodulation [N, O], and of each ToRGB's style [N, I].

    The convolutions' styles are divided by their largest magnitude, which their demodulations compensate.
    """

    styles: list[str]
    demodulations: list[str]
    rgb_styles: list[str]


def write_styles(
    graph: GraphWriter, generator: ExportedGeneratorWeights, kernels: Sequence[NormalisedWeight]
) -> StyleNames:
    """Add the nodes of ``engines.kernels.weights.modulation`` for the graph's inputs w [N, L, D] and psi [N, 1]."""
    weights = style_weights(generator, kernels)
    kept = graph.node("Unsqueeze", graph.node("Sub", 1.0, "psi"), [2])
    w = graph.node("Add", "w", graph.node("Mul", kept, graph.node("Sub", generator.w_avg, "w")))
    rows = graph.node("Transpose", graph.node("Gather", w, weights.rows.numpy(), axis=1), perm=[1, 0, 2])  # [A, N, D]
    affine = graph.node("Add", graph.node("MatMul", rows, weights.affine.numpy()), weights.bias.numpy())  # [A, N, C]

    count = len(kernels)
    raw = graph.node("Slice", affine, [0], [count], [0])  # [K, N, C]
    largest = graph.node("ReduceMax", graph.node("Abs", raw), [2], keepdims=1)
    largest = graph.node("Max", largest, _TINY)
    styles = graph.node("Div", raw, largest)
    sums = graph.node("MatMul", graph.node("Mul", styles, styles), weights.squares.numpy())
    epsilon = graph.node("Div", weights.epsilon.numpy(), graph.node("Mul", largest, largest))
    root = graph.node("Sqrt", graph.node("Add", sums, epsilon))
    demodulations = graph.node("Div", ACTIVATION_GAIN, root)
    return StyleNames(
        _layers(graph, styles, weights.style_widths[:count]),
        _layers(graph, demodulations, weights.demodulation_widths),
        _layers(
            graph, graph.node("Slice", affine, [count], [len(weights.style_widths)], [0]), weights.style_widths[count:]
        ),
    )


def _layers(graph: GraphWriter, stacked: str, widths: Sequence[int]) -> list[str]:
    """Each layer's slice of [layers, N, C], without the padding."""
    parts = [graph.node("Slice", stacked, [layer, 0], [layer + 1, width], [0, 2]) for layer, width in enumerate(widths)]
    return [graph.node("Squeeze", part, [0]) for part in parts]
