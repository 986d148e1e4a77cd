"""What a manifest says about an export's origin: its source files with their licences, and the tools' versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.contract.errors import ExportError
from engines.model_directory import SourceFile
from export.weights import Source

_PACKAGES = (
    "toonify-serve",
    "torch",
    "triton",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt_rtx_cu13_bindings",
    "numpy",
)


def source_files(sources: Sequence[tuple[str, Source]], licences: Sequence[str]) -> tuple[SourceFile, ...]:
    """Return a manifest's entries of the checkpoints, given as role and file, with one licence each or none.

    Raises:
        ExportError: the licences are not as many as the sources.
    """
    if licences and len(licences) != len(sources):
        raise ExportError(
            "--source-licence",
            got=f"{len(licences)} licences",
            expected=f"{len(sources)}, for {', '.join(source.path.name for _, source in sources)}",
            remedy="give one for each source, in this order",
        )
    given: Sequence[str | None] = licences or [None] * len(sources)
    return tuple(
        SourceFile(
            role=role, file=readable_name(source.path), format=source.format, sha256=source.sha256, licence=licence
        )
        for (role, source), licence in zip(sources, given, strict=True)
    )


def readable_name(path: Path) -> str:
    """The file's name as text that JSON can hold; a name need not be UTF-8."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def tool_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries used by an export, as stated in manifests."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
