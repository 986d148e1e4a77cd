"""All fuzzers by name."""

from __future__ import annotations

from fuzzer import Fuzzer

from tests.fuzzing import checkpoints, requests

FUZZERS: dict[str, Fuzzer] = {fuzzer.name: fuzzer for fuzzer in (checkpoints.FUZZER, requests.FUZZER)}
