"""Engines on ONNX Runtime: on a CPU, and on an NVIDIA GPU."""
