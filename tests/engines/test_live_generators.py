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
from live_generators import W_DIM, LiveFamily, live_family
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from engines import engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.blends import TransferShares, shares_by_resolution
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, generator_signature, rows_of
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


@pytest.fixture(
    scope="module", params=[(32, None, 1), (64, 0.7, 1), (16, None, 2)], ids=["32", "64, clamped", "3 models"]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LiveFamily:
    resolution, clamp, transferred = request.param
    return live_family(tmp_path_factory.mktemp("live"), resolution, conv_clamp=clamp, transferred=transferred)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LiveFamily:
    return live_family(tmp_path_factory.mktemp("small"), 16)


def schedules(pair: LiveFamily) -> list[BlendSchedule]:
    """Every hard swap, from the base to the transferred models, and smooth schedules."""
    return pair.hard_swaps() + pair.smooth_schedules()


def codes(pair: LiveFamily, count: int = 2) -> AnyArray:
    return np.random.default_rng(0).standard_normal((count, rows_of(pair.resolution), W_DIM), np.float32)


def inputs(pair: LiveFamily, *blends: AnyArray) -> dict[str, AnyArray]:
    count = len(blends)
    assert pair.signature.blend is not None
    blend = np.stack(blends).astype(np.float32).reshape(count, *pair.signature.blend.dims)
    return {"w": codes(pair, count), "psi": PSI[np.arange(count) % 2], "blend": blend}


def picture_of(model: Path, pair: LiveFamily, engine: EngineName, precision: Precision) -> AnyArray:
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


def test_the_weights_of_every_blend_are_those_of_the_exported_blend_bit_for_bit(pair: LiveFamily) -> None:
    live = LiveGeneratorWeights(read_graph(pair.live), pair.signature)
    for schedule in schedules(pair):
        path, shares = pair.exported(schedule)
        expected = generator_weights_from_graph(read_graph(path))
        by_resolution = shares_by_resolution(shares)
        blocks = tuple(live.block(level, own) for level, own in enumerate(by_resolution))
        got = ExportedGeneratorWeights(live.parent(0).w_avg, live.constant(by_resolution[0]), blocks)
        for own, other in zip(arrays(got), arrays(expected), strict=True):
            assert own.shape == other.shape
            assert np.array_equal(own, other)


@needs_kernels
@pytest.mark.parametrize("precision", PRECISIONS)
def test_in_winograd_the_pictures_of_every_blend_are_those_of_the_exported_blend_bit_for_bit(
    pair: LiveFamily, precision: Precision
) -> None:
    pictures = []
    with engine_from_onnx(pair.live, pair.signature, "winograd", precision) as live:
        for schedule in schedules(pair):
            path, shares = pair.exported(schedule)
            for _ in range(2):  # when a blend is made, and when it is kept
                pictures.append(live.run(inputs(pair, shares, shares))["image"])
                assert np.array_equal(pictures[-1], picture_of(path, pair, "winograd", precision))
    assert len({picture.tobytes() for picture in pictures}) == len(schedules(pair))


@needs_kernels
def test_a_batch_of_different_blends_gives_each_row_the_picture_that_it_has_alone(pair: LiveFamily) -> None:
    count = pair.resolution.bit_length() - 2
    dims = (count, pair.transferred)
    models = np.arange(pair.transferred)
    blends = [np.zeros(dims), np.ones(dims) * (models == 0), np.full(dims, 0.25), np.zeros(dims)]
    with engine_from_onnx(pair.live, pair.signature, "winograd") as live:
        batch = inputs(pair, *blends)
        together = live.run(batch)["image"]
        for row, picture in enumerate(together):
            alone = live.run({name: value[row : row + 1] for name, value in batch.items()})["image"]
            assert np.array_equal(picture, alone[0])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_in_other_engines_the_pictures_differ_by_a_level_at_most(pair: LiveFamily, engine: EngineName) -> None:
    with engine_from_onnx(pair.live, pair.signature, engine) as live:
        for schedule in schedules(pair)[2::4]:
            path, shares = pair.exported(schedule)
            got = live.run(inputs(pair, shares, shares))["image"].astype(int)
            difference = np.abs(got - picture_of(path, pair, engine, "fp32"))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) < 0.01 * difference.size


