"""What a GPU run needs before it measures: the machine's facts, references, exported networks.

References can be computed elsewhere (``benchmarks.gpu.prepare``). Graphs cannot: their weights, drawn from a seed,
would not fit into a small file. Drawing and exporting the generator takes three seconds, the encoder some more.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from benchmarks import machine
from benchmarks.networks import (
    BenchmarkModels,
    Scale,
    build,
    encoder_weights,
    generator_weights,
    isf_weights,
    signature_of,
)
from benchmarks.reference import write_reference_data
from engines.torch.engine import resolve_device

if TYPE_CHECKING:
    from engines.loading import Target

SERVER_PACKAGES = ("pydantic", "tritonclient", "cv2")
REFERENCE_SOURCES = (
    "export/networks/*.py",
    "export/random_weights.py",
    "benchmarks/networks.py",
    "benchmarks/reference.py",
)
"""The code that draws weights and inputs, and computes the references' outputs."""
FACTS = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu,memory.used"
"""What nvidia-smi is asked."""


class Preparation:
    """Describes the machine, writes references and networks; lives in a process of its own."""

    def __init__(self, models: BenchmarkModels, prepared: Path) -> None:
        self._models, self._prepared = models, prepared

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
        return name, "; ".join([*versions, cuda, f"driver {_asked_of_driver('driver_version')}"])

    def facts(self) -> str:
        """The GPU's clocks, power and memory as the driver tells them, and the number of the processor's cores."""
        return f"{FACTS}: {_asked_of_driver(FACTS)}; {machine.cores()} cores"

    def references(self) -> str:
        """Take the prepared references, or else compute them on the processor; returns what was done."""
        models = self._models
        models.folder.mkdir(parents=True, exist_ok=True)
        if models.reference_file.exists():
            return "the references are there"
        if reason := self._reason_against_prepared():
            write_reference_data(models)
            return f"the references were computed here: {reason}"
        shutil.copyfile(self._prepared, models.reference_file)
        return f"the references are those of {self._prepared}"

    def _reason_against_prepared(self) -> str:
        if not self._prepared.is_file():
            return f"there is no {self._prepared}"
        try:
            with np.load(self._prepared) as file:
                origin = str(file["origin"])
        except (OSError, ValueError, KeyError, BadZipFile):
            return f"{self._prepared} is not a file of make bench-gpu-prepare"
        same = origin == origin_of_references(self._models.scale)
        return "" if same else f"{self._prepared} is for other networks; make bench-gpu-prepare writes it anew"

    def export(self, stage: str) -> None:
        """Export a network, unless it is exported."""
        import onnx

        from engines.contract.atomic import atomic_file
        from export.graphs.encoder import onnx_from_encoder
        from export.graphs.generator import onnx_from_generator
        from export.graphs.isf import onnx_from_isf
        from export.networks.encoder import encoder_from_weights
        from export.networks.generator import generator_from_weights
        from export.networks.isf import isf_from_weights

        scale, path = self._models.scale, self._models.onnx(stage)
        kinds: dict[str, Any] = {
            "encoder": (encoder_weights, encoder_from_weights, onnx_from_encoder),
            "isf": (isf_weights, isf_from_weights, onnx_from_isf),
            "generator": (generator_weights, generator_from_weights, onnx_from_generator),
        }
        if not path.exists():
            draw, network_from, write = kinds[stage]
            with atomic_file(path) as partial_file:
                onnx.save(write(network_from(draw(scale)), signature_of(stage, scale.geometry)), partial_file)

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


def origin_of_references(scale: Scale) -> str:
    """A digest of what references depend on: the generator's drawn weights, and the code that draws and computes."""
    digest = sha256()
    for pattern in REFERENCE_SOURCES:
        for path in sorted(machine.ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    for name, value in sorted(generator_weights(scale).tensors.items()):
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def reason_without_onnxruntime() -> str:
    """The reason why ONNX Runtime's CUDA provider cannot be measured; "" where it can."""
    if find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "" if has_cuda else "onnxruntime is installed without CUDA"


def _missing(names: Sequence[str]) -> str:
    return ", ".join(name for name in names if find_spec(name) is None)


def _asked_of_driver(fields: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    if not shutil.which(command[0]):
        return "unknown"
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout.splitlines() or ["unknown"])[0]
