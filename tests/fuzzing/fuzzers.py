"""All fuzzers by name."""

from __future__ import annotations

from fuzzer import Fuzzer

from tests.fuzzing import checkpoints, onnx_models, pictures, requests, studio

ALL = (checkpoints.FUZZER, onnx_models.FUZZER, pictures.FUZZER, requests.FUZZER, studio.FUZZER)
FUZZERS: dict[str, Fuzzer] = {fuzzer.name: fuzzer for fuzzer in ALL}
