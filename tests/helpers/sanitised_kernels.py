"""The kernels of ``engines.winograd`` compiled with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import functools
import os
import runpy
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import setuptools

from engines.winograd import library
from engines.winograd.library import InstructionSet, instruction_sets_here

SOURCE = Path(library.__file__).parent / "library.cpp"
FLAGS = (
    # Without optimisation: compiled in a fifth of the time, and every access is as it is written.
    *("-O0", "-g1", "-std=c++17", "-fopenmp", "-fPIC", "-shared", "-fno-wrapv", "-fno-omit-frame-pointer"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
OPTIONS = {
    # An allocation that the file does not justify fails as if memory were exhausted.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",
}


def sanitised_sets() -> tuple[InstructionSet, ...]:
    """AVX2 and the fastest instruction set, as far as this processor has them; none without a compiler."""
    here = instruction_sets_here() if shutil.which("g++") else ()
    return tuple(dict.fromkeys((*here[:1], *here[-1:])))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="toonify-sanitised-")


@functools.cache
def sanitised_kernels() -> Path:
    """Compile ``NAME.so`` for each of ``sanitised_sets`` into a folder that goes with this process."""
    folder, machine_flags = Path(_folder().name), _machine_flags()
    compilers = [
        subprocess.Popen(["g++", *FLAGS, *machine_flags[name], str(SOURCE), "-o", str(folder / f"{name}.so")])
        for name in sanitised_sets()
    ]
    codes = [compiler.wait() for compiler in compilers]
    assert not any(codes), "the sanitised kernels do not compile"
    return folder


def sanitised_environment() -> dict[str, str]:
    """The environment of a Python process that loads the sanitised kernels."""
    names = ("libasan.so", "libubsan.so") if sanitised_sets() else ()
    libraries = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in names
    ]
    return {**os.environ, **OPTIONS, "LD_PRELOAD": ":".join(libraries)}


def _machine_flags() -> dict[str, list[str]]:
    """The flags of each instruction set, from ``setup.py``."""
    with mock.patch.object(setuptools, "setup"):
        variables: dict[str, Any] = runpy.run_path(str(SOURCE.parents[2] / "setup.py"))
    flags: dict[str, list[str]] = variables["INSTRUCTION_SETS"]
    return flags
