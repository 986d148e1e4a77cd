"""What every engine is: named arrays in, named arrays out, closed when done."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature

AnyArray = NDArray[Any]


class Engine(Protocol):
    """A loaded model; use it in a ``with`` block.

    ``run`` returns arrays that the caller owns. One engine serves one thread at a time.
    """

    @property
    def signature(self) -> Signature: ...

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run one batch.

        Raises:
            EngineError: a tensor is missing, unknown, or has another dtype or shape than the signature says.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BaseEngine:
    """Input checks and the ``with`` protocol, shared by the engines."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        check_inputs(self.signature, inputs)
        return self._run({name: np.ascontiguousarray(value) for name, value in inputs.items()})

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        raise NotImplementedError

    def close(self) -> None:
        """Release what the engine holds; engines of pure Python objects have nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_inputs(signature: Signature, inputs: Mapping[str, AnyArray]) -> None:
    """Raise EngineError unless ``inputs`` are exactly the signature's, with one common batch size of at least 1."""
    expected = {spec.name: spec for spec in signature.inputs}
    if inputs.keys() != expected.keys():
        raise EngineError(
            "engine input",
            got=f"the tensors {sorted(inputs)}",
            expected=f"{sorted(expected)}",
            remedy="give each named tensor once",
        )
    batch = {value.shape[0] for value in inputs.values() if value.ndim}
    for name, value in inputs.items():
        spec = expected[name]
        same = value.dtype == spec.dtype.numpy and value.shape[1:] == spec.dims
        if not same or batch != {value.shape[0]} or 0 in batch:
            raise EngineError(
                f"engine input {name!r}",
                got=f"{value.dtype} {list(value.shape)}",
                expected=f"{spec} with one N of at least 1 for all inputs",
                remedy="convert the array before the call",
            )
