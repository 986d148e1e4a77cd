"""Exported models, and the engines that run them.

The names below are imported on first use, so that one engine can be used without the libraries of the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.engine import Engine
    from engines.loading import engine_from_directory, engine_from_onnx
    from engines.model_directory import Manifest, read_manifest

__all__ = ["Engine", "Manifest", "engine_from_directory", "engine_from_onnx", "read_manifest"]

_MODULES = {
    "Engine": "engines.engine",
    "Manifest": "engines.model_directory",
    "engine_from_directory": "engines.loading",
    "engine_from_onnx": "engines.loading",
    "read_manifest": "engines.model_directory",
}

if not TYPE_CHECKING:  # Type checkers would otherwise accept every misspelt name.

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)
