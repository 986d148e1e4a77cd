"""What the GPU benchmark needs before it measures, and the checks of the kernels; each is a process's servant."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import machine
from benchmarks.chain import write_chain
from benchmarks.networks import Models, build, encoder_weights, generator_weights, isf_weights, signature_of
from engines.torch.engine import resolve_device

if TYPE_CHECKING:
    from engines.loading import Target

EXPORTERS = ("onnxscript", "onnx_ir")
SERVERS = ("pydantic", "tritonclient", "cv2")
INTERPRETED = 3
"""Cases in Triton's interpreter, where there is no GPU."""


class Preparation:
    """Facts of the machine, the reference's outputs, exported networks."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def facts(self, device: str) -> tuple[str, str]:
        """The device's name and size; versions of everything that computes, the driver's too."""
        found = resolve_device(device)
        versions = [machine.versions(), f"triton {import_module('triton').__version__}"]
        if found.type != "cuda":
            return f"{platform.machine()} processor", "; ".join(versions)
        properties = torch.cuda.get_device_properties(found)
        name = f"{properties.name}, {properties.multi_processor_count} processors, {properties.total_memory >> 30} GiB"
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        cuda = f"CUDA {torch.version.cuda}; cuDNN {cudnn}"
        return name, "; ".join([*versions, cuda, f"driver {_driver()}"])

    def references(self) -> None:
        """Run the reference on the CPU, unless that was done before."""
        if not self._models.chain.exists():
            self._models.folder.mkdir(parents=True, exist_ok=True)
            write_chain(self._models)

    def export(self) -> str:
        """Export the networks; where that cannot be done, returns why."""
        if missing := _missing(EXPORTERS):
            return f"nothing can be exported without {missing}"
        import onnx

        from engines.contract.atomic import atomic_file
        from export import onnx_export
        from export.networks.encoder import encoder_from_weights
        from export.networks.generator import generator_from_weights
        from export.networks.isf import isf_from_weights

        scale = self._models.scale
        exported: dict[str, Any] = {
            "encoder": lambda s: onnx_export.onnx_from_encoder(encoder_from_weights(encoder_weights(scale)), s),
            "isf": lambda s: onnx_export.onnx_from_isf(isf_from_weights(isf_weights(scale)), s),
            "generator": lambda s: onnx_export.onnx_from_generator(generator_from_weights(generator_weights(scale)), s),
        }
        for stage, export in exported.items():
            if not self._models.onnx(stage).exists():
                with atomic_file(self._models.onnx(stage)) as partial_file:
                    onnx.save(export(signature_of(stage, scale.geometry)), partial_file)
        return ""

    def repository(self, device: str) -> str:
        """Export what a server serves; where that cannot be done, returns why."""
        if missing := _missing((*EXPORTERS, *SERVERS)):
            return f"nothing can be served without {missing}"
        from engines.contract.errors import ToonifyError
        from serving.triton.installation import find_installation

        try:
            with TemporaryDirectory() as scratch:
                find_installation(Path(scratch))
            target: Target = "torch-cuda" if resolve_device(device).type == "cuda" else "cpu"
            build(self._models.on_gpu, ["ensemble"], print, target)
        except ToonifyError as error:
            return str(error)
        return ""


def _missing(names: Sequence[str]) -> str:
    return ", ".join(name for name in names if find_spec(name) is None)


class KernelCases:
    """The cases of the kernels' tests."""

    def __init__(self, device: str) -> None:
        self._device = resolve_device(device).type
        sys.path.insert(0, str(machine.ROOT / "tests/helpers"))
        self._cases: Any = import_module("kernel_cases")

    def names(self) -> list[str]:
        """Of all cases; the large ones, and those that NVIDIA's driver launches, are for a GPU."""
        cases = self._cases
        if self._device != "cuda":
            return list(cases.CASES)[:INTERPRETED]
        names = [*cases.CASES, *cases.LARGE_CASES]
        return names + [cases.AHEAD_OF_TIME + name for name in names]

    def wrong(self, case: str) -> str:
        """What is wrong with a kernel, if anything: it may be at most twice as wrong as plain half precision."""
        with torch.inference_mode():
            found = self._cases.measured(case, self._device)
        return "; ".join(
            f"{e.output}: {e.kernel:.3g}, half precision {e.half:.3g}" for e in found if not e.kernel <= 2 * e.half
        )


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if not shutil.which(command[0]):
        return "unknown"
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout.split() or ["unknown"])[0]
