"""Live generators: at every blend their pictures are those of the exported blend, in every engine that runs them."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from live_generators import W_DIM, LivePair, hard_swaps, live_pair
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from engines import engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, Signature, generator_signature, rows_of
from engines.graph import stored_constants
from engines.graph.generator_weights import (
    ExportedGeneratorWeights,
    SynthesisBlockWeights,
    generator_weights_from_graph,
)
from engines.graph.live_generator import LiveGeneratorWeights
from engines.graph.onnx_graph import read_graph
from engines.graph.stored_constants import StoredConstants
from engines.model_directory import EngineName, Precision
from engines.winograd.engine import WinogradEngine
from engines.winograd.generator import SynthesisBlock
from engines.winograd.library import WinogradKernels, instruction_sets_here
from engines.winograd.live_generator import BlockCache, LiveWinogradGenerator
from export.blending import BlendSchedule, schedule_from_options

PSI = np.array([[1], [0.5]], np.float32)
PRECISIONS: tuple[Precision, ...] = ("fp32", "int16")

needs_kernels = pytest.mark.skipif(not instruction_sets_here(), reason="no compiled kernels run on this processor")


@pytest.fixture(scope="module", params=[(32, None), (64, 0.7)], ids=["32", "64, clamped"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LivePair:
    resolution, clamp = request.param
    return live_pair(tmp_path_factory.mktemp("live"), resolution, conv_clamp=clamp)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LivePair:
    return live_pair(tmp_path_factory.mktemp("small"), 16)


def schedules(resolution: int) -> list[BlendSchedule]:
    """Every hard swap, from the base to the transferred model, and three smooth schedules."""
    smooth = ["sigmoid:8,1", "linear:4,32", "sigmoid:16,0.05"]
    return hard_swaps(resolution) + [
        schedule_from_options(resolution, schedule=rule, reverse=rule == "linear:4,32") for rule in smooth
    ]


def codes(pair: LivePair, count: int = 2) -> AnyArray:
    return np.random.default_rng(0).standard_normal((count, rows_of(pair.resolution), W_DIM), np.float32)


def inputs(pair: LivePair, *blends: AnyArray) -> dict[str, AnyArray]:
    count = len(blends)
    return {"w": codes(pair, count), "psi": PSI[np.arange(count) % 2], "blend": np.stack(blends).astype(np.float32)}


def signature(pair: LivePair) -> Signature:
    return generator_signature(pair.geometry)


def picture_of(model: Path, pair: LivePair, engine: EngineName, precision: Precision) -> AnyArray:
    plain = generator_signature(Geometry(pair.resolution, W_DIM))
    with engine_from_onnx(model, plain, engine, precision) as exported:
        return exported.run({"w": codes(pair), "psi": PSI})["image"]


def arrays(weights: ExportedGeneratorWeights) -> list[AnyArray]:
    """All arrays of a generator, in a fixed order."""
    found = [weights.w_avg, weights.constant]
    for block in weights.resolutions:
        for layer in (block.up, block.conv, block.rgb):
            if layer is not None:
                found += [layer.affine.weight, layer.affine.bias, layer.weight, layer.bias]
                found += [layer.noise] if hasattr(layer, "noise") else []
    return found


def test_the_weights_of_every_blend_are_those_of_the_exported_blend_bit_for_bit(pair: LivePair) -> None:
    live = LiveGeneratorWeights(read_graph(pair.live), signature(pair))
    for schedule in schedules(pair.resolution):
        path, shares = pair.exported(schedule)
        expected = generator_weights_from_graph(read_graph(path))
        blocks = tuple(live.block(number, share) for number, share in enumerate(shares.tolist()))
        got = ExportedGeneratorWeights(live.parent(0.0).w_avg, live.constant(shares.tolist()[0]), blocks)
        for own, other in zip(arrays(got), arrays(expected), strict=True):
            assert own.shape == other.shape
            assert np.array_equal(own, other)


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
def test_in_winograd_the_pictures_of_every_blend_are_those_of_the_exported_blend_bit_for_bit(
    pair: LivePair, precision: Precision
) -> None:
    pictures = []
    with engine_from_onnx(pair.live, signature(pair), "winograd", precision) as live:
        for schedule in schedules(pair.resolution):
            path, shares = pair.exported(schedule)
            for _ in range(2):  # when a blend is made, and when it is kept
                pictures.append(live.run(inputs(pair, shares, shares))["image"])
                assert np.array_equal(pictures[-1], picture_of(path, pair, "winograd", precision))
    assert len({picture.tobytes() for picture in pictures}) == len(schedules(pair.resolution))


@needs_kernels
def test_a_batch_of_different_blends_gives_each_row_the_picture_that_it_has_alone(pair: LivePair) -> None:
    count = pair.resolution.bit_length() - 2
    blends = [np.zeros(count), np.ones(count), np.full(count, 0.5), np.zeros(count)]
    with engine_from_onnx(pair.live, signature(pair), "winograd") as live:
        batch = inputs(pair, *blends)
        together = live.run(batch)["image"]
        for row, picture in enumerate(together):
            alone = live.run({name: value[row : row + 1] for name, value in batch.items()})["image"]
            assert np.array_equal(picture, alone[0])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_in_other_engines_the_pictures_differ_by_a_level_at_most(pair: LivePair, engine: EngineName) -> None:
    with engine_from_onnx(pair.live, signature(pair), engine) as live:
        for schedule in schedules(pair.resolution)[2::4]:
            path, shares = pair.exported(schedule)
            got = live.run(inputs(pair, shares, shares))["image"].astype(int)
            difference = np.abs(got - picture_of(path, pair, engine, "fp32"))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) < 0.01 * difference.size


def test_what_both_parents_have_in_common_is_stored_once(small: LivePair, tmp_path: Path) -> None:
    def stored(pair: LivePair) -> int:
        return sum(np.prod(tensor.dims, dtype=int) for tensor in onnx.load(pair.live).graph.initializer)

    shared = {name: value for name, value in small.base.tensors.items() if name.startswith("synthesis.16.")}
    transfer = replace(small.transfer, tensors={**small.transfer.tensors, **shared})
    frozen = replace(small, transfer=transfer, folder=tmp_path)
    noise = sum(value.size for name, value in shared.items() if name.endswith(".noise"))
    assert stored(small) - stored(frozen) == sum(value.size for value in shared.values()) - noise


# ---- The cache of blends.


def live_generator(pair: LivePair) -> LiveWinogradGenerator:
    return LiveWinogradGenerator(LiveGeneratorWeights(read_graph(pair.live), signature(pair)), WinogradKernels())


class CountedWeights(LiveGeneratorWeights):
    """The weights of a live generator, and which blocks were blended."""

    def __init__(self, pair: LivePair) -> None:
        super().__init__(read_graph(pair.live), signature(pair))
        self.read: list[tuple[int, float]] = []

    def block(self, number: int, share: float) -> SynthesisBlockWeights:
        self.read.append((number, share))
        return super().block(number, share)


@needs_kernels
def test_a_hard_swap_blends_nothing_and_a_fraction_is_blended_once(small: LivePair) -> None:
    weights = CountedWeights(small)
    generator = LiveWinogradGenerator(weights, WinogradKernels())
    weights.read.clear()

    def run(*shares: float) -> NDArray[np.uint8]:
        return generator(codes(small)[0], np.float32(1), np.array(shares, np.float32))

    run(1, 1, 0)
    run(0, 2.0**-25, 1)
    assert weights.read == []
    run(1, 0.5, 0.25)
    run(0, 0.5, 0.25)
    assert weights.read == [(1, 0.5), (2, 0.25)]


@needs_kernels
def test_blocks_that_were_not_asked_for_longest_are_dropped_above_the_limit(small: LivePair) -> None:
    generator = live_generator(small)
    blocks: list[SynthesisBlock] = [generator._base[2], generator._transfer[2], generator._base[2]]
    cache = BlockCache(2 * blocks[0].nbytes)
    cache.put((2, 0.1), blocks[0])
    cache.put((2, 0.2), blocks[1])
    assert cache.get((2, 0.1)) is blocks[0]
    cache.put((2, 0.3), blocks[2])
    assert cache.get((2, 0.2)) is None
    assert cache.get((2, 0.1)) is blocks[0]
    assert cache.nbytes == 2 * blocks[0].nbytes


# ---- Parameters that stay in the file.


@pytest.fixture
def stored(small: LivePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, LiveGeneratorWeights]:
    """A live generator's file, and its weights, whose parameters are all read from it."""
    monkeypatch.setattr(stored_constants, "MIN_MAPPED_BYTES", 1)
    path = tmp_path / "generator.onnx"
    path.write_bytes(small.live.read_bytes())
    weights = LiveGeneratorWeights(read_graph(path), signature(small))
    weights.keep_in_file(path)
    return path, weights


