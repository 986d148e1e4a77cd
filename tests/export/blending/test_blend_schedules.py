"""The share that each schedule gives the transferred model, and the options that are refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engines.contract.errors import BlendError
from export.blending import schedule_from_options
from export.blending.groups import Group, groups_of
from export.blending.rules import HardSwap, Linear, PerResolution, PerRow, Rule, Sigmoid

GROUPS = groups_of(1024)
cuts = st.sampled_from([1 << level for level in range(11)])
fractions = st.floats(0, 1)

hard_swaps = st.builds(HardSwap, cuts)
sigmoids = st.builds(Sigmoid, cuts, st.floats(1e-300, 1e300))
linears = st.builds(lambda start, octaves: Linear(start, start << octaves), cuts, st.integers(1, 11)).filter(
    lambda rule: rule.end <= 2048
)
per_resolutions = st.builds(
    lambda alphas: PerResolution({4 << index: alpha for index, alpha in enumerate(alphas)}),
    st.lists(fractions, min_size=9, max_size=9),
)
per_rows = st.builds(lambda alphas: PerRow(tuple(alphas)), st.lists(fractions, min_size=18, max_size=18))


def alphas(**options: object) -> dict[str, float]:
    """The transferred model's share in each group."""
    schedule = schedule_from_options(**options)  # type: ignore[arg-type]
    return {str(group): shares.models[1] for group, shares in schedule.shares.items()}


@given(hard_swaps | sigmoids | linears | per_resolutions | per_rows)
def test_every_share_lies_in_0_to_1(rule: Rule) -> None:
    rule.check(1024)
    assert all(0 <= rule.alpha(group) <= 1 for group in GROUPS)


@given(hard_swaps | sigmoids | linears)
def test_shares_fall_with_the_resolution_and_are_equal_within_it(rule: Rule) -> None:
    values = [[rule.alpha(group) for group in GROUPS if group.level == level] for level in range(2, 11)]
    assert all(len(set(group)) == 1 for group in values)
    assert all(lower[0] >= higher[0] for lower, higher in pairwise(values))


@given(cuts, st.floats(1e-300, 0.01))
def test_a_narrow_sigmoid_is_the_hard_rule(centre: int, width: float) -> None:
    # Half an octave away from the centre is 50 widths or more: exp(-50) = 2e-22 is below float64's resolution at 1.
    assert all(Sigmoid(centre, width).alpha(group) == HardSwap(centre).alpha(group) for group in GROUPS)


@given(cuts, st.floats(0.01, 10), st.sampled_from(GROUPS))
def test_the_sigmoid_is_symmetric_about_half_an_octave_above_its_centre(
    centre: int, width: float, group: Group
) -> None:
    level = 2 * (centre.bit_length() - 1) + 1 - group.level
    assume(2 <= level <= 10)
    mirrored = Sigmoid(centre, width).alpha(Group(1 << level, "conv"))
    assert Sigmoid(centre, width).alpha(group) + mirrored == pytest.approx(1, abs=1e-12)


def test_r_swap_16_takes_the_paper_s_layers() -> None:
    expected = {f"{r}.{part}": float(r <= 16) for r in (4, 8, 16, 32, 64) for part in ("up", "conv", "rgb")}
    assert alphas(resolution=64, r_swap=16) == expected


def test_linear_falls_by_equal_steps_per_octave() -> None:
    values = alphas(resolution=64, schedule="linear:4,64")
    assert [values[f"{r}.conv"] for r in (4, 8, 16, 32, 64)] == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("text", ["per-resolution:4=1,8=.5,16=0", "per-resolution 4=1, 8=.5, 16=0"])
def test_per_resolution_gives_each_resolution_its_share(text: str) -> None:
    values = alphas(resolution=16, schedule=text)
    assert [values[f"{r}.{part}"] for r in (4, 8, 16) for part in ("up", "rgb")] == [1, 1, 0.5, 0.5, 0, 0]


def test_a_row_feeds_a_conv_or_a_torgb_and_the_next_up() -> None:
    values = alphas(resolution=16, schedule="per-row:0.1,0.2,0.3,0.4,0.5,0.6")
    assert values == {
        "4.up": 0, "4.conv": 0.1, "4.rgb": 0.2,  # no row feeds the constant
        "8.up": 0.2, "8.conv": 0.3, "8.rgb": 0.4,
        "16.up": 0.4, "16.conv": 0.5, "16.rgb": 0.6,
    }  # fmt: skip


@given(st.sampled_from([4 << index for index in range(9)]))
def test_vtoonify_s_step_vectors_are_the_hard_rule_but_for_the_constant_and_the_last_torgb(r_swap: int) -> None:
    vtoonify = alphas(resolution=1024, r_swap=r_swap, compat="vtoonify")
    hard = alphas(resolution=1024, r_swap=r_swap)
    assert {name for name in hard if hard[name] != vtoonify[name]} == {"4.up", f"{r_swap}.rgb"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "got no options, expected --r-swap R or --schedule RULE"),
        ({"r_swap": 8, "schedule": "linear:4,8"}, "got --r-swap 8 --schedule linear:4,8, expected"),
        ({"compat": "pinkney"}, "got --compat pinkney, expected .* --compat TOOL with --r-swap R"),
        ({"compat": "pinkney", "schedule": "linear:4,8"}, "got --schedule linear:4,8 --compat pinkney"),
        ({"compat": "pinkney", "r_swap": 8, "reverse": True}, "got --r-swap 8 --compat pinkney --reverse"),
        ({"schedule": "layers.json", "reverse": True}, "got --schedule layers.json --reverse"),
        ({"reverse": True}, "got --reverse, expected"),
        ({"r_swap": 0}, "r_swap: got 0, expected a power of two from 1 to 32"),
        ({"r_swap": -8}, "r_swap: got -8"),
        ({"r_swap": 12}, "r_swap: got 12"),
        ({"r_swap": 64}, "r_swap: got 64"),
        ({"schedule": "sigmoid:12,1"}, "the sigmoid's CENTRE: got 12"),
        ({"schedule": "sigmoid:8,0"}, "the sigmoid's WIDTH: got 0, expected a positive number.*hard rule"),
        ({"schedule": "sigmoid:8,nan"}, "the sigmoid's WIDTH: got nan"),
        ({"schedule": "sigmoid:8"}, "got 'sigmoid:8', expected sigmoid:CENTRE,WIDTH"),
        ({"schedule": "linear:16,16"}, "the linear schedule's B: got 16, expected a power of two from 32 to 64"),
        ({"schedule": "linear:4,8,16"}, "got 'linear:4,8,16', expected linear:A,B"),
        ({"schedule": "per-resolution:4=1,8=1,16=0"}, "got resolutions 4, 8, 16, expected 4, 8, 16, 32"),
        ({"schedule": "per-resolution:4=1,4=0,8=1,16=0,32=0"}, "expected per-resolution:4=ALPHA"),
        ({"schedule": "per-resolution:4=1,8=2,16=0,32=0"}, r"group 8\.up: got shares -1, 2, expected shares within"),
        ({"schedule": "per-row:1,0,0"}, "got 3 values, expected 8, the rows of W\\+ at 32"),
        ({"schedule": "per-row:1,0,0,0,0,0,0,x"}, "expected per-row:V0,V1"),
        ({"schedule": "cosine:1"}, "got 'cosine:1', expected sigmoid:CENTRE,WIDTH, linear:A,B, .* or FILE.json"),
        ({"compat": "gimp", "r_swap": 8}, "got the tool 'gimp', expected pinkney, dvschultz, vtoonify or bryandlee"),
        ({"compat": "pinkney", "r_swap": 2}, "--compat pinkney: got 2, expected a power of two from 4 to 32"),
        ({"compat": "pinkney:width=0", "r_swap": 8}, "pinkney's width: got 0"),
        ({"compat": "pinkney:level=2", "r_swap": 8}, "pinkney's level: got 2, expected 0 or 1"),
        ({"compat": "bryandlee:width=-1", "r_swap": 8}, "bryandlee's width: got -1"),
        ({"compat": "bryandlee:level=1", "r_swap": 8}, "got the options 'level=1', expected width=NUMBER"),
        ({"compat": "dvschultz:width=1", "r_swap": 8}, "got the options 'width=1', expected none"),
        ({"compat": "pinkney:width=1,width=2", "r_swap": 8}, "each at most once"),
    ],
)  # fmt: skip
def test_options_that_are_wrong_or_contradict_each_other_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(BlendError, match=sentence):
        schedule_from_options(32, **options)  # type: ignore[arg-type]
