"""Exported models, and the engines that run them."""

from engines.engine import Engine
from engines.loading import engine_from_directory, engine_from_onnx
from engines.model_directory import Manifest, read_manifest

__all__ = ["Engine", "Manifest", "engine_from_directory", "engine_from_onnx", "read_manifest"]
