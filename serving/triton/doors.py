"""Arguments that close what Triton offers to every client besides inference and descriptions of its models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines.model_directory import MANIFEST, manifest_of
from serving.triton.model_configurations import MAX_BATCH

_UNSENDABLE = "closed\ndoor=closed"
"""Header and value that open a restricted protocol.

Triton takes them from its command line, which every user of the machine can read, so a secret would not be one. No
client can send this header instead: neither HTTP nor gRPC allows a line break in a header's name.
"""

_JPEGS = 64 * 2**20
"""Bytes of JPEGs that one request may hold: two of the largest size that is accepted, or eight of any usual one."""


def largest_file(repository: Path) -> int:
    """Bytes of the largest file that a server's processes may write: twice those of a request's pictures.

    The shared memory of a python model never shrinks, and grows by the size of each message that does not fit, so it
    may hold up to twice the largest one. What would exceed the limit is refused by Triton instead.

    Raises:
        ModelDirectoryError: a model has no usable manifest.
    """
    manifests = [manifest_of(path.parent) for path in repository.glob(f"*/1/{MANIFEST}")]
    side = max((manifest.sizes.resolution for manifest in manifests), default=0)
    return 2 * max(_JPEGS, MAX_BATCH * 3 * side**2)


def door_arguments(*, shared_memory: bool) -> Iterator[str]:
    """Yield the arguments; ``shared_memory`` lets clients name memory that the server reads and writes.

    By "logging" and "trace" any client could have the server write files. Statistics stay open: they are counts and
    times, which the metrics port tells too. Loading and unloading is refused by ``--model-control-mode=poll``, in which
    only the model repository decides.
    """
    closed = ",".join(("trace", "logging", *(() if shared_memory else ("shared-memory",))))
    yield f"--grpc-restricted-protocol={closed}:{_UNSENDABLE}"
    yield f"--http-restricted-api={closed}:{_UNSENDABLE}"
    # Messages that the server keeps for reuse are as large as the largest ones ever received: after 512 MiB it held
    # 1515 MiB, without this pool 439 MiB.
    yield "--grpc-infer-allocation-pool-size=0"
