"""Triton Inference Server: the model repository, starting and stopping the server, and the models that run in it."""
