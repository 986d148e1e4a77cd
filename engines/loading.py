"""From a model on disk to an engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.engine import Engine
from engines.model_directory import Component, EngineName, Precision, read_manifest
from engines.plan_facts import PlanFacts, check_platform, rebuild
from engines.tensorrt.device import platform_here

Target = Literal["cpu", "torch-cuda", "onnxruntime-cuda", "tensorrt"]

CACHE_VARIABLE = "TOONIFY_CACHE"
"""Names the cache folder to the processes of Triton's python backend, which inherit the server's environment."""


@dataclass(frozen=True)
class EngineKind:
    """What an engine needs and offers.

    Attributes:
        library: what must be there to be imported.
        extra: of this package, which installs it.
        target: the kind of machine that it is for.
        precisions: that it computes in.
        components: that it runs.
        compiled: whether the library is part of this package, compiled when that is installed.
    """

    library: str
    extra: str
    target: Target
    precisions: tuple[Precision, ...]
    components: tuple[Component, ...] = ("encoder", "isf", "generator")
    compiled: bool = False

    @property
    def remedy(self) -> str:
        """What to do where the library is missing."""
        if self.compiled:
            return "install a C++ compiler, then this package again"
        return f"pip install 'toonify-serve[{self.extra}]'"


ENGINES: dict[EngineName, EngineKind] = {
    "onnxruntime": EngineKind("onnxruntime", "cpu", "cpu", ("fp32",)),
    "openvino": EngineKind("openvino", "cpu", "cpu", ("fp32", "bf16")),
    "winograd": EngineKind(
        "engines.winograd.avx2", "cpu", "cpu", ("fp32", "int16"), ("encoder", "generator"), compiled=True
    ),
    "torch": EngineKind("torch", "gpu", "torch-cuda", ("fp32", "fp16")),
    "onnxruntime-cuda": EngineKind("onnxruntime", "gpu", "onnxruntime-cuda", ("fp32", "fp16")),
    "tensorrt": EngineKind("tensorrt", "tensorrt", "tensorrt", ("fp32", "fp16")),
}


def installed(engine: EngineName) -> bool:
    """Whether the engine's library can be imported."""
    return find_spec(ENGINES[engine].library) is not None


def precisions_here(engine: EngineName) -> tuple[Precision, ...]:
    """Those that an installed engine offers on this machine.

    Raises:
        EngineError: the engine needs a GPU that is not there.
    """
    if engine == "openvino":
        from engines.openvino.engine import supports_bf16

        return ("fp32", "bf16") if supports_bf16() else ("fp32",)
    if engine == "winograd":
        from engines.winograd.library import targets_here

        return ENGINES[engine].precisions if targets_here() else ()
    if engine == "torch":
        from engines.torch.engine import checked_device

        checked_device("cuda")
    if engine == "onnxruntime-cuda":
        from engines.onnxruntime import cuda

        return cuda.precisions_here()
    if engine == "tensorrt":
        platform_here()
    return ENGINES[engine].precisions


def engine_from_directory(directory: Path, *, threads: int = 0, cache: Path | None = None) -> Engine:
    """Load a model directory with the engine and precision that its manifest names; see ``engine_from_onnx``.

    Raises:
        ModelDirectoryError: the directory is incomplete or altered.
        EngineError: the engine's library is not installed.
    """
    manifest = read_manifest(directory)
    model = directory / manifest.model_file
    return engine_from_onnx(
        model,
        manifest.signature,
        manifest.engine,
        manifest.precision,
        threads=threads,
        cache=cache,
        plans=manifest.plans,
    )


def engine_from_onnx(
    model: Path,
    signature: Signature,
    engine: EngineName,
    precision: Precision = "fp32",
    *,
    threads: int = 0,
    cache: Path | None = None,
    plans: PlanFacts | None = None,
) -> Engine:
    """Load an ONNX file.

    Args:
        model: the file.
        signature: its tensors.
        engine: which engine.
        precision: of its arithmetic.
        threads: of engines on a CPU; 0 takes every core.
        cache: folder of compiled models for the next load; ``openvino`` and ``onnxruntime-cuda`` have them.
        plans: what TensorRT built of the file, beside it; no other engine has any.

    Raises:
        EngineError: the engine's library is not installed, it does not offer the precision, or plans are missing or
            were built elsewhere.
    """
    _check(engine, precision)
    # Imported here: a machine needs only the library of the engine that it uses.
    if engine == "openvino":
        from engines.openvino.engine import OpenVinoEngine

        return OpenVinoEngine(model, signature, precision=precision, threads=threads, cache=cache)
    if engine == "winograd":
        from engines.winograd.engine import WinogradEngine

        return WinogradEngine(model, signature, precision=precision, threads=threads)
    if engine == "torch":
        from engines.torch.engine import TorchEngine

        return TorchEngine(model, signature, precision=precision)
    if engine == "onnxruntime-cuda":
        from engines.onnxruntime.cuda import OnnxRuntimeCudaEngine

        return OnnxRuntimeCudaEngine(model, signature, precision=precision, cache=cache)
    if engine == "tensorrt":
        return _tensorrt_engine(model.parent, signature, plans)
    from engines.onnxruntime.engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, signature, threads=threads)


def _tensorrt_engine(directory: Path, signature: Signature, plans: PlanFacts | None) -> Engine:
    if plans is None:
        raise EngineError(
            f"engine tensorrt on {directory}",
            got="no plans",
            expected="some in the manifest",
            remedy=rebuild(directory),
        )
    # Before the engine's module, which does not import without a GPU's driver.
    check_platform(plans, platform_here(), directory)
    from engines.tensorrt.engine import TensorRtEngine

    return TensorRtEngine(directory, signature, plans)


def _check(engine: EngineName, precision: Precision) -> None:
    kind = ENGINES[engine]
    if not installed(engine):
        raise EngineError(
            f"engine {engine}",
            got="no such library",
            expected=f"the package {kind.library}",
            remedy=kind.remedy,
        )
    if precision not in kind.precisions:
        raise EngineError(
            f"engine {engine}",
            got=f"precision {precision}",
            expected=" or ".join(kind.precisions),
            remedy="choose one of these, or another engine",
        )
