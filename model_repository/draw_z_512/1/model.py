"""Adapter of Triton's python backend; the code is in serving/triton/adapters.py."""

from serving.triton.adapters import DrawZModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
