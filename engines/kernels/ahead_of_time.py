"""Kernel specifications -> PTX with its launch geometry, for a plan or a driver that knows no Triton; without a GPU.

PTX for compute capability 8.x runs on that GPU and every later one. 9.0 is compiled for sm_90a, whose matrix
instructions exist on Hopper only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from engines.contract.errors import EngineError
from engines.kernels.launch import KernelSpec

CAPABILITIES = (80, 86, 89, 90)
"""The GPUs that kernels are compiled for: A100; A10 and RTX 30; L4, L40 and RTX 40; H100 and H200."""

PTX_VERSION = 80
"""Loads with every driver since CUDA 12.0; Triton's own choice is that of its newest assembler."""

_POINTERS = {torch.float16: "*fp16", torch.float32: "*fp32", torch.uint8: "*u8"}
_ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel ready for launch: with ``arguments`` as its only parameters, each at a multiple of 16 bytes.

    Attributes:
        name: the entry's name in ``ptx``.
        ptx: the program.
        capability: compute capability times 10.
        arguments: the pointers' names, in order.
        grid: blocks in x and y; z is the batch.
        threads: in x, per block.
        shared_bytes: dynamic shared memory, per block.
        registers: per thread, as register_usage by Triton's ptxas.
        spilled_bytes: registers kept in memory, per thread.
    """

    name: str
    ptx: str
    capability: int
    arguments: tuple[str, ...]
    grid: tuple[int, int]
    threads: int
    shared_bytes: int
    registers: int
    spilled_bytes: int


def compile_ahead(spec: KernelSpec, capability: int) -> CompiledKernel:
    """Compile for a compute capability, times 10.

    Raises:
        EngineError: a capability that is not in ``CAPABILITIES``.
    """
    if capability not in CAPABILITIES:
        raise EngineError(
            "ahead-of-time compilation",
            got=f"compute capability {capability / 10}",
            expected=f"one of {', '.join(str(known / 10) for known in CAPABILITIES)}",
            remedy="take the highest one that is not above the GPU's, but 9.0 for a GPU of 9.0 only",
        )
    if triton.knobs.runtime.interpret:
        raise EngineError(
            "ahead-of-time compilation",
            got="kernels that Triton's interpreter has taken over",
            expected="kernels to compile",
            remedy="unset TRITON_INTERPRET and start anew",
        )
    with _temporary_cache():
        target = GPUTarget("cuda", capability, 32)
        compiled: Any = triton.compile(
            _source(spec), target=target, options=spec.options | {"ptx_version": PTX_VERSION}
        )
    ptx = keep_first_parameters(compiled.asm["ptx"], len(spec.arguments))
    registers, spilled_bytes = register_usage(ptx)
    return CompiledKernel(
        name=compiled.metadata.name,
        ptx=ptx,
        capability=capability,
        arguments=spec.arguments,
        grid=spec.grid,
        threads=spec.warps * 32,
        shared_bytes=compiled.metadata.shared,
        registers=registers,
        spilled_bytes=spilled_bytes,
    )


def _source(spec: KernelSpec) -> Any:
    absent = {name: None for name, dtype in spec.pointers.items() if dtype is None}
    types = {name: _POINTERS[dtype] if dtype else "constexpr" for name, dtype in spec.pointers.items()}
    return triton.compiler.ASTSource(
        fn=spec.kernel,
        signature=types | dict.fromkeys(spec.constants, "constexpr"),
        constexprs=absent | dict(spec.constants),
        attrs={(index,): _ALIGNED for index, name in enumerate(spec.pointers) if name not in absent},
    )


@contextmanager
def _temporary_cache() -> Iterator[None]:
    """No cache in the home directory, and no source paths of this machine in the PTX."""
    knobs = triton.knobs
    with TemporaryDirectory() as cache, knobs.cache.scope(), knobs.compilation.scope():
        knobs.cache.dir = cache
        knobs.compilation.disable_line_info = True
        yield


def keep_first_parameters(ptx: str, count: int) -> str:
    """The PTX with the first ``count`` parameters of its entry.

    Triton appends pointers to scratch memory, which these kernels do not use. Who launches by the kernel's description
    does not pass them, and the driver would read parameters past the end of those that are passed.

    Raises:
        EngineError: a parameter that was to be dropped is used.
    """
    entry = re.search(r"\.visible \.entry \w+\(([^)]*)\)", ptx)
    assert entry is not None
    parameters = entry[1].split(",")
    dropped = [parameter.split()[-1] for parameter in parameters[count:]]
    if any(name in ptx[entry.end() :] for name in dropped):
        raise EngineError(
            "the kernel's PTX",
            got=f"uses of {', '.join(dropped)}",
            expected=f"its {count} operands alone",
            remedy="install the Triton version that constraints.txt names",
        )
    return ptx[: entry.start(1)] + ",".join(parameters[:count]).rstrip() + "\n" + ptx[entry.end(1) :]


def register_usage(ptx: str) -> tuple[int, int]:
    """Registers and spilled bytes per thread, from the assembler that Triton brings."""
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert target is not None
    with TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [triton.knobs.nvidia.ptxas.path, "-v", f"-arch={target[1]}", str(source), "-o", f"{source}.cubin"]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", report), re.search(r"(\d+) bytes spill stores", report)
    assert registers is not None
    assert spilled is not None
    return int(registers[1]), int(spilled[1])
