"""Adapter of Triton's python backend; the code is in serving/adapters.py."""

from serving.adapters import EngineModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
