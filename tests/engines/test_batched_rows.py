"""The linear layers of all rows become one batched product, which gives what they gave, in encoders of all kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import saved
from official_encoders import CHANNELS, OTHER_ENCODERS

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Geometry, encoder_signature
from engines.graph.onnx_graph import Node, OnnxGraph, read_graph
from engines.torch.batched_rows import with_batched_rows
from engines.torch.excitation_fusion import with_excitations
from engines.torch.operators import TorchGraph
from export.checkpoints import read_encoder
from export.cutting import light_encoder
from export.graphs.encoder import onnx_from_encoder
from export.graphs.restyle import onnx_from_restyle
from export.networks.encoder import encoder_from_weights
from export.networks.restyle import Restyle, face_encoder_from_weights
from export.random_weights import random_encoder
from export.weights import EncoderWeights

pytestmark = pytest.mark.usefixtures("no_gradients")

Change = Callable[[OnnxGraph], OnnxGraph]

ENCODER = random_encoder((4, 4, 4, 8), 0, latent_avg=np.ones((10, 8), np.float32))


def heads(count: int, *, offsets: bool, biased: int) -> OnnxGraph:
    """Linear layers of 5 to 3 numbers, each of its own input; the first ``biased`` have a bias."""
    rng, nodes, rows = np.random.default_rng(0), [], []
    constants: dict[str, AnyArray] = {"axis": np.array([1]), "fifth": np.array([4])}
    for row in range(count):
        parameters = [f"weight {row}", *([f"bias {row}"] if row < biased else [])]
        constants |= {
            name: rng.standard_normal(shape, np.float32)
            for name, shape in zip(parameters, ((3, 5), (3,)), strict=False)
        }
        nodes.append(Node("Gemm", (f"x{row}", *parameters), (code := f"code {row}",), {"transB": 1}))
        if offsets and row:
            nodes.append(Node("Add", ("code 0", code), (code := f"sum {row}",), {}))
        nodes.append(Node("Unsqueeze", (code, "axis"), (f"row {row}",), {}))
        rows.append(f"row {row}")
    return OnnxGraph("heads", (*nodes, Node("Concat", tuple(rows), ("w",), {"axis": 1})), constants)


def codes(graph: OnnxGraph) -> torch.Tensor:
    inputs = {f"x{row}": torch.randn(2, 5, generator=torch.Generator().manual_seed(row)) for row in range(4)}
    return TorchGraph(graph, frozenset(["w"]), torch.device("cpu"))(inputs)["w"]


@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("biased", [0, 1, 4])
def test_linear_layers_become_one_product(offsets: bool, biased: int) -> None:
    graph = heads(4, offsets=offsets, biased=biased)
    batched = with_batched_rows(graph, frozenset(["w"]))
    assert [node.operator for node in batched.nodes] == ["LinearRows"]
    torch.testing.assert_close(codes(batched), codes(graph))


def test_two_rows_are_enough_and_a_single_one_stays() -> None:
    for offsets in (False, True):
        assert len(with_batched_rows(heads(2, offsets=offsets, biased=2), frozenset(["w"])).nodes) == 1
    assert with_batched_rows(heads(1, offsets=False, biased=1), frozenset(["w"])).nodes[0].operator == "Gemm"


@pytest.mark.parametrize("wanted", ["code 0", "code 2", "sum 2", "row 3"])
def test_a_value_that_is_wanted_itself_is_kept(wanted: str) -> None:
    graph = heads(4, offsets=True, biased=4)
    assert with_batched_rows(graph, frozenset(["w", wanted])).nodes == graph.nodes


def with_node(output: str, **changes: object) -> Change:
    def changed(graph: OnnxGraph) -> OnnxGraph:
        nodes = [replace(node, **(changes if node.outputs == (output,) else {})) for node in graph.nodes]  # type: ignore[arg-type]
        return replace(graph, nodes=tuple(nodes))

    return changed


@pytest.mark.parametrize(
    "change",
    [
        with_node("code 1", inputs=("code 0", "weight 1")),
        with_node("code 1", inputs=("x1", "x2")),
        with_node("code 1", attributes={}),
        with_node("code 1", operator="MatMul"),
        with_node("sum 2", inputs=("code 1", "code 2")),
        with_node("row 2", inputs=("code 2", "axis")),
        with_node("row 2", inputs=("sum 2", "fifth")),
        with_node("row 0", inputs=("x0", "axis")),
        with_node("w", attributes={"axis": 0}),
    ],
)
def test_another_pattern_stays(change: Change) -> None:
    graph = change(heads(4, offsets=True, biased=4))
    assert with_batched_rows(graph, frozenset(["w"])).nodes == graph.nodes


def test_layers_of_other_widths_stay() -> None:
    graph = heads(4, offsets=False, biased=0)
    wide = replace(graph, constants={**graph.constants, "weight 2": np.zeros((3, 6), np.float32)})
    assert with_batched_rows(wide, frozenset(["w"])).nodes == wide.nodes


def counted(model: onnx.ModelProto, folder: Path) -> tuple[int, int]:
    """Check that an encoder's graph gives the same codes with both operators; count excitations and products."""
    onnx.save(model, folder / "encoder.onnx")
    graph, outputs = read_graph(folder / "encoder.onnx"), frozenset(["w"])
    rewritten = with_batched_rows(with_excitations(graph, outputs), outputs)
    size = (2, 256, 256, 3)
    face = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before, after = (TorchGraph(g, outputs, torch.device("cpu"))({"face": face})["w"] for g in (graph, rewritten))
    # Sums of fifty layers in another order.
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5 * float(before.max() - before.min()))
    operators = Counter(node.operator for node in rewritten.nodes)
    return operators["Excitation"], operators["LinearRows"]


@pytest.mark.parametrize(
    "weights", [replace(ENCODER, kind="psp"), ENCODER, light_encoder(ENCODER)], ids=["pSp", "e4e", "light"]
)
def test_encoders_of_style_heads_have_both_operators(weights: EncoderWeights, tmp_path: Path) -> None:
    model = onnx_from_encoder(encoder_from_weights(weights), encoder_signature(Geometry(64, 8)))
    assert counted(model, tmp_path) == (24, 1)


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("into W, e4e", (24, 0)),
        ("into W+, pSp", (24, 0)),
        ("ReStyle-e4e", (48, 2)),
        ("ReStyle-pSp on ResNet", (0, 1)),
    ],
)
def test_other_encoders_have_those_of_their_layers(name: str, operators: tuple[int, int], tmp_path: Path) -> None:
    path = saved(tmp_path / "encoder.pt", OTHER_ENCODERS[name].checkpoint())
    network, signature = face_encoder_from_weights(read_encoder(path)), encoder_signature(Geometry(32, CHANNELS))
    writer = onnx_from_restyle if isinstance(network, Restyle) else onnx_from_encoder
    assert counted(writer(network, signature), tmp_path) == operators
