"""From a model on disk to an engine that runs it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from engines.engine import Engine
from engines.model_directory import EngineName, Precision, read_manifest
from serving.errors import EngineError
from serving.tensors import Signature


def installed(engine: EngineName) -> bool:
    """Whether the engine's library can be imported."""
    return find_spec(engine) is not None


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
    if not installed(engine):
        raise EngineError(
            f"engine {engine}",
            got="no such library",
            expected=f"the package {engine}",
            remedy=f"install it with: pip install 'toonify-serve[{'gpu' if engine == 'torch' else 'cpu'}]'",
        )
    # Imported here: a machine needs only the library of the engine that it uses.
    if engine == "openvino":
        from engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, signature, precision=precision, threads=threads)
    if engine == "torch" and precision == "fp16":
        from engines.torch_engine import TorchEngine

        return TorchEngine(model, signature)
    if engine == "torch" or precision != "fp32":
        raise EngineError(
            f"engine {engine}",
            got=f"precision {precision}",
            expected="fp16" if engine == "torch" else "fp32",
            remedy="use openvino for bf16, torch for fp16",
        )
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, signature, threads=threads)
