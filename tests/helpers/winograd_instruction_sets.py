"""The instruction sets whose kernels are tested: all that were compiled for and that this processor has."""

from __future__ import annotations

import pytest

from engines.winograd.library import instruction_sets_here

NONE_HERE = pytest.param(None, marks=[pytest.mark.skip("no compiled kernels run on this processor"), pytest.mark.x86])
EVERY_INSTRUCTION_SET = [*instruction_sets_here()] or [NONE_HERE]
