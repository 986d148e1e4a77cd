"""Parallel layers of a graph are fused, and give what they gave before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.networks import TINY, encoder_weights
from engines.contract.arrays import AnyArray
from engines.contract.tensors import encoder_signature
from engines.graph.onnx_graph import Node, OnnxGraph, read_graph
from engines.torch.horizontal_fusion import fused_horizontally
from engines.torch.operators import TorchGraph
from export.graphs.encoder import onnx_from_encoder
from export.networks.encoder import encoder_from_weights
from export.onnx_files import save_model

SAME = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}


def conv(value: str, name: str, output: str) -> Node:
    return Node("Conv", (value, f"{name}.weight", f"{name}.bias"), (output,), SAME)


def weights(rng: np.random.Generator, *names: str, channels: int = 4) -> dict[str, AnyArray]:
    shapes = {"weight": (channels, 4, 3, 3), "bias": (channels,)}
    return {
        f"{name}.{part}": rng.standard_normal(shape).astype(np.float32)
        for name in names
        for part, shape in shapes.items()
    }


def chains(*lengths: int) -> OnnxGraph:
    """Chains of convolutions and LeakyReLUs of these lengths, all on one map, whose results are added up."""
    nodes, constants = [], {}
    for chain, length in enumerate(lengths):
        value = "x"
        for step in range(length):
            name = f"{chain}.{step}"
            constants |= weights(np.random.default_rng([chain, step]), name)
            nodes.append(conv(value, name, f"{name}.sum"))
            nodes.append(Node("LeakyRelu", (f"{name}.sum",), (value := f"{name}.value",), {"alpha": 0.01}))
        nodes.append(Node("Add", (value, "y" if chain == 0 else f"{chain - 1}.total"), (f"{chain}.total",), {}))
    return OnnxGraph("chains", tuple(nodes), constants | {"y": np.zeros(1, np.float32)})


def results(graph: OnnxGraph, outputs: frozenset[str]) -> dict[str, torch.Tensor]:
    network = TorchGraph(graph, outputs, torch.device("cpu"))
    return network({"x": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))})


def check_equal(graph: OnnxGraph, outputs: frozenset[str]) -> Counter[str]:
    """Check that a graph and its fused form give the same, and count the fused form's operators."""
    fused = fused_horizontally(graph, outputs)
    before, after = results(graph, outputs), results(fused, outputs)
    for name in outputs:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-4)
    return Counter(node.operator for node in fused.nodes)


def test_chains_on_one_map_become_one_chain() -> None:
    operators = check_equal(chains(3, 3, 3), frozenset(["2.total"]))
    assert operators == {"Conv": 3, "LeakyRelu": 3, "Split": 1, "Add": 3}


def test_chains_of_other_lengths_part_where_the_shorter_one_ends() -> None:
    operators = check_equal(chains(3, 2), frozenset(["1.total"]))
    assert operators == {"Conv": 3, "LeakyRelu": 3, "Split": 1, "Add": 2}


def test_a_chain_may_be_read_before_the_first_one_ends() -> None:
    one = chains(2, 2)
    first, second = one.nodes[:4], one.nodes[5:9]
    early = Node("Sigmoid", (second[-1].outputs[0],), ("early",), {})
    nodes = (first[0], *second, early, *first[1:])
    operators = check_equal(OnnxGraph("mixed", nodes, one.constants), frozenset(["early", first[-1].outputs[0]]))
    assert operators == {"Conv": 2, "LeakyRelu": 2, "Split": 1, "Sigmoid": 1}


def test_a_single_chain_stays() -> None:
    graph = chains(2)
    assert fused_horizontally(graph, frozenset(["0.total"])).nodes == graph.nodes


@pytest.mark.parametrize("outputs", [["1.total", "0.0.value"], ["1.total", "1.0.sum"]])
def test_a_value_that_is_wanted_itself_is_kept(outputs: list[str]) -> None:
    check_equal(chains(2, 2), frozenset(outputs))


def test_convolutions_of_other_widths_are_fused_with_their_likes_only() -> None:
    rng = np.random.default_rng(0)
    nodes = [conv("x", name, name) for name in "abcd"]
    graph = OnnxGraph("widths", tuple(nodes), weights(rng, "a", "b") | weights(rng, "c", "d", channels=6))
    operators = check_equal(graph, frozenset("abcd"))
    assert operators == {"Conv": 2, "Split": 2}


def test_convolutions_in_a_row_are_not_parallel() -> None:
    graph = OnnxGraph("row", (conv("x", "a", "a"), conv("a", "b", "b")), weights(np.random.default_rng(0), "a", "b"))
    assert check_equal(graph, frozenset("b")) == {"Conv": 2}


def test_the_heads_of_an_encoder_run_by_level(tmp_path: Path) -> None:
    signature, rows = encoder_signature(TINY.geometry), TINY.geometry.rows
    save_model(onnx_from_encoder(encoder_from_weights(encoder_weights(TINY)), signature), tmp_path / "encoder.onnx")
    graph = read_graph(tmp_path / "encoder.onnx")
    fused = fused_horizontally(graph, frozenset(["w"]))
    heads = [node for node in fused.nodes if node.operator == "LeakyRelu"]
    # Three heads halve the coarsest map four times, four the middle one five times, and a single one the finest.
    assert rows == 8
    assert len(heads) == 4 + 5 + 6
    assert Counter(node.attributes["group"] for node in fused.nodes if node.attributes.get("group", 1) > 1) == {
        3: 3,
        4: 4,
    }
    face = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    codes = [TorchGraph(each, frozenset(["w"]), torch.device("cpu"))({"face": face})["w"] for each in (graph, fused)]
    torch.testing.assert_close(codes[1], codes[0], rtol=1e-4, atol=1e-4)
