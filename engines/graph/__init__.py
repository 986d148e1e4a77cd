"""Readers of the weights in an exported ONNX file."""
