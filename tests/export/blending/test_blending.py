"""The tensors of a blend, the blends that are refused, and the report."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import rosinality_state, torch_tensors
from generators import random_generator, random_sibling
from hypothesis import given
from hypothesis import strategies as st

from engines.contract.errors import BlendError
from export.blending import blend, schedule_from_options
from export.blending.groups import BlendSchedule, ChannelMask, Group, NoiseDonor, Shares, group_of, groups_of
from export.checkpoints import read_generator
from export.weights import Array, GeneratorWeights

BASE = random_generator(32, conv_clamp=256)
TRANSFER = random_sibling(BASE)
THIRD = random_sibling(BASE, seed=2)


def uniform(*models: float, masks: tuple[ChannelMask, ...] = (), noise: NoiseDonor = "base") -> BlendSchedule:
    """A schedule with the same shares in every group of a 32-pixel generator."""
    return BlendSchedule("uniform", dict.fromkeys(groups_of(32), Shares(models, masks)), noise=noise)


def blended(models: list[GeneratorWeights], schedule: BlendSchedule) -> dict[str, Array]:
    """The blended tensors of the layer groups."""
    tensors = blend(models, schedule).weights.tensors
    return {n: v for n, v in tensors.items() if n.startswith("synthesis.") and not n.endswith(".noise")}


def with_changes(model: GeneratorWeights, changes: dict[str, Array]) -> GeneratorWeights:
    return replace(model, tensors={**model.tensors, **changes})


def test_the_official_layout_s_layers_up_to_8_come_from_the_transferred_network(tmp_path: Path) -> None:
    """The state dict is mixed as for the recorded picture of the official code, with rosinality's own names."""
    states = {seed: rosinality_state(seed) for seed in ("public", "public-transfer")}
    up_to_8 = ("input.", "conv1.", "to_rgb1.", "convs.0.", "convs.1.", "to_rgbs.0.")
    states["mixed"] = {
        name: states["public-transfer" if name.startswith(up_to_8) else "public"][name] for name in states["public"]
    }
    for seed, state in states.items():
        torch.save({"g_ema": torch_tensors(state)}, tmp_path / seed)
    base, transfer, mixed = (read_generator(tmp_path / seed) for seed in states)
    result = blend([base, transfer], schedule_from_options(32, r_swap=8)).weights
    assert result.tensors.keys() == mixed.tensors.keys()
    assert all(np.array_equal(value, mixed.tensors[name]) for name, value in result.tensors.items())


def test_layers_up_to_r_swap_are_the_transferred_networks_own_arrays_and_the_others_the_bases() -> None:
    for name, value in blended([BASE, TRANSFER], schedule_from_options(32, r_swap=8)).items():
        donor = TRANSFER if group_of(name).resolution <= 8 else BASE
        assert value is donor.tensors[name], name


@pytest.mark.parametrize(
    ("r_swap", "reverse", "donor"), [(2, 0, BASE), (32, 0, TRANSFER), (1, 1, TRANSFER), (32, 1, BASE)]
)
def test_a_cut_outside_the_network_gives_one_networks_synthesis(
    r_swap: int, reverse: int, donor: GeneratorWeights
) -> None:
    schedule = schedule_from_options(32, r_swap=r_swap, reverse=bool(reverse))
    assert all(value is donor.tensors[name] for name, value in blended([BASE, TRANSFER], schedule).items())
    assert f"every synthesis layer comes from {donor.source.path}" in blend([BASE, TRANSFER], schedule).report.warnings


def test_reverse_exchanges_the_roles() -> None:
    forward = blended([TRANSFER, BASE], schedule_from_options(32, r_swap=8))
    reverse = blended([BASE, TRANSFER], schedule_from_options(32, r_swap=8, reverse=True))
    assert all(value is forward[name] for name, value in reverse.items())


def test_fractions_interpolate_raw_tensors_and_keep_their_types() -> None:
    for name, value in blended([BASE, TRANSFER], uniform(0.75, 0.25)).items():
        expected = 0.75 * BASE.tensors[name].astype(np.float64) + 0.25 * TRANSFER.tensors[name]
        # Two products and a sum, each rounded once to float32's 2^-24.
        np.testing.assert_allclose(value, expected, rtol=2e-7, atol=2e-7)
        assert isinstance(value, np.ndarray)
        assert value.dtype == np.float32
        assert value.shape == BASE.tensors[name].shape


def test_a_share_too_small_for_float32_is_none() -> None:
    result = blend([BASE, TRANSFER], uniform(1 - 1e-12, 1e-12))
    assert all(value is BASE.tensors[name] for name, value in result.weights.tensors.items())
    assert result.report.warnings == ("every synthesis layer comes from generator-0.pt",)


