"""ONNX Runtime on a CPU, float32."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine, EngineOptions
from engines.library_errors import library_errors
from engines.model_directory import Precision
from engines.onnxruntime.session import LIBRARY, REMEDY, open_session

FATAL = 4
"""ONNX Runtime's log level above its errors, which it also raises."""


class OnnxRuntimeEngine(BaseEngine):
    """Runs an ONNX file, whose model-local functions ONNX Runtime inlines itself."""

    def __init__(self, model: Path, signature: Signature, *, threads: int = 0, opened: Path | None = None) -> None:
        """Load ``model``, or the same file from where it was ``opened``; ``threads`` 0 uses every core.

        Raises:
            EngineError: ONNX Runtime refuses the model, or its inputs or outputs differ from the signature.
        """
        super().__init__(signature)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Worker threads otherwise spin for about 30 ms after a run, on cores that the next engine needs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = FATAL
        providers = ["CPUExecutionProvider"]
        self._session = open_session(model, signature, providers=providers, options=options, opened=opened)
        self._name = model.name
        self._outputs = [spec.name for spec in signature.outputs]

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        with library_errors(LIBRARY, self._name, remedy=REMEDY):
            results = self._session.run(self._outputs, inputs)
        return dict(zip(self._outputs, results, strict=True))


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``."""
    return ("fp32",)


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> OnnxRuntimeEngine:
    """See ``EngineModule``."""
    return OnnxRuntimeEngine(model, signature, threads=options.threads, opened=options.opened)
