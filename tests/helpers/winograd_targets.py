"""The kinds of processors whose kernels are tested: all that were compiled and run here."""

from __future__ import annotations

import pytest

from engines.winograd.library import targets_here

NOWHERE = pytest.param(None, marks=[pytest.mark.skip("no kernels were compiled that run here"), pytest.mark.x86])
EVERY_TARGET = [*targets_here()] or [NOWHERE]
