"""ONNX graphs: a writer, and readers of the weights in an exported file."""
