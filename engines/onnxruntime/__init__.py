"""The engines on ONNX Runtime, for a CPU and for an NVIDIA GPU."""
