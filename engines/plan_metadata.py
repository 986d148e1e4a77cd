"""Metadata of TensorRT plans: the manifest's entry, and the check that plans run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engines.contract.errors import EngineError
from engines.kernels.capabilities import capability_for
from engines.manifest_entry import ManifestEntry

Compatibility = Literal["none", "same_compute_capability", "ampere_plus"]
"""The other GPUs that a plan runs on: TensorRT's ``HardwareCompatibilityLevel`` in lower case.

Plans that run on other GPUs are slower: "ampere_plus" excludes many kernels that depend on the GPU's size.
"""


class Platform(ManifestEntry):
    """The TensorRT version and GPU that a plan is built for; ``capability`` is the compute capability times 10."""

    tensorrt: str
    gpu: str
    capability: int

    def __str__(self) -> str:
        return f"TensorRT {self.tensorrt} on {self.gpu} ({self.capability / 10})"


class PlanMetadata(ManifestEntry):
    """The plans of one model.

    Attributes:
        platform: where they were built.
        compatibility: which other GPUs they run on.
        plugins: the number of plugin layers in each plan; 0 = native layers only.
        kernel_capability: the compute capability of the plugins' kernels, times 10; 0 = no plugins.
        plans: the file name for each batch size; several sizes may share a file.
    """

    platform: Platform
    compatibility: Compatibility
    plugins: int
    kernel_capability: int
    plans: dict[int, str]

    def __str__(self) -> str:
        return str(self.platform)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of their files."""
        return tuple(sorted({*self.plans.values()}))


def kernel_capability(gpu: int, compatibility: Compatibility) -> int:
    """The compute capability, times 10, to compile plugins for; "ampere_plus" takes what runs on every GPU from 8.0 on.

    Raises:
        EngineError: a GPU older than Ampere.
    """
    if gpu < 80:
        raise EngineError(
            "TensorRT plugins",
            got=f"a GPU of compute capability {gpu / 10}",
            expected="8.0 or newer",
            remedy="build with --plugins off",
        )
    return 80 if compatibility == "ampere_plus" else capability_for(gpu)


def check_platform(metadata: PlanMetadata, here: Platform, directory: Path) -> None:
    """Raise EngineError unless the plans run on this machine; TensorRT itself fails with an error code or crashes."""
    built = metadata.platform
    same_gpu = {
        "none": (built.gpu, built.capability) == (here.gpu, here.capability),
        "same_compute_capability": built.capability == here.capability,
        "ampere_plus": here.capability >= 80,
    }[metadata.compatibility]
    if same_gpu and built.tensorrt == here.tensorrt:
        return
    raise EngineError(
        f"TensorRT plans of {directory}",
        got=str(built),
        expected=str(here),
        remedy=rebuild_remedy(directory),
    )


def rebuild_remedy(directory: Path) -> str:
    """The remedy in errors about plans that do not run on this machine."""
    return f"build them for this machine with: toonify-export plans {directory}"
