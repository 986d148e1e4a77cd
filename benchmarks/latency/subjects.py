"""From a condition to something that runs it; called in the process that is measured, which imports no more than it
needs.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from tritonclient.grpc import InferenceServerClient

from benchmarks.failures import SubjectError, one_line
from benchmarks.latency import conditions
from benchmarks.latency.conditions import Condition
from benchmarks.latency.roof import ROOFS
from benchmarks.memory import processes_of_session
from benchmarks.networks import Models, generator_weights, signature_of
from engines import Engine, engine_from_directory, engine_from_onnx
from engines.contract.arrays import AnyArray
from engines.contract.atomic import atomic_file
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from engines.model_directory import EngineName, Precision
from serving.client import ToonifyClient
from serving.pipeline import Pipeline
from serving.triton.server import TritonServer


def open_subject(condition: Condition, models: Models, threads: int) -> Engine:
    """Load what the condition measures."""
    precision = cast(Precision, condition.precision)
    if condition.stage == "roof":
        return ROOFS[condition.engine].open(models.scale, precision, threads)
    signature = signature_of(condition.stage, models.scale.geometry)
    if condition.stage == "pipeline":
        return PipelineSubject(models, signature, threads)
    if condition.stage == "ensemble":
        return EnsembleSubject(models, signature)
    if condition.engine in (conditions.PORT, conditions.EAGER, conditions.COMPILED):
        from benchmarks.latency.torch_subjects import open_torch

        return open_torch(condition, models, signature, threads)
    if condition.engine == conditions.PORT_ONNX:
        return engine_from_onnx(models.port(condition.batch), signature, "onnxruntime", threads=threads)
    model = models.directory(condition.stage) / f"{condition.stage}.onnx"
    return engine_from_onnx(model, signature, cast(EngineName, condition.engine), precision, threads=threads)


def processes_of(subject: Engine) -> list[int]:
    """The processes whose memory is the subject's: this one, but of a server the server's and not its client's."""
    return subject.processes() if isinstance(subject, EnsembleSubject) else [os.getpid()]


def engine_seconds_of(subject: Engine) -> float:
    """What a server's engines have computed so far; 0 of what is no server."""
    return subject.engine_seconds() if isinstance(subject, EnsembleSubject) else 0.0


class PipelineSubject(BaseEngine):
    """All three engines, as served, in this process."""

    def __init__(self, models: Models, signature: Signature, threads: int) -> None:
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
    """The real server, asked over gRPC by this process."""

    def __init__(self, models: Models, signature: Signature) -> None:
        super().__init__(signature)
        log = models.folder / "tritonserver.log"
        with ExitStack() as stack:
            server = TritonServer(models.repository, log=log, grpc_port=0, http_port=0, metrics_port=0, runtime="cpu")
            self._server = stack.enter_context(server)
            self._client = stack.enter_context(ToonifyClient(self._server.url, timeout=600))
            self._stack = stack.pop_all()

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        controls: Any = {name: value for name, value in inputs.items() if name != "face"}
        return {"image": self._client.toonify(inputs["face"], **controls)}

    def engine_seconds(self) -> float:
        """Of the encoder, the ISF head and the generators, since the server's start."""
        with InferenceServerClient(self._server.url) as client:
            found = client.get_inference_statistics(as_json=True)["model_stats"]
        engines = [model for model in found if model["name"].partition("_")[0] in ("encoder", "isf", "generator")]
        return sum(int(model["inference_stats"]["compute_infer"].get("ns", 0)) for model in engines) / 1e9

    def processes(self) -> list[int]:
        return processes_of_session(self._server.pid)

    def close(self) -> None:
        self._stack.close()


def prepare(condition: Condition, models: Models) -> None:
    """Make what the condition needs beside the exported models: the port's own export.

    In a process of its own, so that its memory does not touch a measurement.

    Raises:
        SubjectError: the export fails.
    """
    path = models.port(condition.batch)
    if condition.engine == conditions.PORT_ONNX and not path.exists():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                pool.submit(_export_port, models, condition.batch, path).result()
            except Exception as error:  # whatever an exporter raises is this condition's result
                raise SubjectError(one_line(error)) from error


def _export_port(models: Models, batch: int, path: Path) -> None:
    from benchmarks.baselines import export_port
    from export.networks.generator import generator_from_weights

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it remarks on torchvision's absence
    with atomic_file(path) as partial:
        export_port(generator_from_weights(generator_weights(models.scale)), batch, partial)
