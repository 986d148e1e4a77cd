"""Live generators in PyTorch on a CPU: every blend is the exported one, in one place that graphs can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from live_generators import W_DIM, LiveFamily, hard_swaps, live_family
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from engines.contract.arrays import AnyArray
from engines.contract.blends import TransferShares, shares_by_resolution
from engines.contract.errors import EngineError, RequestError
from engines.contract.tensors import Geometry, generator_signature, rows_of
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.live_generator import LiveGeneratorWeights
from engines.graph.onnx_graph import read_graph
from engines.torch.cuda_graphs import Network, _CapturedGraph
from engines.torch.engine import TorchEngine, network_from_onnx, with_graphs
from engines.torch.generator import TorchGenerator
from engines.torch.layer_backends import FusedBackend, LayerBackend, ReferenceBackend
from engines.torch.live_generator import LiveTorchGenerator
from export.blending import schedule_from_options
from export.targets import candidates_for

CPU = torch.device("cpu")
BACKENDS = [ReferenceBackend(), ReferenceBackend(torch.float16), FusedBackend(fused_from=16)]


@pytest.fixture(
    scope="module", params=[(32, None, 1), (64, 0.7, 1), (16, None, 2)], ids=["32", "64, clamped", "3 models"]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LiveFamily:
    resolution, clamp, transferred = request.param
    return live_family(tmp_path_factory.mktemp("live"), resolution, conv_clamp=clamp, transferred=transferred)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LiveFamily:
    return live_family(tmp_path_factory.mktemp("small"), 16)


def inputs(pair: LiveFamily, *blends: AnyArray) -> dict[str, AnyArray]:
    """A row for each blend; its code and psi depend on its place alone."""
    count = len(blends)
    w = np.random.default_rng(0).standard_normal((8, rows_of(pair.resolution), W_DIM), np.float32)[:count]
    psi = np.linspace(1, 0.5, 8, dtype=np.float32)[:count, None]
    return {"w": w, "psi": psi, "blend": np.stack(blends).astype(np.float32)}


def tensors(rows: Mapping[str, AnyArray]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in rows.items()}


def exported_pictures(path: Path, pair: LiveFamily, rows: dict[str, AnyArray]) -> AnyArray:
    plain = generator_signature(Geometry(pair.resolution, W_DIM))
    with TorchEngine(path, plain, device="cpu") as engine:
        return engine.run({name: rows[name] for name in ("w", "psi")})["image"]


def live_generator(pair: LiveFamily, backend: LayerBackend) -> LiveTorchGenerator:
    return LiveTorchGenerator(LiveGeneratorWeights(read_graph(pair.live), pair.signature), backend, CPU)


def weights(generator: TorchGenerator) -> list[Tensor]:
    """All tensors that the layers read."""
    styles = generator._styles.weights
    found = [generator._constant, styles.affine, styles.bias, styles.squares, styles.epsilon]
    found += generator._kernels + generator._noises + generator._biases
    return found + generator._rgb_weights + generator._rgb_biases


def test_the_pictures_of_every_hard_swap_are_those_of_the_exported_blend_bit_for_bit(pair: LiveFamily) -> None:
    pictures = []
    with TorchEngine(pair.live, pair.signature, device="cpu") as live:
        for schedule in [*pair.hard_swaps(), *pair.hard_swaps()[::-2]]:
            path, shares = pair.exported(schedule)
            rows = inputs(pair, shares, shares)
            pictures.append(live.run(rows)["image"])
            assert np.array_equal(pictures[-1], exported_pictures(path, pair, rows))
    assert len({picture.tobytes() for picture in pictures}) == len(pair.hard_swaps())


def test_the_pictures_of_fractions_differ_from_the_exported_blends_by_a_level_at_most(pair: LiveFamily) -> None:
    with TorchEngine(pair.live, pair.signature, device="cpu") as live:
        for schedule in pair.smooth_schedules():
            path, shares = pair.exported(schedule)
            rows = inputs(pair, shares, shares)
            difference = np.abs(live.run(rows)["image"].astype(int) - exported_pictures(path, pair, rows))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) < 0.01 * difference.size


@pytest.mark.parametrize("backend", BACKENDS, ids=["single", "half", "fused"])
def test_all_weights_of_a_hard_swap_are_the_exported_blends_in_every_format(
    small: LiveFamily, backend: LayerBackend
) -> None:
    live = live_generator(small, backend)
    live.set_blend([(0.5,), (0.25,), (0.75,)])
    for schedule in hard_swaps(16):
        path, shares = small.exported(schedule)
        live.set_blend(shares_by_resolution(shares))
        expected = TorchGenerator(generator_weights_from_graph(read_graph(path)), backend, CPU)
        for own, other in zip(weights(live.generator), weights(expected), strict=True):
            assert own.stride() == other.stride()
            assert torch.equal(own, other)


def test_a_batch_of_different_blends_gives_each_row_the_picture_that_it_has_alone(small: LiveFamily) -> None:
    blends = [np.zeros(3), np.ones(3), np.array([1, 0.5, 0.25]), np.zeros(3), np.ones(3)]
    rows = inputs(small, *blends)
    with TorchEngine(small.live, small.signature, device="cpu") as live:
        together = live.run(rows)["image"]
        on_device = live.run_on_gpu(tensors(rows))["image"].numpy()
        for row, blend in enumerate(blends):
            repeated = live.run({**rows, "blend": np.stack([blend] * 5).astype(np.float32)})["image"]
            # The order of a product's sums depends on the batch.
            assert np.abs(together[row].astype(int) - repeated[row]).max() <= 1
    assert np.array_equal(together, on_device)
    assert len({picture.tobytes() for picture in together}) == 5


def test_only_resolutions_whose_share_changes_are_written(small: LiveFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, TransferShares]] = []
    live = live_generator(small, ReferenceBackend())
    write = live._write

    def counted(level: int, shares: TransferShares) -> None:
        written.append((level, shares))
        write(level, shares)

    monkeypatch.setattr(live, "_write", counted)
    for blend in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [1.0, 0.0, 0.5], [1.0, 0.25, 0.5]):
        live.set_blend([(share,) for share in blend])
    assert written == [(0, (1.0,)), (2, (0.5,)), (1, (0.25,))]


def test_a_resolution_that_could_not_be_written_is_written_next_time(
    small: LiveFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = live_generator(small, ReferenceBackend())

    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(TorchGenerator, "write_rgb", no_memory)
        with pytest.raises(torch.OutOfMemoryError):
            live.set_blend([(0.0,), (1.0,), (0.0,)])
    live.set_blend([(0.0,)] * 3)
    expected = live_generator(small, ReferenceBackend())
    assert all(map(torch.equal, weights(live.generator), weights(expected.generator)))


class RecordedOperators:
    """A fake of a CUDA graph: it repeats the recorded operators on the very tensors that they were recorded with."""

    def __init__(self, network: Network, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        names = list(inputs)
        self._recorded: Callable[..., dict[str, Tensor]] = make_fx(
            lambda *values: network(dict(zip(names, values, strict=True)))
        )(*inputs.values())
        self._inputs, self._outputs = inputs, outputs

    def replay(self) -> None:
        for name, value in self._recorded(*self._inputs.values()).items():
            self._outputs[name].copy_(value)


def test_another_blend_replays_the_same_graphs_with_the_weights_in_their_places(
    small: LiveFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[int] = []

    def capture(self: _CapturedGraph, network: Network, inputs: dict[str, Tensor], pool: object) -> None:
        captured.append(len(inputs["w"]))
        self._inputs, self._outputs = inputs, network(inputs)
        self._graph = RecordedOperators(network, inputs, self._outputs)  # type: ignore[assignment]

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(_CapturedGraph, "__init__", capture)
    network = network_from_onnx(small.live, small.signature, CPU)
    graphs = with_graphs(network, small.signature, CPU, (1, 4))
    places = [tensor.data_ptr() for tensor in weights(network.live.generator)]  # type: ignore[attr-defined]
    for schedule in hard_swaps(16):
        path, shares = small.exported(schedule)
        rows = inputs(small, *[shares] * 4)
        assert np.array_equal(graphs(tensors(rows))["image"].numpy(), exported_pictures(path, small, rows))
    mixed = inputs(small, *np.eye(3)[[0, 1, 0, 2, 1]])
    difference = graphs(tensors(mixed))["image"].int() - network(tensors(mixed))["image"].int()
    assert difference.abs().max() <= 1
    assert captured == [4, 1]
    assert places == [tensor.data_ptr() for tensor in weights(network.live.generator)]  # type: ignore[attr-defined]


def test_a_blend_that_is_none_is_refused_on_the_device_too(small: LiveFamily) -> None:
    rows = inputs(small, np.array([0, 0, 2]))
    with TorchEngine(small.live, small.signature, device="cpu") as live:
        for run in (lambda: live.run(rows), lambda: live.run_on_gpu(tensors(rows))):
            with pytest.raises(RequestError, match="tensor 'blend': got the share 2, expected shares within"):
                run()


def test_a_manifest_that_calls_another_generator_live_is_refused(small: LiveFamily) -> None:
    path, _ = small.exported(schedule_from_options(16, r_swap=8))
    with pytest.raises(EngineError, match="a graph without a blend of two networks"):
        TorchEngine(path, small.signature, device="cpu")
    with pytest.raises(EngineError, match=r"live\.onnx"):
        TorchEngine(small.live, generator_signature(Geometry(16, W_DIM)), device="cpu")


def test_a_live_export_for_torch_needs_a_gpu_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="expected an NVIDIA GPU with a PyTorch for CUDA"):
        candidates_for("generator", "torch-cuda", "auto", "auto", live=True)
    monkeypatch.setattr("export.targets.available_precisions", lambda _: ("fp32", "fp16"))
    both = candidates_for("generator", "torch-cuda", "auto", "auto", live=True)
    assert both == [("torch", "fp16"), ("torch", "fp32")]
