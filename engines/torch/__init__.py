"""The engine in PyTorch, for an NVIDIA GPU."""
