"""The PyTorch engine is compared with ONNX Runtime: on a CPU, with kernels in Triton's interpreter, and on a GPU."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch_engine_cases
from isf_heads import ATTRIBUTES, NOISE, WIDTH, head
from numpy.typing import NDArray
from tiny_models import TinyModels, expected_pictures

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Geometry, Signature, encoder_signature, generator_signature, isf_signature
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.model_directory import read_manifest
from engines.onnxruntime.engine import OnnxRuntimeEngine
from engines.torch.cuda_graphs import CudaGraphs, Network, _CapturedGraph
from engines.torch.engine import TorchEngine, network_from_onnx
from export.graphs.encoder import onnx_from_encoder
from export.graphs.isf import onnx_from_isf
from export.networks.encoder import encoder_from_weights
from export.networks.isf import Norm
from export.random_weights import random_encoder
from export.verification import batches_for

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU")

SIGNATURE = generator_signature(Geometry(32, 16))
ISF_SIGNATURE = isf_signature(Geometry(32, WIDTH, ATTRIBUTES, NOISE))
ENCODER_SIGNATURE = encoder_signature(Geometry(32, 16))

W = np.random.default_rng(0).standard_normal((11, 8, 16), dtype=np.float32)
PSI = np.linspace(1, 0, 11, dtype=np.float32)[:, None]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = random_encoder((8, 12, 16, 24), 0, latent_avg=W[0])
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    onnx.save(onnx_from_encoder(encoder_from_weights(weights), ENCODER_SIGNATURE), path)
    return path


def expected_of(model: Path, signature: Signature, inputs: dict[str, AnyArray]) -> AnyArray:
    with OnnxRuntimeEngine(model, signature) as engine:
        return engine.run(inputs)[signature.outputs[0].name]


def assert_same_pictures(got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    # Truncation turns a rounding difference on the edge between two levels into one level.
    error = np.abs(got.astype(int) - expected)
    assert error.max() <= 1
    assert error.mean() <= 0.01


def test_a_generator_gives_onnx_runtimes_pictures(generator: Path) -> None:
    inputs = {"w": W[:3], "psi": PSI[:3]}
    with TorchEngine(generator, SIGNATURE, device="cpu") as engine:
        got = engine.run(inputs)["image"]
    assert_same_pictures(got, expected_of(generator, SIGNATURE, inputs))


def test_a_picture_does_not_depend_on_its_batch(generator: Path) -> None:
    with TorchEngine(generator, SIGNATURE, device="cpu") as engine:
        batch = engine.run({"w": W[:3], "psi": PSI[:3]})["image"]
        for index, picture in enumerate(batch):
            sample = slice(index, index + 1)
            assert_same_pictures(engine.run({"w": W[sample], "psi": PSI[sample]})["image"], picture[None])


@pytest.mark.parametrize("norm", ["adaln", "adain", "none"])
@pytest.mark.parametrize("heads", [8, 1])
def test_an_isf_head_gives_onnx_runtimes_codes(tmp_path: Path, norm: Norm, heads: int) -> None:
    onnx.save(onnx_from_isf(head(norm, heads=heads), ISF_SIGNATURE), tmp_path / "isf.onnx")
    _, inputs = batches_for(ISF_SIGNATURE)
    with TorchEngine(tmp_path / "isf.onnx", ISF_SIGNATURE, device="cpu") as engine:
        got = engine.run(inputs)["w_edited"]
    # The sums of values of order 1 have another order.
    np.testing.assert_allclose(got, expected_of(tmp_path / "isf.onnx", ISF_SIGNATURE, inputs), rtol=0, atol=1e-5)


def test_an_encoder_gives_onnx_runtimes_codes(encoder: Path) -> None:
    _, inputs = batches_for(ENCODER_SIGNATURE)
    with TorchEngine(encoder, ENCODER_SIGNATURE, device="cpu") as engine:
        got = engine.run(inputs)["w"]
    # The sums in fifty layers, of values of order 1, have another order.
    np.testing.assert_allclose(got, expected_of(encoder, ENCODER_SIGNATURE, inputs), rtol=0, atol=2e-4)


def test_a_pipelines_engines_pass_tensors_on(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    faces = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    loaded = [
        TorchEngine(directory / manifest.model_file, manifest.signature, device="cpu")
        for directory in (models.encoder, models.isf, models.generators["plain"])
        for manifest in [read_manifest(directory)]
    ]
    encode, edit, generate = (engine.run_on_gpu for engine in loaded)
    codes = encode({"face": torch.tensor(faces)})
    controls = {"attributes": torch.ones(3, 2), "z": torch.ones(3, 4), "row_strength": torch.ones(3, 8)}
    edited = edit(codes | controls)["w_edited"]
    pictures = generate({"w": edited, "psi": torch.ones(3, 1)})["image"]
    assert np.array_equal(pictures.numpy(), expected_pictures(faces, shift=0.75))


def test_the_kernels_make_the_picture_at_most_twice_as_wrong_as_half_precision(generator: Path) -> None:
    # In a separate process, since Triton decides on import whether it interprets or compiles.
    arguments = (generator, "kernels", W[:2], PSI[:2])
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        patch.setenv("TRITON_INTERPRET", "1")
        kernels = pool.submit(torch_engine_cases.pictures, *arguments).result()
    half, single = (torch_engine_cases.pictures(generator, backend, W[:2], PSI[:2]) for backend in ("half", "single"))
    wrong = [np.abs(pictures.astype(int) - single).mean() for pictures in (kernels, half)]
    assert wrong[0] <= 2 * wrong[1]


def test_weights_beside_the_graph_are_read_even_if_they_are_hard_links(generator: Path, tmp_path: Path) -> None:
    # A Triton repository hard-links the files of a model directory.
    original = tmp_path / "original"
    original.mkdir()
    onnx.save(
        onnx.load(generator),
        original / "generator.onnx",
        save_as_external_data=True,
        location="generator.onnx.data",
        size_threshold=0,
    )
    for path in original.iterdir():
        os.link(path, tmp_path / path.name)
    linked, whole = read_graph(tmp_path / "generator.onnx").constants, read_graph(generator).constants
    assert linked.keys() == whole.keys()
    assert all(np.array_equal(linked[name], whole[name]) for name in whole)
    (original / "generator.onnx.data").write_bytes(b"")
    with pytest.raises(EngineError, match=r"generator\.onnx\.data: got 0 of the .* expected the weights that belong"):
        read_graph(tmp_path / "generator.onnx")
    (tmp_path / "generator.onnx.data").unlink()
    with pytest.raises(EngineError, match=r"generator\.onnx\.data: got no such file"):
        read_graph(tmp_path / "generator.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "generator.onnx").write_bytes(b"no protobuf")
    with pytest.raises(EngineError, match=r"generator\.onnx: got a file that does not parse, expected an ONNX model"):
        read_graph(tmp_path / "generator.onnx")


def test_a_graph_that_is_no_generator_of_this_package_is_refused(tiny_model_directories: TinyModels) -> None:
    graph = read_graph(tiny_model_directories.generators["plain"] / "generator.onnx")
    with pytest.raises(EngineError, match=r"as a generator: got a graph without .* export the model again"):
        generator_weights_from_graph(graph)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        g (float[N, 16] w) => (float[N, 16] image) { image = Softsign (w) }
    """)
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(EngineError, match=r"odd\.onnx in PyTorch: got the operators Softsign, expected some of Add"):
        TorchEngine(tmp_path / "odd.onnx", SIGNATURE, device="cpu")