def test_parameters_that_stay_in_the_file_are_the_same(
    small: LivePair, stored: tuple[Path, LiveGeneratorWeights]
) -> None:
    path, weights = stored
    path.unlink()
    path.write_bytes(b"another file of its name")
    in_memory = LiveGeneratorWeights(read_graph(small.live), signature(small))
    for share in (0.0, 0.25, 1.0):
        for own, other in zip(arrays(weights.parent(share)), arrays(in_memory.parent(share)), strict=True):
            assert np.array_equal(own, other)
    constants = weights._graph.constants
    assert isinstance(constants, StoredConstants)
    assert len(constants) == len(in_memory._graph.constants)
    assert not [name for name, value in constants._kept.items() if value.dtype == np.float32]


def test_a_file_that_is_written_while_its_parameters_are_used_is_refused(
    stored: tuple[Path, LiveGeneratorWeights],
) -> None:
    path, weights = stored
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(EngineError, match=r"generator\.onnx: got a file that was written since it was loaded"):
        weights.block(1, 0.5)


def test_the_file_is_closed_with_the_model(stored: tuple[Path, LiveGeneratorWeights]) -> None:
    constants = stored[1]._graph.constants
    assert isinstance(constants, StoredConstants)
    closed = weakref.ref(constants)
    file = constants._file
    os.fstat(file)
    stored[1]._graph = replace(stored[1]._graph, constants={})
    del constants
    gc.collect()
    assert closed() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


