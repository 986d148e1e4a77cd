"""Reference networks in PyTorch: generator, encoder and ISF head."""
