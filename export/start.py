"""The entry point of ``toonify-export`` and ``export``; see ``serving.start``."""

from __future__ import annotations

from serving.start import start


def main() -> None:
    """Entry point of the command."""
    start("export.cli")
