"""Checks and latency on an NVIDIA GPU."""
