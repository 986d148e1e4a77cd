"""Preparation of the GPU benchmark, and the kernels' test cases; each lives in a process of its own."""

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
from benchmarks.networks import BenchmarkModels, build, encoder_weights, generator_weights, isf_weights, signature_of
from benchmarks.reference import write_reference_data
from engines.torch.engine import resolve_device

if TYPE_CHECKING:
    from engines.loading import Target

SERVER_PACKAGES = ("pydantic", "tritonclient", "cv2")
MAX_INTERPRETED_CASES = 3
"""Number of cases that run in Triton's interpreter, where there is no GPU."""


class Preparation:
    """Describes the machine, runs the reference, and exports the networks."""

    def __init__(self, models: BenchmarkModels) -> None:
        self._models = models

    def describe_device(self, device: str) -> tuple[str, str]:
        """The device's name and size, and the versions of the libraries and of the driver."""
        checked = resolve_device(device)
        versions = [machine.versions(), f"triton {import_module('triton').__version__}"]
        if checked.type != "cuda":
            return f"{platform.machine()} processor", "; ".join(versions)
        properties = torch.cuda.get_device_properties(checked)
        name = f"{properties.name}, {properties.multi_processor_count} processors, {properties.total_memory >> 30} GiB"
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        cuda = f"CUDA {torch.version.cuda}; cuDNN {cudnn}"
        return name, "; ".join([*versions, cuda, f"driver {_driver()}"])

    def references(self) -> None:
        """Run the reference on the CPU, unless its outputs exist."""
        if not self._models.reference_file.exists():
            self._models.folder.mkdir(parents=True, exist_ok=True)
            write_reference_data(self._models)

    def export(self) -> None:
        """Export the networks, unless they are exported."""
        import onnx

        from engines.contract.atomic import atomic_file
        from export.graphs.encoder import onnx_from_encoder
        from export.graphs.generator import onnx_from_generator
        from export.graphs.isf import onnx_from_isf
        from export.networks.encoder import encoder_from_weights
        from export.networks.generator import generator_from_weights
        from export.networks.isf import isf_from_weights

        scale = self._models.scale
        exported: dict[str, Any] = {
            "encoder": lambda s: onnx_from_encoder(encoder_from_weights(encoder_weights(scale)), s),
            "isf": lambda s: onnx_from_isf(isf_from_weights(isf_weights(scale)), s),
            "generator": lambda s: onnx_from_generator(generator_from_weights(generator_weights(scale)), s),
        }
        for stage, export in exported.items():
            if not self._models.onnx(stage).exists():
                with atomic_file(self._models.onnx(stage)) as partial_file:
                    onnx.save(export(signature_of(stage, scale.geometry)), partial_file)

    def repository(self, device: str) -> str:
        """Export the models that a server serves; returns the reason where that is not possible, else ""."""
        if missing := _missing(SERVER_PACKAGES):
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
        """Names of the cases; the large ones, and those that NVIDIA's driver launches, only where there is a GPU."""
        cases = self._cases
        if self._device != "cuda":
            return list(cases.CASES)[:MAX_INTERPRETED_CASES]
        names = [*cases.CASES, *cases.LARGE_CASES]
        return names + [cases.AHEAD_OF_TIME + name for name in names]

    def failure(self, case: str) -> str:
        """Errors of a kernel that are more than twice those of plain half precision; "" where there are none."""
        with torch.inference_mode():
            errors = self._cases.run_case(case, self._device)
        return "; ".join(
            f"{e.output}: {e.kernel:.3g}, half precision {e.half:.3g}" for e in errors if not e.kernel <= 2 * e.half
        )


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if not shutil.which(command[0]):
        return "unknown"
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout.split() or ["unknown"])[0]
