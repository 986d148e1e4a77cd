"""Operators that exported graphs must not contain."""

from __future__ import annotations

FORBIDDEN = ("Scatter", "Shape", "Random", "Loop", "If", "NonZero", "ConstantOfShape")
"""Prefixes of the names of operators that no exported graph may have, since all dimensions but the batch are static."""
