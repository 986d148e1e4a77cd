"""An edge's defaults and the largest limits that may be asked for."""

from __future__ import annotations

MIB = 2**20

ADDRESS, PORT = "127.0.0.1", 9001
"""Where it listens unless told otherwise."""

REQUESTS_A_SERVER = 8
"""Requests in flight for each server unless told otherwise: Triton's largest batch is computed while these wait."""

LARGEST_MESSAGE = 16
"""MiB of a request unless told otherwise: eight faces take 1.5 MiB, and a JPEG of a camera 10 MiB."""

LONGEST_REQUEST = 300.0
"""Seconds after which a request is given up, if its client sets no earlier deadline."""

MOST_REQUESTS, MOST_MIB, MOST_SECONDS = 10_000, 2047, 86_400
"""The largest limits that may be asked for; Triton itself takes no message of 2 GiB."""
