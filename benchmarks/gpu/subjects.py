"""The subjects of the GPU benchmark; each is opened in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.clock import device_times, host_times
from benchmarks.gpu.rows import OURS, PORT
from benchmarks.gpu.torch_engines import EagerEngine, GraphAlone, profiled
from benchmarks.networks import BenchmarkModels, encoder_weights, generator_weights, isf_weights, signature_of
from benchmarks.reference import ReferenceData
from engines.engine import BaseEngine
from engines.graph.generator_weights import generator_weights_from_graph
from engines.graph.onnx_graph import read_graph
from engines.torch.cuda_graphs import Network
from engines.torch.engine import TorchEngine, network_from_onnx, resolve_device
from engines.torch.generator import TorchGenerator
from engines.torch.layer_backends import FusedBackend, ReferenceBackend
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import Generator, generator_from_weights, picture_from_output
from export.networks.isf import isf_from_weights
from export.parity import Parity, parity

EAGER = "eager channels_last"
COMPILED = "torch.compile max-autotune"
ONNX_CUDA = "onnxruntime-cuda"
GRAPH_ALONE = f"{OURS}, graph alone"
GRAPH_FUSED_FROM = f"{GRAPH_ALONE}, fused from "
"""An engine's name up to the resolution from which the generator uses this package's convolutions."""


@dataclass(frozen=True)
class Subject:
    """A network in an engine, for every batch size."""

    stage: str
    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.stage}, {self.engine}, {self.precision}"


@dataclass(frozen=True)
class GpuTimings:
    """Milliseconds of each call on the device and from host to host, and the peak of GPU memory in bytes.

    For a server only the times from host to host are known: ``device`` is empty and ``peak_bytes`` 0.
    """

    device: tuple[float, ...]
    host: tuple[float, ...]
    peak_bytes: int


class RemoteSubject:
    """The remote object of a subject's process: loads the subject, compares it with the reference and times it."""

    def __init__(self, subject: Subject, models: BenchmarkModels, device: str, batches: Collection[int]) -> None:
        self._subject, self._models, self._batches = subject, models, batches
        self._device = resolve_device(device)
        self._reference = ReferenceData(models)
        self._engine: Any = None

    def load(self) -> float:
        """Load the subject, and return the seconds that this takes."""
        start = time.perf_counter()
        # TF32 is PyTorch's default for convolutions, and off for "fp32"; users of the ports enable the benchmark mode.
        torch.backends.cudnn.allow_tf32 = self._subject.precision != "fp32"
        torch.backends.cudnn.benchmark = True
        self._engine = _open_engine(self._subject, self._models, self._device, self._batches)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        return time.perf_counter() - start

    def check(self, batch: int) -> Parity:
        """Run once from host to host, and compare the output with the reference's."""
        stage = self._subject.stage
        (name,) = (spec.name for spec in self._engine.signature.outputs)
        output = self._engine.run(self._reference.inputs(stage, batch))[name]
        return parity(output, self._reference.output(stage, batch))

    def time_calls(self, batch: int, seconds: float) -> GpuTimings:
        """Time calls for ``seconds``: half of the time on the device alone, half from host to host."""
        inputs = self._reference.inputs(self._subject.stage, batch)
        if self._subject.stage == "ensemble":
            return GpuTimings((), tuple(host_times(lambda: self._engine.run(inputs), seconds)), 0)
        on_device = {name: torch.from_numpy(value.copy()).to(self._device) for name, value in inputs.items()}
        # The first calls may compile, choose algorithms and allocate memory.
        device_times(lambda: self._engine.run_on_gpu(on_device), self._device, 0)
        device = device_times(lambda: self._engine.run_on_gpu(on_device), self._device, seconds / 2)
        host = host_times(lambda: self._engine.run(inputs), seconds / 2)
        peak = 0
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            torch.cuda.empty_cache()  # for the other processes that alternate with this one
        return GpuTimings(tuple(device), tuple(host), peak)

    def profile(self, batch: int) -> list[tuple[str, int, float]]:
        """Kernels of one call from GPU memory to GPU memory: name, number of launches, microseconds of all of them."""
        inputs = self._reference.inputs(self._subject.stage, batch)
        on_device = {name: torch.from_numpy(value.copy()).to(self._device) for name, value in inputs.items()}
        return profiled(lambda: self._engine.run_on_gpu(on_device), self._device)

    def close(self) -> None:
        """Close the engine, if one is loaded."""
        if self._engine is not None:
            self._engine.close()


