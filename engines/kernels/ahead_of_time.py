"""Kernel specifications -> PTX and launch geometry, for TensorRT plans and the CUDA driver; no GPU is needed."""

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
from engines.kernels.capabilities import CAPABILITIES, PTX_VERSIONS
from engines.kernels.l1_copies import copies_kept_in_l1
from engines.kernels.launch import KernelSpec

_POINTERS = {torch.float16: "*fp16", torch.float32: "*fp32", torch.uint8: "*u8", torch.int32: "*i32"}
_ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel ready for launch; its only parameters are ``arguments``, pointers aligned to 16 bytes.

    Attributes:
        name: the entry point's name in ``ptx``.
        ptx: the program.
        capability: the compute capability times 10.
        arguments: the pointers' names, in order.
        grid: the number of blocks in x and y; z is the batch.
        threads: the number of threads per block, in x.
        shared_bytes: the dynamic shared memory per block.
        registers: the number of registers per thread, as assembled by Triton's ptxas.
        spilled_bytes: the bytes of spilled registers per thread.
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
    """Compile for ``capability``, a compute capability times 10.

    Raises:
        EngineError: the capability is not in ``CAPABILITIES``, or Triton's interpreter is active.
    """
    if capability not in CAPABILITIES:
        raise EngineError(
            "ahead-of-time compilation",
            got=f"compute capability {capability / 10}",
            expected=f"one of {', '.join(str(known / 10) for known in CAPABILITIES)}",
            remedy="take the one that engines.kernels.capabilities.capability_for names for the GPU",
        )
    if triton.knobs.runtime.interpret:
        raise EngineError(
            "ahead-of-time compilation",
            got="Triton in its interpreter mode",
            expected="kernels to compile",
            remedy="unset TRITON_INTERPRET and start the process again",
        )
    with _temporary_cache(), copies_kept_in_l1():
        target = GPUTarget("cuda", capability, 32)
        options = spec.options | {"ptx_version": PTX_VERSIONS[capability]}
        compiled: Any = triton.compile(_source(spec), target=target, options=options)
    ptx = keep_first_parameters(compiled.asm["ptx"], len(spec.arguments))
    registers, spilled_bytes = register_usage(ptx, capability)
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
    """Keep Triton's cache out of the home directory, and this machine's source paths out of the PTX."""
    knobs = triton.knobs
    with TemporaryDirectory() as cache, knobs.cache.scope(), knobs.compilation.scope():
        knobs.cache.dir = cache
        knobs.compilation.disable_line_info = True
        yield


def keep_first_parameters(ptx: str, count: int) -> str:
    """The PTX with only the first ``count`` parameters of its entry point.

    Triton appends pointers to scratch memory, which these kernels do not use. A launch by ``CompiledKernel`` does not
    pass them, and the driver would read past the end of the parameters that are passed.

    Raises:
        EngineError: the program uses a parameter that is to be dropped.
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


def register_usage(ptx: str, capability: int) -> tuple[int, int]:
    """Registers and spilled bytes per thread, as reported by the assembler."""
    report = assembler_report(ptx, capability)
    registers, spilled = re.search(r"Used (\d+) registers", report), re.search(r"(\d+) bytes spill stores", report)
    assert registers is not None
    assert spilled is not None
    return int(registers[1]), int(spilled[1])


def assembler_report(ptx: str, capability: int) -> str:
    """What the assembler that Triton brings for the capability says about a program."""
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert target is not None
    with TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        assembler = triton.knobs.nvidia.ptxas_blackwell if capability >= 100 else triton.knobs.nvidia.ptxas
        command = [assembler.path, "-v", f"-arch={target[1]}", str(source), "-o", f"{source}.cubin"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr
