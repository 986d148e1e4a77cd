"""The presets, compared with tables of what the public tools do.

The tables give the share of the transferred model (the tools' "low" one) for r_swap 32 in a generator of 128.
"""

from __future__ import annotations

import numpy as np
import pytest
from generators import random_generator, random_sibling

from engines.contract.errors import BlendError
from export.blending import blend, schedule_from_options

#           up    conv  rgb     up at 4 is the constant
PAPER = [
    (4,     1.0,  1.0,  1.0),
    (8,     1.0,  1.0,  1.0),
    (16,    1.0,  1.0,  1.0),
    (32,    1.0,  1.0,  1.0),
    (64,    0.0,  0.0,  0.0),
    (128,   0.0,  0.0,  0.0),
]  # fmt: skip
PINKNEY_LEVEL_1 = [
    (4,     1.0,  1.0,  1.0),
    (8,     1.0,  1.0,  1.0),
    (16,    1.0,  1.0,  1.0),
    (32,    1.0,  1.0,  1.0),
    (64,    1.0,  0.0,  0.0),
    (128,   0.0,  0.0,  0.0),
]  # fmt: skip
PINKNEY_WIDTH_HALF = [  # alpha is 0.5 at 32's first convolution; TensorFlow's 4x4/Conv is never blended
    (4,     1.0,  1.0,  1.0),
    (8,     1.0,  .998, .998),
    (16,    .982, .881, .881),
    (32,    .5,   .119, .119),
    (64,    .018, .002, .002),
    (128,   0.0,  0.0,  0.0),
]  # fmt: skip
VTOONIFY = [  # [1]*7 + [0]*5: convolutions up to 32, toRGB up to 16, the constant not at all
    (4,     0.0,  1.0,  1.0),
    (8,     1.0,  1.0,  1.0),
    (16,    1.0,  1.0,  1.0),
    (32,    1.0,  1.0,  0.0),
    (64,    0.0,  0.0,  0.0),
    (128,   0.0,  0.0,  0.0),
]  # fmt: skip
BRYANDLEE_WIDTH_3 = [
    (4,     .731, .731, .731),
    (8,     .661, .661, .661),
    (16,    .583, .583, .583),
    (32,    .5,   .5,   .5),
    (64,    .417, .417, .417),
    (128,   .339, .339, .339),
]  # fmt: skip
NEARLY_SHARP_AT_32 = [  # the smooth form's limit: half a block, or a block, below the sharp form
    (4,     1.0,  1.0,  1.0),
    (8,     1.0,  1.0,  1.0),
    (16,    1.0,  1.0,  1.0),
    (32,    .5,   0.0,  0.0),
    (64,    0.0,  0.0,  0.0),
    (128,   0.0,  0.0,  0.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("compat", "table", "mapping", "noise"),
    [
        ("pinkney", PAPER, "transfer", "transfer"),
        ("pinkney:level=1", PINKNEY_LEVEL_1, "transfer", "transfer"),
        ("pinkney:width=0.5", PINKNEY_WIDTH_HALF, "transfer", "transfer"),
        ("pinkney:width=1e-300", NEARLY_SHARP_AT_32, "transfer", "transfer"),
        ("dvschultz", PAPER, "transfer", "transfer"),
        ("vtoonify", VTOONIFY, "base", "base"),
        ("bryandlee", BRYANDLEE_WIDTH_3, "base", "majority"),
        ("bryandlee:width=none", PAPER, "base", "majority"),
    ],
)
def test_a_preset_does_what_its_tool_does(
    compat: str, table: list[tuple[float, ...]], mapping: str, noise: str
) -> None:
    schedule = schedule_from_options(128, r_swap=32, compat=compat)
    shares = {str(group): shares.models for group, shares in schedule.shares.items()}
    for resolution, *alphas in table:
        for part, alpha in zip(("up", "conv", "rgb"), alphas, strict=True):
            expected = pytest.approx((1 - alpha, alpha), abs=5e-4)  # the tables have three decimals
            assert shares.pop(f"{resolution}.{part}") == expected, f"{resolution}.{part}"
    assert not shares
    assert (schedule.mapping, schedule.noise) == (mapping, noise)


@pytest.mark.parametrize(("r_swap", "ones"), [(32, 7), (64, 9)])
def test_vtoonify_s_published_step_vectors(r_swap: int, ones: int) -> None:
    vector = ",".join(["1"] * ones + ["0"] * (18 - ones))
    per_row = schedule_from_options(1024, schedule=f"per-row:{vector}")
    assert schedule_from_options(1024, r_swap=r_swap, compat="vtoonify").shares == per_row.shares


@pytest.mark.parametrize("compat", ["pinkney", "dvschultz"])
def test_tools_that_start_from_the_low_network_take_its_mapping_and_noise(compat: str) -> None:
    base, transfer = random_generator(32), random_generator(32, seed=1)
    result = blend([base, transfer], schedule_from_options(32, r_swap=8, compat=compat))
    for name, value in result.weights.tensors.items():
        if name.startswith("mapping.") or name.endswith(".noise"):
            assert value is transfer.tensors[name]


def test_noise_maps_of_bryandlee_follow_the_greater_share() -> None:
    base, transfer = random_generator(32), random_generator(32, seed=1)
    tensors = blend(
        [base, transfer], schedule_from_options(32, r_swap=8, compat="bryandlee:width=none")
    ).weights.tensors
    for r, donor in ((4, transfer), (8, transfer), (16, base), (32, base)):
        np.testing.assert_array_equal(tensors[f"synthesis.{r}.conv.noise"], donor.tensors[f"synthesis.{r}.conv.noise"])


def test_a_width_that_nearly_averages_is_remarked() -> None:
    base = random_generator(32)
    schedule = schedule_from_options(32, r_swap=8, compat="bryandlee")
    (remark,) = blend([base, random_sibling(base)], schedule).report.warnings
    assert "alpha 0.58 at 4, 0.34 at 32" in remark
    assert "bryandlee:width=none" in remark


def test_another_mapping_than_the_tool_s_is_refused() -> None:
    base = random_generator(32)
    schedule = schedule_from_options(32, r_swap=8, compat="pinkney")
    with pytest.raises(BlendError, match=r"--mapping base: got a mapping network other .* expected --mapping transfer"):
        blend([base, random_sibling(base)], schedule, mapping="base")