# ---- Refusals.


def test_engines_of_one_blend_refuse_a_live_generator_in_one_sentence(
    small: LivePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.loading.is_installed", lambda _: True)
    for engine in ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx"):
        with pytest.raises(
            EngineError, match=f"engine {engine}: got a live generator, .* export blends instead, one for each --r-swap"
        ):
            engine_from_onnx(small.live, signature(small), engine)


@needs_kernels
def test_a_manifest_that_calls_another_generator_live_is_refused(small: LivePair) -> None:
    path, _ = small.exported(schedule_from_options(16, r_swap=8))
    with pytest.raises(EngineError, match=r"a graph without a blend of two networks"):
        WinogradEngine(path, signature(small))
    with pytest.raises(EngineError, match=r"live\.onnx"):
        WinogradEngine(small.live, generator_signature(Geometry(16, W_DIM)))


def blends(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Blend"]


def _another_resolution(model: ModelProto) -> None:
    low, high = (next(n for n in blends(model) if n.name.startswith(f"synthesis.{r}.conv")) for r in (4, 16))
    low.input[2] = high.input[2]


def _another_shape(model: ModelProto) -> None:
    name = blends(model)[-1].input[1]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros((3, 1, 2), np.float32), name))


def _no_share(model: ModelProto) -> None:
    del blends(model)[3].input[2]


def _many_gains(model: ModelProto) -> None:
    gain = next(node for node in model.graph.node if node.op_type == "Div")
    name = next(t.name for t in model.graph.initializer if t.name == blends(model)[0].input[0])
    gain.input[1] = name


def _a_long_chain(model: ModelProto) -> None:
    place, node = next((i, n) for i, n in enumerate(model.graph.node) if n.op_type == "Div")
    links = [node.input[0], *(f"link.{number}" for number in range(2000))]
    chain = [helper.make_node("Div", [a, node.input[1]], [b]) for a, b in pairwise(links)]
    node.input[0] = links[-1]
    after = [*chain, *list(model.graph.node)[place:]]
    del model.graph.node[place:]
    model.graph.node.extend(after)


@needs_kernels
@pytest.mark.parametrize(
    "change", [_another_resolution, _another_shape, _no_share, _many_gains, _a_long_chain], ids=lambda f: f.__name__
)
def test_an_altered_live_graph_is_refused_in_one_sentence(
    small: LivePair, tmp_path: Path, change: Callable[[ModelProto], None]
) -> None:
    model = onnx.load(small.live)
    change(model)
    path = tmp_path / "generator.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=r"generator\.onnx as a generator: got ") as refusal:
        WinogradEngine(path, signature(small))
    assert len(str(refusal.value)) < 700