def test_what_parents_have_in_common_is_stored_once(small: LiveFamily, tmp_path: Path) -> None:
    def stored(pair: LiveFamily) -> int:
        return sum(np.prod(tensor.dims, dtype=int) for tensor in onnx.load(pair.live).graph.initializer)

    shared = {name: value for name, value in small.base.tensors.items() if name.startswith("synthesis.16.")}
    transfer = replace(small.transfer, tensors={**small.transfer.tensors, **shared})
    frozen = replace(small, models=(small.base, transfer), folder=tmp_path)
    noise = sum(value.size for name, value in shared.items() if name.endswith(".noise"))
    assert stored(small) - stored(frozen) == sum(value.size for value in shared.values()) - noise


# ---- The cache of blends.


def live_generator(pair: LiveFamily) -> LiveWinogradGenerator:
    return LiveWinogradGenerator(LiveGeneratorWeights(read_graph(pair.live), pair.signature), WinogradKernels())


class CountedWeights(LiveGeneratorWeights):
    """The weights of a live generator, and which blocks were blended."""

    def __init__(self, pair: LiveFamily) -> None:
        super().__init__(read_graph(pair.live), pair.signature)
        self.read: list[tuple[int, TransferShares]] = []

    def block(self, level: int, shares: TransferShares) -> SynthesisBlockWeights:
        self.read.append((level, shares))
        return super().block(level, shares)


@needs_kernels
def test_a_hard_swap_blends_nothing_and_a_fraction_is_blended_once(small: LiveFamily) -> None:
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
    assert weights.read == [(1, (0.5,)), (2, (0.25,))]


@needs_kernels
def test_blocks_that_were_not_asked_for_longest_are_dropped_above_the_limit(small: LiveFamily) -> None:
    generator = live_generator(small)
    blocks: list[SynthesisBlock] = [generator._parents[number][2] for number in (0, 1, 0)]
    cache = BlockCache(2 * blocks[0].nbytes)
    cache.put((2, (0.1,)), blocks[0])
    cache.put((2, (0.2,)), blocks[1])
    assert cache.get((2, (0.1,))) is blocks[0]
    cache.put((2, (0.3,)), blocks[2])
    assert cache.get((2, (0.2,))) is None
    assert cache.get((2, (0.1,))) is blocks[0]
    assert cache.nbytes == 2 * blocks[0].nbytes


# ---- Parameters that stay in the file.


@pytest.fixture
def stored(small: LiveFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, LiveGeneratorWeights]:
    """A live generator's file, and its weights, whose parameters are all read from it."""
    monkeypatch.setattr(stored_constants, "MIN_MAPPED_BYTES", 1)
    path = tmp_path / "generator.onnx"
    path.write_bytes(small.live.read_bytes())
    weights = LiveGeneratorWeights(read_graph(path), small.signature)
    weights.keep_in_file(path)
    return path, weights


def test_parameters_that_stay_in_the_file_are_the_same(
    small: LiveFamily, stored: tuple[Path, LiveGeneratorWeights]
) -> None:
    path, weights = stored
    path.unlink()
    path.write_bytes(b"another file of its name")
    in_memory = LiveGeneratorWeights(read_graph(small.live), small.signature)
    for number in (0, 1):
        for own, other in zip(arrays(weights.parent(number)), arrays(in_memory.parent(number)), strict=True):
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
        weights.block(1, (0.5,))


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
    small: LiveFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.loading.is_installed", lambda _: True)
    for engine in ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx"):
        with pytest.raises(
            EngineError, match=f"engine {engine}: got a live generator, .* export blends instead, one for each --r-swap"
        ):
            engine_from_onnx(small.live, small.signature, engine)


@needs_kernels
def test_a_manifest_that_calls_another_generator_live_is_refused(small: LiveFamily) -> None:
    path, _ = small.exported(schedule_from_options(16, r_swap=8))
    with pytest.raises(EngineError, match=r"a graph without a blend of two networks"):
        WinogradEngine(path, small.signature)
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
    small: LiveFamily, tmp_path: Path, change: Callable[[ModelProto], None]
) -> None:
    model = onnx.load(small.live)
    change(model)
    path = tmp_path / "generator.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=r"generator\.onnx as a generator: got ") as refusal:
        WinogradEngine(path, small.signature)
    assert len(str(refusal.value)) < 700
