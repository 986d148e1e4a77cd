"""The programs that may run a repository's engine models."""

from __future__ import annotations

from typing import Literal

Runtime = Literal["tensorrt", "onnxruntime", "cpu"]
"""The program that runs the engine models.

"tensorrt": Triton's tensorrt backend with TensorRT plans, on a GPU. "onnxruntime": Triton's onnxruntime backend with
the exported ONNX files, on a GPU. "cpu": the python backend with the engine that the manifest names.
"""
