"""What the graphs of all generators have in common: the truncation of codes, and pictures in 8 bits."""

from __future__ import annotations

from onnx import TensorProto

from engines.graph.writer import GraphWriter
from export.graphs.layers import array
from export.networks.generator import StyleGenerator


def write_rows(graph: GraphWriter, generator: StyleGenerator, count: int) -> list[str]:
    """Add the truncation of w towards its average; return the first ``count`` rows, [N, D], that the layers read."""
    with graph.scope("mapping"):
        w_avg = graph.constant(array(generator.mapping.w_avg), "w_avg")
        towards = graph.node("Sub", 1.0, graph.node("Unsqueeze", "psi", [2]))
        w = graph.node("Add", "w", graph.node("Mul", towards, graph.node("Sub", w_avg, "w")))
        truncated = count if generator.truncated_rows is None else generator.truncated_rows
        slices = [graph.node("Slice", w if row < truncated else "w", [row], [row + 1], [1]) for row in range(count)]
        return [graph.node("Squeeze", part, [1]) for part in slices]


def write_picture(graph: GraphWriter, image: str) -> None:
    """Add the nodes of ``export.networks.generator.picture_from_output``."""
    levels = graph.node("Clip", graph.node("Add", graph.node("Mul", image, 127.5), 128.0), 0.0, 255.0)
    graph.node("Cast", graph.node("Transpose", levels, perm=[0, 2, 3, 1]), to=TensorProto.UINT8, named="image")
