"""Metadata of an engine of TensorRT for RTX: the manifest's entry, and the check that it runs on this machine."""

from __future__ import annotations

from pathlib import Path

from engines.contract.errors import EngineError
from engines.manifest_entry import ManifestEntry

CAPABILITIES = (80, 86, 89, 120)
"""The compute capabilities, times 10, that one engine is built for: Ampere, Ada and Blackwell.

7.5 (Turing) is not among them: for it the builder refuses float32 matrix products, which styles and ISF heads need.
"""


class Gpu(ManifestEntry):
    """A GPU; ``capability`` is its compute capability times 10."""

    gpu: str
    capability: int

    def __str__(self) -> str:
        return f"{self.gpu} ({self.capability / 10})"


class RtxMetadata(ManifestEntry):
    """The engine of one model, which needs no GPU to be built.

    Attributes:
        version: the version of TensorRT for RTX that built it; no other one loads it.
        capabilities: the compute capabilities, times 10, that it was built for.
        file: its file's name.
        verified_on: the GPU on which its output was verified; None = built, not verified on a GPU.
    """

    version: str
    capabilities: tuple[int, ...]
    file: str
    verified_on: Gpu | None = None

    def __str__(self) -> str:
        verified = f", verified on {self.verified_on}" if self.verified_on else ""
        return f"TensorRT for RTX {self.version} on {named_capabilities(self.capabilities)}{verified}"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        return (self.file,)


def check_gpu(metadata: RtxMetadata, version: str, gpu: Gpu, directory: Path) -> None:
    """Check that an engine runs with the installed version of TensorRT for RTX on this machine's GPU.

    Raises:
        EngineError: it was built by another version, or not for such a GPU.
    """
    subject = f"engine of TensorRT for RTX in {directory}"
    if metadata.version != version:
        raise EngineError(
            subject,
            got=f"one that version {metadata.version} built",
            expected=f"one of version {version}, which is installed",
            remedy="export the model again with --target tensorrt-rtx, or install the version that built it",
        )
    if gpu.capability not in metadata.capabilities:
        raise EngineError(
            subject,
            got=f"the GPU {gpu}",
            expected=f"one of compute capability {named_capabilities(metadata.capabilities)}",
            remedy="export the model for this GPU with --target tensorrt or torch-cuda",
        )


def named_capabilities(capabilities: tuple[int, ...]) -> str:
    """Write (80, 86, 89) as "8.0, 8.6 or 8.9"."""
    *first, last = (str(capability / 10) for capability in capabilities)
    return f"{', '.join(first)} or {last}" if first else last


def unverified_sentence(directory: Path) -> str:
    """The sentence about an engine that was built, but not verified on a GPU."""
    return (
        f"{directory}: the engine was built, not verified on a GPU; "
        f"complete it on the GPU with: toonify-export verify {directory}"
    )
