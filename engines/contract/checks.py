"""The check of named tensors against a signature, for engines and for requests alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from engines.contract.errors import ToonifyError
from engines.contract.tensors import Signature, TensorSpec


class TensorDescription(Protocol):
    """The dtype and shape of an array, or of another library's tensor."""

    @property
    def dtype(self) -> object: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_tensors(
    signature: Signature, given: Mapping[str, TensorDescription], error: type[ToonifyError], *, whole: str, part: str
) -> None:
    """Check the inputs of one run of a model.

    Args:
        signature: the model's signature.
        given: the tensors by name, [N, ...] each.
        error: the exception to raise if a tensor is missing or unknown, if its dtype or shape differs from the
            signature, or if N differs between tensors.
        whole: the name of all the tensors in that error, such as "request".
        part: the name of a single tensor in that error, such as "tensor".
    """
    expected = {spec.name: spec for spec in signature.inputs}
    required = {spec.name for spec in signature.inputs if not spec.optional}
    if not required <= given.keys() <= expected.keys():
        optional = sorted(expected.keys() - required)
        raise error(
            whole,
            got=f"the tensors {sorted(given)}",
            expected=f"{sorted(required)}{f' and optionally {optional}' if optional else ''}",
            remedy="give each required tensor once and no others",
        )
    batch = next((given[name].shape[:1] for name in expected if name in given), ())
    for name, value in given.items():
        if not _fits(expected[name], value, batch):
            raise error(
                f"{part} {name!r}",
                got=f"{value.dtype} {list(value.shape)}",
                expected=f"{expected[name]} with one N of at least 1 for all tensors",
                remedy="convert the array before the call",
            )


def _fits(spec: TensorSpec, value: TensorDescription, batch: tuple[int, ...]) -> bool:
    dims = value.shape[1:]
    same = len(dims) == len(spec.dims) and all(own in (-1, got) for own, got in zip(spec.dims, dims, strict=True))
    return same and value.dtype == spec.dtype.numpy and value.shape[:1] == batch and batch not in ((), (0,))
