"""Adapter of Triton's python backend; the code is in serving/adapters.py."""

from serving.adapters import ConditionModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
