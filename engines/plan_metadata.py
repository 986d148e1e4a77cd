"""What a set of plans is and where it runs: the manifest's entry, and the check before a plan is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from engines.contract.errors import EngineError

Compatibility = Literal["none", "same_compute_capability", "ampere_plus"]
"""Which other GPUs a plan runs on; the names of TensorRT's ``HardwareCompatibilityLevel``, in small letters.

Plans that run on other GPUs are slower: "ampere_plus" leaves out much that depends on the GPU's size.
"""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Platform(_Frozen):
    """What a plan is built with and for; ``capability`` is the compute capability times 10."""

    tensorrt: str
    gpu: str
    capability: int

    def __str__(self) -> str:
        return f"TensorRT {self.tensorrt} on {self.gpu} ({self.capability / 10})"


class PlanMetadata(_Frozen):
    """Plans of one model.

    Attributes:
        platform: where they were built.
        compatibility: where else they run.
        plugins: plugin layers in each plan; 0 = native layers only.
        kernel_capability: what the plugins' kernels were compiled for, times 10; 0 = there are none.
        plans: file of each batch size, which may be the same one.
    """

    platform: Platform
    compatibility: Compatibility
    plugins: int
    kernel_capability: int
    plans: dict[int, str]


def kernel_capability(gpu: int, compatibility: Compatibility) -> int:
    """What to compile the plugins' kernels for: 9.0 runs on Hopper alone, 8.x on that GPU and all later ones.

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
    if compatibility == "ampere_plus":
        return 80
    return gpu if gpu == 90 else max(known for known in (80, 86, 89) if known <= gpu)


def check_platform(metadata: PlanMetadata, here: Platform, directory: Path) -> None:
    """Raise EngineError unless the plans run here; TensorRT itself would fail with a code, or crash."""
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
    """What to do about plans that do not run here."""
    return f"build them for this machine with: toonify-export plans {directory}"