def test_the_parents_are_not_changed() -> None:
    before = {name: value.copy() for name, value in BASE.tensors.items()}
    blend([BASE, TRANSFER], uniform(0.5, 0.5, masks=(ChannelMask((0,), (0.0, 1.0)),)))
    assert all(np.array_equal(value, before[name]) for name, value in BASE.tensors.items())


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.permutations(range(3)))
def test_the_order_of_several_networks_does_not_matter(raw: list[float], order: list[int]) -> None:
    shares, models = [value / sum(raw) for value in raw], [BASE, TRANSFER, THIRD]
    straight = blended(models, uniform(*shares))
    shuffled = blended([models[i] for i in order], uniform(*(shares[i] for i in order)))
    for name, value in straight.items():
        # Float32 addition in another order: a few units of 2^-24 of values up to about 5.
        np.testing.assert_allclose(shuffled[name], value, rtol=1e-6, atol=1e-6)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_convex_blend_stays_between_its_parents(x: float, y: float) -> None:
    shares = (x, (1 - x) * y, (1 - x) * (1 - y))
    models = [BASE, TRANSFER, THIRD]
    for name, value in blended(models, uniform(*shares)).items():
        stack = np.stack([model.tensors[name] for model in models])
        assert (value >= stack.min(0) - 1e-5).all(), name  # float32 rounding of three terms
        assert (value <= stack.max(0) + 1e-5).all(), name


@pytest.mark.parametrize("donors", list(permutations((BASE, TRANSFER, THIRD))))
def test_a_share_of_one_gives_that_networks_arrays_among_several(donors: tuple[GeneratorWeights, ...]) -> None:
    vectors = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    parts = ("up", "conv", "rgb")
    schedule = BlendSchedule("parts", {g: Shares(vectors[parts.index(g.part)]) for g in groups_of(32)})
    for name, value in blended(list(donors), schedule).items():
        assert value is donors[parts.index(group_of(name).part)].tensors[name]


def test_a_channel_mask_acts_on_output_channels_only() -> None:
    mask = ChannelMask((1, 2), (0.0, 1.0))
    result = blended([BASE, TRANSFER], uniform(1.0, 0.0, masks=(mask,)))
    for name, value in result.items():
        if ".affine." in name or name.endswith("noise_strength"):
            assert value is BASE.tensors[name]
        else:
            expected = BASE.tensors[name].copy()
            expected[[1, 2]] = TRANSFER.tensors[name][[1, 2]]
            np.testing.assert_array_equal(value, expected)


def test_a_mask_beyond_the_layers_channels_is_refused() -> None:
    with pytest.raises(BlendError, match=r"mask on synthesis\.4\.const: got channel 8, expected 0 to 7"):
        blend([BASE, TRANSFER], uniform(1.0, 0.0, masks=(ChannelMask((8,), (0.0, 1.0)),)))


@pytest.mark.parametrize(
    ("noise", "shares", "donor"),
    [("base", (0.0, 1.0), 0), ("transfer", (1.0, 0.0), 1), ("majority", (0.4, 0.6), 1), ("majority", (0.6, 0.4), 0)],
)
def test_noise_maps_come_whole_from_one_network(noise: NoiseDonor, shares: tuple[float, float], donor: int) -> None:
    models = [BASE, random_generator(32, seed=7)]
    tensors = blend(models, uniform(*shares, noise=noise)).weights.tensors
    maps = [name for name in tensors if name.endswith(".noise")]
    assert len(maps) == 7
    assert all(tensors[name] is models[donor].tensors[name] for name in maps)


@pytest.mark.parametrize(("mapping", "donor", "depth"), [(None, 0, 8), ("base", 0, 8), ("transfer", 1, 2)])
def test_the_mapping_network_comes_whole_from_its_donor_whatever_the_depths(
    mapping: str | None, donor: int, depth: int
) -> None:
    models = [random_generator(32, mapping_depth=8), random_generator(32, seed=1, mapping_depth=2)]
    result = blend(models, uniform(0.5, 0.5), mapping=mapping)  # type: ignore[arg-type]
    assert result.weights.mapping_depth == depth
    assert result.weights.tensors["mapping.w_avg"] is models[donor].tensors["mapping.w_avg"]
    assert result.report.mapping == models[donor].source


@pytest.mark.parametrize(
    ("clamps", "expected"),
    [((None, None), None), ((None, 256.0), 256.0), ((256.0, None), 256.0), ((256.0, 64.0), 64.0)],
)
def test_the_tighter_clamp_is_kept(clamps: tuple[float | None, float | None], expected: float | None) -> None:
    models = [replace(model, conv_clamp=clamp) for model, clamp in zip((BASE, TRANSFER), clamps, strict=True)]
    assert blend(models, uniform(0.5, 0.5)).weights.conv_clamp == expected


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (random_generator(64), "resolution 32 and 64"),
        (random_generator(32, 16), r"channels \{4: 8, 8: 8, 16: 8, 32: 8\} and \{4: 16"),
        (random_generator(32, w_dim=8), "w_dim 16 and 8"),
    ],
)
def test_networks_of_different_architecture_are_refused(other: GeneratorWeights, difference: str) -> None:
    with pytest.raises(BlendError, match=rf"generator-0\.pt and generator-0\.pt: got {difference}"):
        blend([BASE, other], uniform(0.5, 0.5))


