"""Reading weights back out of an exported ONNX file."""
