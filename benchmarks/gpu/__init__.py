"""Correctness checks and latency on an NVIDIA GPU."""