def test_a_tensor_that_only_one_network_has_is_refused_by_name() -> None:
    fewer = {name: value for name, value in TRANSFER.tensors.items() if name != "synthesis.8.up.noise"}
    with pytest.raises(BlendError, match=r"got synthesis\.8\.up\.noise \[8, 8\] in only one of them"):
        blend([BASE, replace(TRANSFER, tensors=fewer)], uniform(0.5, 0.5))


@pytest.mark.parametrize("r_swap", [2, 8, 32])
def test_a_network_is_not_blended_with_itself(r_swap: int) -> None:
    noise = {"synthesis.8.up.noise": TRANSFER.tensors["synthesis.8.up.noise"] + 1}
    mapping = {"mapping.0.bias": TRANSFER.tensors["mapping.0.bias"] + 1}
    twin = with_changes(BASE, {name: value.copy() for name, value in BASE.tensors.items()} | noise | mapping)
    with pytest.raises(BlendError, match=r"got the same synthesis weights in both.*check that the right files"):
        blend([BASE, twin], schedule_from_options(32, r_swap=r_swap))


@pytest.mark.parametrize(
    ("changed", "parent"), [("synthesis.32.rgb.bias", "generator-0.pt"), ("synthesis.4.const", "copy.pt")]
)
def test_a_blend_that_equals_a_parent_is_refused(changed: str, parent: str) -> None:
    other = with_changes(BASE, {changed: TRANSFER.tensors[changed]})
    other = replace(other, source=replace(BASE.source, path=BASE.source.path.with_name("copy.pt")))
    with pytest.raises(BlendError, match=f"got the synthesis weights of {parent}, bit for bit.*check the files"):
        blend([BASE, other], schedule_from_options(32, r_swap=8))


def test_a_schedule_for_another_number_of_networks_or_another_size_is_refused() -> None:
    with pytest.raises(BlendError, match="uniform: got 2 networks, expected 3"):
        blend([BASE, TRANSFER], uniform(0.5, 0.25, 0.25))
    with pytest.raises(BlendError, match="--r-swap 8: got a generator of 32, expected one of 64"):
        blend([BASE, TRANSFER], schedule_from_options(64, r_swap=8))


def test_the_mapping_of_one_of_several_transferred_networks_is_refused() -> None:
    with pytest.raises(BlendError, match="--mapping transfer: got 3 models, expected one transferred model"):
        blend([BASE, TRANSFER, THIRD], uniform(0.5, 0.25, 0.25), mapping="transfer")


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.5, -0.5), (float("nan"), 1.0), (0.0, 0.0)])
def test_shares_that_are_not_convex_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(
        BlendError, match=r"layer group 4\.up: got shares .*expected shares within 0\.\.1 that sum to 1"
    ):
        uniform(*shares)


def test_the_report_says_what_was_blended() -> None:
    report = blend([BASE, TRANSFER], schedule_from_options(32, schedule="linear:4,16"), mapping="transfer").report
    record = json.loads(json.dumps(report.as_json()))
    assert record["schedule"] == "--schedule linear:4,16"
    assert record["models"] == ["generator-0.pt", "generator-0-sibling-1.pt"]
    assert record["mapping"] == "generator-0-sibling-1.pt"
    assert record["noise"] == "base"
    assert record["shares"]["4.up"] == [0, 1]
    assert record["shares"]["8.rgb"] == [0.5, 0.5]
    assert record["equal_noise"] == [True]
    assert set(record["similarity"][0]) == {"4", "8", "16", "32"}
    assert "w_avg comes from generator-0-sibling-1.pt" in record["warnings"][0]


def test_siblings_give_no_warning() -> None:
    assert blend([BASE, random_sibling(BASE, strength=0.9)], uniform(0.5, 0.5)).report.warnings == ()


def test_strangers_and_siblings_that_drifted_far_give_a_warning() -> None:
    (stranger,) = blend([BASE, random_generator(32, seed=7)], uniform(0.5, 0.5)).report.warnings
    assert "look unrelated" in stranger
    (drifted,) = blend([BASE, random_sibling(BASE, strength=3)], uniform(0.5, 0.5)).report.warnings
    assert "drifted far apart, although their noise maps are equal" in drifted


def test_similarity_is_given_for_each_resolution() -> None:
    changes = {name: -value for name, value in BASE.tensors.items() if group_is(name, 16)}
    (similarity,) = blend([BASE, with_changes(BASE, changes)], uniform(0.5, 0.5)).report.similarities
    assert similarity.by_resolution == pytest.approx({4: 1, 8: 1, 16: -1, 32: 1}, abs=1e-6)


def group_is(name: str, resolution: int) -> bool:
    return name.startswith("synthesis.") and group_of(name) in {
        Group(resolution, "conv"),
        Group(resolution, "up"),
        Group(resolution, "rgb"),
    }
