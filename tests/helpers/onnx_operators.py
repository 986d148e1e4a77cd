"""What exported graphs are checked for."""

from __future__ import annotations

FORBIDDEN = ("Scatter", "Shape", "Random", "Loop", "If", "NonZero", "ConstantOfShape")
"""Beginnings of the names of operators that no exported graph may have: all but its batch is static."""
