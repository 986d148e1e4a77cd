"""The processor, the libraries' versions and the commit, on which a measurement depends."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARIES = ("torch", "onnxruntime", "openvino", "onnx", "numpy", "tritonclient", "nvidia-pytriton")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def now() -> str:
    """The current UTC time in ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def device() -> str:
    """The processor's name, family and model, the available cores, and the vector instructions that set its speed."""
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    supported = " ".join(name for name in INSTRUCTIONS if name in flags)
    return f"{fields.get('model name', platform.machine())} ({family}), {cores()} cores, {supported}"


def versions() -> str:
    """Versions of Python and of those ``LIBRARIES`` that are installed, separated by semicolons."""
    entries = [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            entries.append(f"{name} {version(name)}")
    return "; ".join(entries)


def commit() -> str:
    """The short hash of HEAD, with "+changes" where a Python file differs from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def tracked_files() -> list[Path]:
    """The files of the working tree that git tracks.

    Raises:
        subprocess.CalledProcessError: there is no git repository.
    """
    return [path for name in _git("ls-files", "-z").split("\0") if (path := ROOT / name).is_file()]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
