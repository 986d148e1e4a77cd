"""The end of a residual unit with squeeze and excitation becomes one operator, which gives what its nodes gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_encoders import CHANNELS, small_encoder

from engines.graph.onnx_graph import Node, OnnxGraph, read_graph
from engines.torch.excitation_fusion import with_excitations
from engines.torch.operators import TorchGraph

Change = Callable[[OnnxGraph], OnnxGraph]


def unit(*, shortcut: str = "x") -> OnnxGraph:
    """A map's means, its gates, and the sum with a shortcut."""
    rng = np.random.default_rng(0)
    matrices = {"fc1": rng.standard_normal((3, 6, 1, 1)), "fc2": rng.standard_normal((6, 3, 1, 1))}
    constants = {name: value.astype(np.float32) for name, value in matrices.items()}
    nodes = (
        Node("Relu", ("x",), ("y",), {}),
        Node("ReduceMean", ("y", "axes"), ("mean",), {"keepdims": 1}),
        Node("Conv", ("mean", "fc1"), ("squeezed",), {}),
        Node("Relu", ("squeezed",), ("activated",), {}),
        Node("Conv", ("activated", "fc2"), ("excited",), {}),
        Node("Sigmoid", ("excited",), ("gates",), {}),
        Node("Mul", ("y", "gates"), ("scaled",), {}),
        Node("Add", ("scaled", shortcut), ("sum",), {}),
    )
    return OnnxGraph("unit", nodes, {**constants, "axes": np.array([2, 3]), "ones": np.ones(1, np.float32)})


def results(graph: OnnxGraph, *outputs: str) -> list[torch.Tensor]:
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    given = TorchGraph(graph, frozenset(outputs), torch.device("cpu"))({"x": x})
    return [given[name] for name in outputs]


def operators(graph: OnnxGraph) -> Counter[str]:
    return Counter(node.operator for node in graph.nodes)


def test_gates_product_and_sum_become_one_operator() -> None:
    fused = with_excitations(unit(), frozenset(["sum"]))
    assert operators(fused) == {"Relu": 1, "ReduceMean": 1, "Excitation": 1}
    torch.testing.assert_close(results(fused, "sum"), results(unit(), "sum"))


def test_every_unit_of_an_encoder_has_one(tmp_path: Path) -> None:
    onnx.save(small_encoder(), tmp_path / "encoder.onnx")
    graph = with_excitations(read_graph(tmp_path / "encoder.onnx"), frozenset(["w"]))
    assert operators(graph)["Excitation"] == len(CHANNELS) - 1
    assert not operators(graph)["Sigmoid"]


def test_the_shortcut_may_be_the_first_operand_of_the_sum() -> None:
    *nodes, added = unit().nodes
    swapped = replace(unit(), nodes=(*nodes, replace(added, inputs=added.inputs[::-1])))
    fused = with_excitations(swapped, frozenset(["sum"]))
    assert fused.nodes[-1].operator == "Excitation"
    torch.testing.assert_close(results(fused, "sum"), results(swapped, "sum"))


@pytest.mark.parametrize("wanted", ["mean", "activated", "gates", "scaled"])
def test_a_value_that_is_wanted_itself_is_kept(wanted: str) -> None:
    assert with_excitations(unit(), frozenset(["sum", wanted])).nodes == unit().nodes


def also_read(value: str) -> Change:
    return lambda graph: replace(graph, nodes=(*graph.nodes, Node("Sqrt", (value,), ("root",), {})))


def with_node(place: int, **changes: object) -> Change:
    def changed(graph: OnnxGraph) -> OnnxGraph:
        nodes = [*graph.nodes]
        nodes[place] = replace(nodes[place], **changes)  # type: ignore[arg-type]
        return replace(graph, nodes=tuple(nodes))

    return changed


@pytest.mark.parametrize(
    "change",
    [
        also_read("squeezed"),
        also_read("scaled"),
        with_node(1, inputs=("y", "other axes")),
        with_node(2, inputs=("mean", "fc1", "bias")),
        with_node(2, attributes={"pads": (1, 1, 1, 1)}),
        with_node(3, operator="Sigmoid"),
        with_node(6, inputs=("x", "gates")),
        with_node(7, inputs=("scaled", "ones")),
    ],
)
def test_another_pattern_stays(change: Change) -> None:
    graph = change(unit())
    constants = {**graph.constants, "other axes": np.array([3]), "bias": np.zeros(3, np.float32)}
    graph = replace(graph, constants=constants)
    assert with_excitations(graph, frozenset(["sum"])).nodes == graph.nodes
