"""Copies to shared memory that L1 keeps, ``cp.async.ca`` instead of ``cp.async.cg``, and that products see.

The taps of a convolution read almost the same pixels, and all blocks of a multiprocessor the same weights. The kernels
ask for L1 by ``cache_modifier=".ca"``, which Triton's pipeliner drops in some versions (3.6 and 3.7): it writes
``cp.async.cg``, which goes past L1, so that each tap of each block reads L2 again. PTX allows ``.ca`` for copies of
4, 8 and 16 bytes, and ``.cg`` for those of 16 only; a copy of 16 bytes therefore takes either.

From Hopper on, products read shared memory by another path, the asynchronous proxy, to which copies by threads are
visible only behind a fence. Triton 3.7.1 writes one, earlier versions do not.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import triton

Stage = Callable[[Any, Any], Any]
"""A stage of Triton's compiler: (program, metadata) -> the program in the stage's language."""

_FENCE = "fence.proxy.async"

_LOCK = threading.RLock()


def keep_copies_in_l1(ptx: str) -> str:
    """The PTX whose copies to shared memory are kept in L1."""
    return ptx.replace("cp.async.cg.shared", "cp.async.ca.shared")


def fence_copies(ptx: str) -> str:
    """The PTX with a fence between copies and the products of Hopper and Blackwell, unless it has fences already."""
    asynchronous = "wgmma.mma_async" in ptx or "tcgen05.mma" in ptx
    if not asynchronous or _FENCE in ptx:
        return ptx
    # Each thread waits for its copies and fences them; the barrier that follows makes them known to the others.
    return re.sub(r"cp\.async\.wait_group\s+\d+;", rf"\g<0>\n\t{_FENCE}.shared::cta;", ptx)


def copies_kept_in_l1() -> AbstractContextManager[None]:
    """Inside the block, kernels that this thread compiles, ahead of time or by a launch, keep their copies in L1."""
    return ptx_changed_by(lambda ptx: fence_copies(keep_copies_in_l1(ptx)), "copies are kept in L1 and fenced")


@contextmanager
def ptx_changed_by(change: Callable[[str], str], key: str) -> Iterator[None]:
    """Inside the block, ``change`` is applied to the PTX of the kernels that this thread compiles.

    Triton has one such hook for the process: blocks of several threads take turns, and what other threads compile in
    the meantime stays as it is. In nested blocks, only the innermost change is applied.

    Args:
        change: PTX -> PTX.
        key: tells kernels with this change apart from others in Triton's cache.
    """
    owner, runtime = threading.get_ident(), triton.knobs.runtime

    # Triton calls it without arguments for what identifies the hook in a cache, and otherwise once per compilation.
    def hook(
        backend: object = None, stages: MutableMapping[str, Stage] | None = None, *others: object
    ) -> tuple[str, str]:
        if threading.get_ident() != owner:
            return "", ""
        if stages is not None:
            stages["ptx"] = _followed_by(change, stages["ptx"])
        return key, repr(key)

    with _LOCK:
        outer = runtime.add_stages_inspection_hook
        runtime.add_stages_inspection_hook = hook
        try:
            yield
        finally:
            runtime.add_stages_inspection_hook = outer


def _followed_by(change: Callable[[str], str], stage: Stage) -> Stage:
    return lambda program, metadata: change(stage(program, metadata))
