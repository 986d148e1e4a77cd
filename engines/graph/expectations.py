"""What a network's geometry says about its weights: the one check between an ONNX file and code that reads memory.

The classes that hold weights list an ``Expectation`` for each array and each number in them. Compiled kernels get
addresses without shapes, so that an array that is not listed would be read beyond its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature

MAX_CHANNELS = 4096
"""Channels of a layer. Public networks have up to 1024; the kernels' indices within a layer are 32 bits."""

MAX_MAP_NUMBERS = 2**28
"""Numbers in a feature map, 1 GiB in float32; the largest public generators have 2**26."""

MIN_MAP_CHANNELS = 16
"""Narrower maps are padded to this, a register of AVX-512, or to twice as much."""

MAX_SHARED_USE = 4
"""How many times the numbers in a file its layers may use. The export stores equal arrays once, but every layer gets
its own transformed copy: a small file could ask for any amount of memory."""

MIN_SHARED_USE = 2**24
"""Numbers that the layers of any file may use, 64 MiB."""


@dataclass(frozen=True)
class Expectation:
    """One property of a network's weights.

    Attributes:
        name: the property in words, such as "the noise at 64x64".
        got: its value.
        expected: the value that the geometry gives it.
        holds: whether the two agree.
        numbers: how many numbers of the file it is about.
    """

    name: str
    got: str
    expected: str
    holds: bool
    numbers: int = 0


def array_of(name: str, array: AnyArray, *shape: int) -> Expectation:
    """Expect an array of float32 in this shape."""
    holds = array.dtype == np.float32 and array.shape == shape
    return Expectation(name, f"{array.dtype.name} {[*array.shape]}", f"float32 {[*shape]}", holds, array.size)


def equal(name: str, got: object, expected: object) -> Expectation:
    """Expect two values to be equal."""
    return Expectation(name, str(got), str(expected), got == expected)


def between(name: str, got: float, low: float, high: float) -> Expectation:
    """Expect a number from ``low`` to ``high``, both included; NaN is not."""
    return Expectation(name, f"{got:g}", f"{low:g} to {high:g}", low <= got <= high)


def map_of(name: str, size: int, channels: int) -> Expectation:
    """Expect a feature map [size, size, channels] that memory can hold."""
    numbers = size * size * max(channels, MIN_MAP_CHANNELS)
    holds = 1 <= channels <= MAX_CHANNELS and numbers <= MAX_MAP_NUMBERS
    expected = f"1 to {MAX_CHANNELS} channels and up to {MAX_MAP_NUMBERS} numbers"
    return Expectation(name, f"{size}x{size} with {channels} channels", expected, holds)


class ExpectedWeights(Protocol):
    """Weights that state what must hold for them."""

    def expectations(self) -> Iterable[Expectation]:
        """What must hold within the network."""
        ...

    def signature_expectations(self, signature: Signature) -> Iterable[Expectation]:
        """What must hold between the network and the inputs and outputs that its manifest states."""
        ...


def check_weights(subject: str, weights: ExpectedWeights, signature: Signature | None, stored: int) -> None:
    """Check weights and, if it is given, that they are those of ``signature``; see ``check_expectations``."""
    check_expectations(subject, weights.expectations(), stored)
    if signature is not None:
        check_expectations(subject, weights.signature_expectations(signature), stored)


def check_expectations(subject: str, expectations: Iterable[Expectation], stored: int) -> None:
    """Check one expectation after the other, each of which may rely on those before it.

    Args:
        subject: the network in words, such as "generator.onnx as a generator".
        expectations: what must hold.
        stored: how many numbers the file's constants have.

    Raises:
        EngineError: an expectation does not hold, or the layers share the file's numbers so often that their memory
            has no relation to its size.
    """
    limit, used = max(MAX_SHARED_USE * stored, MIN_SHARED_USE), 0
    for expectation in expectations:
        used += expectation.numbers
        if not expectation.holds:
            raise _error(subject, f"{expectation.name}: {expectation.got}", expectation.expected)
        if used > limit:
            raise _error(subject, f"layers with more than {limit} numbers", f"about the {stored} that the file stores")


def _error(subject: str, got: str, expected: str) -> EngineError:
    return EngineError(
        subject,
        got=got,
        expected=expected,
        remedy="use another engine, or export the model again with this version of the package",
    )