def _open_engine(
    subject: Subject, models: BenchmarkModels, device: torch.device, batches: Collection[int]
) -> BaseEngine:
    signature = signature_of(subject.stage, models.scale.geometry)
    if subject.stage == "ensemble":
        # Imported here, since it needs packages that may not be installed.
        from benchmarks.latency.subjects import EnsembleSubject

        return EnsembleSubject(models.on_gpu, signature)
    if subject.engine == OURS:
        network = partial(_network, subject.stage, models)
        return TorchEngine(network, signature, device=str(device), batches=batches)
    if subject.engine.startswith(GRAPH_ALONE):
        return GraphAlone(_graph_network(subject, models, device), signature, device, batches)
    if subject.engine == ONNX_CUDA:
        from benchmarks.gpu.onnxruntime import OnnxRuntimeCuda

        return OnnxRuntimeCuda(models.onnx(subject.stage), signature, device)
    return EagerEngine(signature, _forward(subject, models, device), device)


def _graph_network(subject: Subject, models: BenchmarkModels, device: torch.device) -> Network:
    """The engine's network of a stage, or a generator that is fused from the resolution in the subject's name."""
    if not subject.engine.startswith(GRAPH_FUSED_FROM):
        return _network(subject.stage, models, device)
    graph = read_graph(models.onnx(subject.stage))
    weights = generator_weights_from_graph(graph, signature_of(subject.stage, models.scale.geometry))
    start = int(subject.engine.removeprefix(GRAPH_FUSED_FROM))
    return TorchGenerator(weights, FusedBackend(start) if device.type == "cuda" else ReferenceBackend(), device)


def _network(stage: str, models: BenchmarkModels, device: torch.device) -> Network:
    if stage == "pipeline":
        return _pipeline(*(_network(part, models, device) for part in ("encoder", "isf", "generator")))
    signature, half = signature_of(stage, models.scale.geometry), device.type == "cuda"
    return network_from_onnx(models.onnx(stage), signature, device, half=half)


def _pipeline(encode: Network, edit: Network, generate: Network) -> Network:
    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        controls = {name: inputs[name] for name in ("attributes", "z", "row_strength")}
        edited = edit(encode({"face": inputs["face"]}) | controls)
        return generate({"w": edited["w_edited"], "psi": inputs["psi"]})

    return run


def _generator(models: BenchmarkModels) -> Generator:
    return generator_from_weights(generator_weights(models.scale))


def _forward(subject: Subject, models: BenchmarkModels, device: torch.device) -> Callable[..., Tensor]:
    half = subject.precision == "fp16" and device.type == "cuda"
    dtype = torch.float16 if half else torch.float32
    if subject.stage == "isf":
        return isf_from_weights(isf_weights(models.scale)).to(device)
    if subject.stage == "encoder":
        encoder: Any = encoder_from_weights(encoder_weights(models.scale)).to(device, dtype)
        encoder = encoder.to(memory_format=torch.channels_last)
        return lambda face: encoder(input_from_face(face).to(dtype)).float()
    if subject.engine == PORT:
        from benchmarks.baselines import PortedGenerator

        port = PortedGenerator(_generator(models)).eval().to(device, dtype)
        return lambda w, psi: port(w.to(dtype), psi.to(dtype))
    generator: Any = _generator(models).to(device, dtype)
    generator = generator.to(memory_format=torch.channels_last)
    if subject.engine == COMPILED:
        generator = torch.compile(generator, dynamic=False, mode="max-autotune")
    return lambda w, psi: picture_from_output(generator(w.to(dtype), psi.to(dtype)).float())
