"""Entry point of ``python -m export``."""

from export.cli import main

main()
