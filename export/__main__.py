"""Entry point of ``python -m export``."""

from export.start import main

main()
