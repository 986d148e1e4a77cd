"""Adapter of Triton's python backend; the code is in serving/adapters.py."""

from serving.adapters import DecodeFaceModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
