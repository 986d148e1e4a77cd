"""The GPUs that kernels are compiled for, by compute capability times 10.

PTX for Ampere and Ada (8.x) runs on that GPU and on all later ones. From Hopper on, a kernel uses instructions that
exist on one architecture only (the targets sm_90a, sm_100a and sm_120a), and its PTX runs on that capability alone.
"""

from __future__ import annotations

PORTABLE = (80, 86, 89)
"""A100; A10 and RTX 30; L4, L40 and RTX 40."""

PTX_VERSIONS = {**dict.fromkeys(PORTABLE, 80), 90: 80, 100: 86, 120: 87}
"""The PTX version times 10 by capability; 9.0 is H100 and H200, 10.0 B200, and 12.0 RTX 50 and RTX PRO Blackwell.

8.0 is loaded by every driver since CUDA 12.0; Blackwell's are the first that have its targets. Triton's default would
be that of its newest assembler.
"""

CAPABILITIES = tuple(PTX_VERSIONS)
"""The capabilities that kernels are compiled for."""


def capability_for(gpu: int) -> int:
    """The capability to compile for where a kernel is to run on ``gpu``, which is 80 or more."""
    return gpu if gpu in CAPABILITIES else max(known for known in PORTABLE if known <= gpu)
