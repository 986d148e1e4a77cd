"""Adapter of Triton's python backend; the code is in serving/triton/adapters.py."""

from serving.triton.adapters import EngineModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
