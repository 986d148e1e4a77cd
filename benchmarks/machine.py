"""What a measurement depends on: the processor, the libraries' versions, the commit."""

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
    """UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def device() -> str:
    """The processor's name, family, model, cores, and the vector instructions that decide its speed."""
    text = Path("/proc/cpuinfo").read_text()
    facts = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = facts.get("flags", "").split()
    family = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    offered = " ".join(name for name in INSTRUCTIONS if name in flags)
    return f"{facts.get('model name', platform.machine())} ({family}), {cores()} cores, {offered}"


def versions() -> str:
    """Python and the libraries that compute, as far as they are installed."""
    found = [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return "; ".join(found)


def commit() -> str:
    """The commit, with "+changes" where the code differs from it; results may differ."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
