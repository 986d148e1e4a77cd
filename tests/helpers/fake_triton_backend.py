"""A stand-in for those parts of ``triton_python_backend_utils`` that the adapters use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from engines.contract.arrays import AnyArray


@dataclass
class Tensor:
    name: str
    value: AnyArray

    def as_numpy(self) -> AnyArray:
        return self.value


class TritonError:
    INTERNAL, INVALID_ARG = "INTERNAL", "INVALID_ARG"

    def __init__(self, message: str, code: str) -> None:
        self.message, self.code = message, code


class InferenceRequest:
    def __init__(self, **tensors: AnyArray) -> None:
        self.tensors = {name: Tensor(name, value) for name, value in tensors.items()}


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor], error: TritonError | None = None) -> None:
        self.outputs, self.error = {tensor.name: tensor.value for tensor in output_tensors}, error


class Logger:
    errors: ClassVar[list[str]] = []

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.errors.append(message)


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    return request.tensors.get(name)
