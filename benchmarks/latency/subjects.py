"""Opens the subject of a benchmark case in the process that is measured, which imports only what the case needs."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from tritonclient.grpc import InferenceServerClient

from benchmarks.errors import SubjectError, one_line
from benchmarks.latency import cases
from benchmarks.latency.cases import BenchmarkCase
from benchmarks.latency.microbenchmarks import MICROBENCHMARKS
from benchmarks.networks import BenchmarkModels, generator_weights, signature_of
from engines import Engine, engine_from_directory, engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.atomic import atomic_file
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from engines.model_directory import EngineName, Precision
from serving.client import ToonifyClient
from serving.pipeline import Pipeline
from serving.triton.process_group import processes_of_session
from serving.triton.server import TritonServer


def open_subject(case: BenchmarkCase, models: BenchmarkModels, threads: int) -> Engine:
    """Load the engine, the pipeline or the server that the case measures."""
    precision = cast(Precision, case.precision)
    if case.stage == "roof":
        return MICROBENCHMARKS[case.engine].open(models.scale, precision, threads)
    signature = signature_of(case.stage, models.scale.geometry)
    if case.stage == "pipeline":
        return PipelineSubject(models, signature, threads)
    if case.stage == "ensemble":
        return EnsembleSubject(models, signature)
    if case.engine in (cases.PORT, cases.EAGER, cases.COMPILED):
        from benchmarks.latency.torch_subjects import open_torch

        return open_torch(case, models, signature, threads)
    if case.engine == cases.PORT_ONNX:
        return engine_from_onnx(models.port(case.batch), signature, "onnxruntime", threads=threads)
    model = models.directory(case.stage) / f"{case.stage}.onnx"
    return engine_from_onnx(model, signature, cast(EngineName, case.engine), precision, threads=threads)


def processes_of(subject: Engine) -> list[int]:
    """Ids of the processes whose memory counts: this process, or for a server its own processes without the client."""
    return subject.processes() if isinstance(subject, EnsembleSubject) else [os.getpid()]


def engine_seconds_of(subject: Engine) -> float:
    """Seconds that a server's engines have computed so far; 0 where the subject is not a server."""
    return subject.engine_seconds() if isinstance(subject, EnsembleSubject) else 0.0


class PipelineSubject(BaseEngine):
    """The three engines of the served ensemble, in this process."""

    def __init__(self, models: BenchmarkModels, signature: Signature, threads: int) -> None:
        super().__init__(signature)
        with ExitStack() as stack:
            encoder, isf, generator = (
                stack.enter_context(engine_from_directory(models.directory(stage), threads=threads))
                for stage in ("encoder", "isf", "generator")
            )
            self._pipeline = Pipeline(encoder, generator, isf)
            self._stack = stack.pop_all()

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        return {"image": self._pipeline.run(**inputs)}

    def close(self) -> None:
        self._stack.close()


class EnsembleSubject(BaseEngine):
    """The real server, called over gRPC by this process."""

    def __init__(self, models: BenchmarkModels, signature: Signature) -> None:
        super().__init__(signature)
        log = models.folder / "tritonserver.log"
        with ExitStack() as stack:
            server = TritonServer(models.repository, log=log, grpc_port=0, metrics_port=0, runtime="cpu")
            self._server = stack.enter_context(server)
            self._client = stack.enter_context(ToonifyClient(self._server.url, timeout=600))
            self._stack = stack.pop_all()

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        controls: Any = {name: value for name, value in inputs.items() if name != "face"}
        return {"image": self._client.toonify(inputs["face"], **controls)}

    def engine_seconds(self) -> float:
        """Seconds that encoder, ISF head and generators have computed since the server's start."""
        with InferenceServerClient(self._server.url) as client:
            models = client.get_inference_statistics(as_json=True)["model_stats"]
        engines = [model for model in models if model["name"].partition("_")[0] in ("encoder", "isf", "generator")]
        return sum(int(model["inference_stats"]["compute_infer"].get("ns", 0)) for model in engines) / 1e9

    def processes(self) -> list[int]:
        return processes_of_session(self._server.pid)

    def close(self) -> None:
        self._stack.close()


def prepare(case: BenchmarkCase, models: BenchmarkModels) -> None:
    """Export the port where the case needs it, in a process of its own, whose memory affects no measurement.

    Raises:
        SubjectError: the export fails.
    """
    path = models.port(case.batch)
    if case.engine == cases.PORT_ONNX and not path.exists():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                pool.submit(_export_port, models, case.batch, path).result()
            except Exception as error:  # whatever the exporter raises is this case's result
                raise SubjectError(one_line(error)) from error


def _export_port(models: BenchmarkModels, batch: int, path: Path) -> None:
    from benchmarks.baselines import export_port
    from export.networks.generator import generator_from_weights

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is not installed
    with atomic_file(path) as partial:
        export_port(generator_from_weights(generator_weights(models.scale)), batch, partial)
