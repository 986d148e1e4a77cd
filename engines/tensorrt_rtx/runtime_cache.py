"""What TensorRT for RTX compiled of an engine for this machine's GPU, kept in a file for the next load.

It only saves time: where the file cannot be read, fits another machine or cannot be written, the engine is compiled
again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engines.contract.atomic import atomic_file
from engines.contract.errors import ExportError
from engines.rtx_metadata import Gpu
from engines.user_cache import user_cache

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as trt


def cache_file(folder: Path | None, engine: str, version: str, gpu: Gpu) -> Path:
    """The cache's file for an engine of this SHA-256, a version of the library and a GPU.

    It lies in ``folder``, or else in the user's cache.
    """
    key = hashlib.sha256(f"{engine} {version} {gpu}".encode()).hexdigest()
    return (folder or user_cache()) / "tensorrt-rtx" / f"{key[:16]}.cache"


class RuntimeCache:
    """The cache of one engine, shared by its execution contexts.

    Args:
        file: the cache's file, which need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = b""
        with suppress(OSError):
            self._known = file.read_bytes()
        self._cache: trt.IRuntimeCache | None = None
        # Kept, since an execution context may refer to its configuration.
        self._configs: list[trt.IRuntimeConfig] = []

    def attach(self, config: trt.IRuntimeConfig) -> None:
        """Give the cache to the configuration of an execution context."""
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            # The result is False, and the cache stays empty, if the content is for another machine or damaged.
            if self._known and not self._cache.deserialize(self._known):
                self._known = b""
        config.set_runtime_cache(self._cache)
        self._configs.append(config)

    def save(self) -> None:
        """Write the file, unless it has this content already."""
        content = bytes(self._cache.serialize()) if self._cache is not None else b""
        if content and content != self._known:
            with suppress(ExportError, OSError), atomic_file(self._file, force=True) as path:
                path.write_bytes(content)