@pytest.mark.parametrize(
    ("w", "psi"),
    [
        (torch.zeros(2, 8, 16), torch.ones(1, 1)),
        (torch.zeros(2, 8, 15), torch.ones(2, 1)),
        (torch.zeros(2, 8, 16).half(), torch.ones(2, 1)),
        (torch.zeros(0, 8, 16), torch.ones(0, 1)),
        (torch.zeros(2, 8, 16, device="meta"), torch.ones(2, 1)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(generator: Path, w: torch.Tensor, psi: torch.Tensor) -> None:
    with (
        TorchEngine(generator, SIGNATURE, device="cpu") as engine,
        pytest.raises(EngineError, match=r"engine input '(w|psi)': got "),
    ):
        engine.run_on_gpu({"w": w, "psi": psi})


def test_a_closed_engine_says_so(generator: Path) -> None:
    with TorchEngine(generator, SIGNATURE, device="cpu") as engine:
        pass
    with pytest.raises(EngineError, match="got a call after close"):
        engine.run({"w": W, "psi": PSI})


def test_a_machine_without_a_gpu_is_told_so(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"device cuda: got .* expected an NVIDIA GPU .* or use --target cpu"):
        TorchEngine(generator, SIGNATURE)


class ReplayedOnTheCpu:
    """A fake of a captured graph that computes from the input buffers into the output buffers when replayed."""

    def __init__(self, network: Network, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        self._network, self._inputs, self._outputs = network, inputs, outputs

    def replay(self) -> None:
        for name, value in self._network(self._inputs).items():
            self._outputs[name].copy_(value)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 11])
def test_parts_of_a_batch_go_through_the_graphs_buffers(
    generator: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    def capture(self: ReplayedOnTheCpu, network: Network, inputs: dict[str, torch.Tensor], pool: object) -> None:
        self._inputs, self._outputs = inputs, network(inputs)
        self._graph = ReplayedOnTheCpu(network, inputs, self._outputs)

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(_CapturedGraph, "__init__", capture)
    cpu = torch.device("cpu")
    network = network_from_onnx(generator, SIGNATURE, cpu)
    graphs = CudaGraphs(network, SIGNATURE, cpu, (1, 4))
    inputs = {"w": torch.tensor(W[:batch]), "psi": torch.tensor(PSI[:batch])}
    got = graphs(inputs)["image"]
    kept = got.clone()
    graphs({"w": -inputs["w"], "psi": inputs["psi"]})
    assert torch.equal(got, kept)
    assert_same_pictures(got.numpy(), network(inputs)["image"].numpy())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("batch", [1, 2, 3, 8, 11])
def test_a_generator_on_a_gpu_gives_the_cpus_pictures(generator: Path, batch: int) -> None:
    inputs = {"w": W[:batch], "psi": PSI[:batch]}
    expected = expected_of(generator, SIGNATURE, inputs).astype(int)
    half = torch_engine_cases.pictures(generator, "half", *inputs.values())
    with TorchEngine(generator, SIGNATURE) as engine:
        first = engine.run(inputs)["image"]
        kept = first.copy()
        engine.run({"w": -inputs["w"], "psi": inputs["psi"]})
        again = engine.run(inputs)["image"]
    assert np.array_equal(first, kept)
    assert np.array_equal(first, again)
    assert np.abs(first - expected).mean() <= 2 * np.abs(half - expected).mean()


@pytest.mark.gpu
@needs_gpu
def test_singles_on_a_gpu_are_the_batchs_pictures(generator: Path) -> None:
    with TorchEngine(generator, SIGNATURE, batches=(4,)) as engine:
        batch = engine.run({"w": W[:4], "psi": PSI[:4]})["image"]
        # The single is padded to the same graph, so that all sums have the same order.
        single = engine.run({"w": W[:1], "psi": PSI[:1]})["image"]
    assert np.array_equal(batch[:1], single)


@pytest.mark.gpu
@needs_gpu
def test_tensors_stay_on_the_gpu_between_the_engines(encoder: Path, generator: Path) -> None:
    _, faces = batches_for(ENCODER_SIGNATURE)
    codes = expected_of(encoder, ENCODER_SIGNATURE, faces)
    with TorchEngine(encoder, ENCODER_SIGNATURE) as encode, TorchEngine(generator, SIGNATURE) as generate:
        encoded = encode.run_on_gpu({"face": torch.tensor(faces["face"], device="cuda")})["w"]
        image = generate.run_on_gpu({"w": encoded, "psi": torch.ones(2, 1, device="cuda")})["image"]
        expected = generate.run({"w": encoded.cpu().numpy(), "psi": np.ones((2, 1), np.float32)})["image"]
    # Half precision has 11 bits: after fifty layers the root mean square error is 0.5 % of the codes'.
    assert np.sqrt(np.mean((encoded.cpu().numpy() - codes) ** 2)) <= 5e-3 * np.sqrt(np.mean(codes**2))
    assert np.array_equal(image.cpu().numpy(), expected)
