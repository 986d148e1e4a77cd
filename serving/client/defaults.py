"""What a client takes where nothing else is given; importing it loads nothing."""

DEFAULT_URL = "127.0.0.1:8001"
DEFAULT_MODEL = "toonify"
DEFAULT_TIMEOUT = 60.0
"""Seconds for a whole call."""
