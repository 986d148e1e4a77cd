"""The engine in PyTorch, on an NVIDIA GPU."""
