"""From a model on disk to an engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from engines.engine import Engine
from engines.model_directory import EngineName, Precision, read_manifest
from serving.errors import EngineError
from serving.tensors import Signature


@dataclass(frozen=True)
class EngineKind:
    """What an engine needs and offers.

    Attributes:
        library: what must be there to be imported.
        extra: of this package, which installs it.
        precisions: that it computes in.
    """

    library: str
    extra: str
    precisions: tuple[Precision, ...]


ENGINES: dict[EngineName, EngineKind] = {
    "onnxruntime": EngineKind("onnxruntime", "cpu", ("fp32",)),
    "openvino": EngineKind("openvino", "cpu", ("fp32", "bf16")),
    "torch": EngineKind("torch", "gpu", ("fp16",)),
}


def installed(engine: EngineName) -> bool:
    """Whether the engine's library can be imported."""
    return find_spec(ENGINES[engine].library) is not None


def engine_from_directory(directory: Path, *, threads: int = 0) -> Engine:
    """Load a model directory with the engine and precision that its manifest names.

    Raises:
        ModelDirectoryError: the directory is incomplete or altered.
        EngineError: the engine's library is not installed.
    """
    manifest = read_manifest(directory)
    return engine_from_onnx(
        directory / manifest.model_file, manifest.signature, manifest.engine, manifest.precision, threads=threads
    )


def engine_from_onnx(
    model: Path, signature: Signature, engine: EngineName, precision: Precision = "fp32", *, threads: int = 0
) -> Engine:
    """Load an ONNX file; ``threads``, of engines on a CPU, 0 takes every core; ``torch`` runs on an NVIDIA GPU.

    Raises:
        EngineError: the engine's library is not installed, or it does not offer the precision.
    """
    _check(engine, precision)
    # Imported here: a machine needs only the library of the engine that it uses.
    if engine == "openvino":
        from engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, signature, precision=precision, threads=threads)
    if engine == "torch":
        from engines.torch_engine import TorchEngine

        return TorchEngine(model, signature)
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, signature, threads=threads)


def _check(engine: EngineName, precision: Precision) -> None:
    kind = ENGINES[engine]
    if not installed(engine):
        raise EngineError(
            f"engine {engine}",
            got="no such library",
            expected=f"the package {kind.library}",
            remedy=f"install it with: pip install 'toonify-serve[{kind.extra}]'",
        )
    if precision not in kind.precisions:
        raise EngineError(
            f"engine {engine}",
            got=f"precision {precision}",
            expected=" or ".join(kind.precisions),
            remedy="use openvino for bf16, torch for fp16",
        )
