"""A process that loads models and runs them once: ``python model_runner.py ENGINE [FOLDER INSTRUCTION_SET]``.

It reads a line of JSON for each model, ``[path, letter, resolution, rows, w_dim]``, the letter being g for a generator,
l for a live one, and e for an encoder. It answers one line: "ran", "refused: SENTENCE", or "failed: TRACEBACK" with its
lines joined. FOLDER has other kernels for ``engines.winograd``.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from engines.contract.errors import ToonifyError
from engines.contract.tensors import BLEND, Geometry, Signature, encoder_signature, generator_signature
from engines.engine import Engine
from engines.model_directory import Precision

PRECISIONS: dict[str, tuple[Precision, ...]] = {"winograd": ("fp32", "int16")}
"""The precisions of an engine in which each model is run; float32 alone for the others."""


def main() -> None:
    engine, *kernels = sys.argv[1:]
    for line in sys.stdin:
        path, letter, resolution, rows, w_dim = json.loads(line)
        build = {"g": generator_signature, "l": generator_signature, "e": encoder_signature}[letter]
        signature = build(Geometry(resolution, w_dim, rows=rows, transferred=int(letter == "l")))
        answer = _answer(engine, kernels, Path(path), signature)
        sys.stdout.write(answer.replace("\n", " | ") + "\n")
        sys.stdout.flush()


def _answer(engine: str, kernels: list[str], path: Path, signature: Signature) -> str:
    try:
        for precision in PRECISIONS.get(engine, ("fp32",)):
            with _loaded(engine, precision, kernels, path, signature) as model, np.errstate(all="ignore"):
                inputs = {spec.name: np.ones((1, *spec.dims), spec.dtype.numpy) for spec in signature.inputs}
                model.run(inputs)
                if BLEND in inputs:  # a live generator makes fractions in another way than hard swaps
                    model.run(inputs | {BLEND: inputs[BLEND] / 2})
    except ToonifyError as error:
        return f"refused: {error}"
    except Exception:
        return f"failed: {traceback.format_exc()}"
    return "ran"


def _loaded(engine: str, precision: Precision, kernels: list[str], path: Path, signature: Signature) -> Engine:
    # Imported on demand: a process needs the libraries of one engine.
    if engine == "winograd":
        from engines.winograd import library
        from engines.winograd.engine import WinogradEngine

        if kernels:
            folder, instruction_set = kernels
            library.find_spec = lambda name: SimpleNamespace(origin=f"{folder}/{name.rpartition('.')[2]}.so")
            library.INSTRUCTION_SETS = (instruction_set,)
        return WinogradEngine(path, signature, precision=precision, threads=2)
    if engine == "torch":
        from engines.torch.engine import TorchEngine

        return TorchEngine(path, signature, precision=precision, device="cpu")
    from engines import engine_from_onnx

    return engine_from_onnx(path, signature, engine, precision, threads=2)


if __name__ == "__main__":
    main()
