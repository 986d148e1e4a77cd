"""Triton Inference Server: its model repository, its start and stop, and the models that run in it."""
