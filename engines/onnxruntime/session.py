"""Opening an ONNX file in ONNX Runtime; its refusals become one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.library_errors import check_model_tensors, library_errors

LIBRARY, REMEDY = "ONNX Runtime", "export the model again"

_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
"""NumPy's names of ONNX Runtime's types; others are in no signature."""


def open_session(
    model: Path,
    signature: Signature,
    *,
    providers: Sequence[Any],
    options: onnxruntime.SessionOptions | None = None,
    opened: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load ``model``, or the same file from where it was ``opened``, and compare its tensors with the signature.

    Raises:
        EngineError: there is no such file, ONNX Runtime refuses it, or it has other inputs or outputs.
    """
    if not (opened or model).is_file():
        raise EngineError(str(model), got="no such file", expected="an ONNX model", remedy=REMEDY)
    with library_errors(LIBRARY, model.name, remedy=REMEDY):
        session = onnxruntime.InferenceSession(str(opened or model), options, providers=providers)
        inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
    check_model_tensors(model.name, signature, inputs, outputs)
    return session


def _tensors(values: Iterable[Any]) -> list[tuple[str, str, Sequence[object]]]:
    return [(value.name, _TYPES.get(value.type, value.type), value.shape) for value in values]
