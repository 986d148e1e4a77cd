"""The signature of a served model, read from its Triton configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engines.contract.tensors import DType, Signature, TensorSpec


def signature_from_config(config: Mapping[str, Any]) -> Signature:
    """Read a configuration in JSON form, as python models receive it; 64-bit numbers are strings in that form."""
    return Signature(_specs(config.get("input", ())), _specs(config.get("output", ())))


def _specs(tensors: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    types = {dtype.triton_config: dtype for dtype in DType}
    return tuple(
        TensorSpec(t["name"], types[t["data_type"]], tuple(map(int, t["dims"])), t.get("optional", False))
        for t in tensors
    )
