"""The blend as part of a request: its three forms, and the pictures of a live generator in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import DEFAULT_BLEND, TinyModels, expected_pictures, gain_of_blend, write_generator

from engines import engine_from_directory
from engines.contract.arrays import AnyArray
from engines.contract.errors import RequestError
from engines.contract.tensors import Geometry, resolutions_to, toonify_signature
from engines.model_directory import LiveBlend
from export.blending import schedule_from_options
from serving.controls import Style, control_tensors
from serving.live_blends import BlendChoices, blend_from_text, blend_parameters, choices_of_served, swapped_shares
from serving.pipeline import Pipeline
from serving.toonifier import EngineToonifier

FACES = np.random.default_rng(8).integers(0, 256, (3, 256, 256, 3), np.uint8)
LIVE = BlendChoices("toonify_live", DEFAULT_BLEND)
DEFAULT_OF_TWO = (1.0, 0.0, 0.5, 0.25, 0.0, 1.0, 0.0, 0.0)
OF_TWO = BlendChoices("toonify_duo", DEFAULT_OF_TWO, ("cartoon", "anime"))


def blend(**controls: Any) -> AnyArray:
    """The tensor of a request for two faces to a live model of 32 pixels."""
    return control_tensors(toonify_signature(Geometry(32, transferred=1)), (), controls, 2, LIVE)["blend"]


def blend_of_two(**controls: Any) -> AnyArray:
    """The tensor of a request for two faces to a live model of two transferred models."""
    return control_tensors(toonify_signature(Geometry(32, transferred=2)), (), controls, 2, OF_TWO)["blend"]


@pytest.fixture
def toonifier(tiny_model_directories: TinyModels) -> Iterator[EngineToonifier]:
    """A toonifier whose default generator is live."""
    models = tiny_model_directories
    with EngineToonifier(models.encoder, [models.live, models.generators["plain"]], models.isf) as toonifier:
        yield toonifier


@pytest.mark.parametrize(
    ("controls", "shares"),
    [
        ({"r_swap": 2}, [[0, 0, 0, 0]] * 2),
        ({"r_swap": 16}, [[1, 1, 1, 0]] * 2),
        ({"r_swap": [4, 32]}, [[1, 0, 0, 0], [1, 1, 1, 1]]),
        ({"r_swap": 16, "alpha": 0.5}, [[0.5, 0.5, 0.5, 0]] * 2),
        ({"r_swap": 4, "alpha": [0.25, 1]}, [[0.25, 0, 0, 0], [1, 0, 0, 0]]),
        ({"blend": (1, 0.75, 0.5, 0)}, [[1, 0.75, 0.5, 0]] * 2),
        ({"blend": np.eye(4)[:2]}, np.eye(4)[:2]),
        ({"blend": (1, 0, 0, 1), "alpha": 0.5}, [[0.5, 0, 0, 0.5]] * 2),
        ({"alpha": 0.5}, [[0.5, 0.5, 0, 0]] * 2),
    ],
)
def test_every_form_of_a_blend_becomes_shares_by_resolution(controls: dict[str, Any], shares: list[Any]) -> None:
    tensor = blend(**controls)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, shares)


@pytest.mark.parametrize(
    ("controls", "sentence"),
    [
        ({"r_swap": 24}, "control 'r_swap': got 24, expected a power of two from 1 to 32"),
        ({"r_swap": 64}, "control 'r_swap': got 64, expected a power of two from 1 to 32"),
        ({"r_swap": 0}, "control 'r_swap': got 0, expected a power of two from 1 to 32"),
        ({"r_swap": -4}, "control 'r_swap': got -4, expected a power of two"),
        ({"r_swap": 8.5}, "control 'r_swap': got something else, expected int64"),
        ({"r_swap": 8, "blend": (1, 1, 0, 0)}, "controls: got both 'r_swap' and 'blend', expected one of them or neit"),
        ({"blend": (1, 0.5)}, r"control 'blend': got shape \[2\], expected float32 \[4\] for all faces or \[2, 4\]"),
        ({"blend": "soft"}, "control 'blend': got something else"),
        ({"alpha": 1.5}, r"control 'alpha': got 1\.5, expected a number within 0\.\.1"),
        ({"alpha": -0.5, "r_swap": 2}, r"control 'alpha': got -0\.5, expected a number within 0\.\.1"),
        ({"alpha": float("nan")}, r"control 'alpha': got nan, expected a number within 0\.\.1"),
    ],
)
def test_a_blend_that_cannot_be_meant_is_refused(controls: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        blend(**controls)


NONE, FIRST, SECOND = [0, 0], [1, 0], [0, 1]


@pytest.mark.parametrize(
    ("controls", "shares"),
    [
        ({"r_swap": 8}, [[FIRST, FIRST, NONE, NONE]] * 2),
        ({"r_swap": 8, "transfer": "anime"}, [[SECOND, SECOND, NONE, NONE]] * 2),
        ({"r_swap": [4, 8], "transfer": ["anime", "cartoon"]}, [[SECOND, NONE, NONE, NONE], [FIRST] * 2 + [NONE] * 2]),
        ({"r_swap": 4, "transfer": "anime", "alpha": 0.5}, [[[0, 0.5], NONE, NONE, NONE]] * 2),
        ({"blend": (1, 0.5, 0.25, 0), "transfer": "anime"}, [[SECOND, [0, 0.5], [0, 0.25], NONE]] * 2),
        ({"blend": [[0.5, 0.5]] * 4}, [[[0.5, 0.5]] * 4] * 2),
        ({"blend": [[FIRST] * 4, [SECOND] * 4], "alpha": [0.5, 1]}, [[[0.5, 0]] * 4, [SECOND] * 4]),
        ({"alpha": 0.5}, [[[0.5, 0], [0.25, 0.125], [0, 0.5], NONE]] * 2),
    ],
)
def test_a_blend_names_one_of_several_models_or_has_the_share_of_each(
    controls: dict[str, Any], shares: list[Any]
) -> None:
    tensor = blend_of_two(**controls)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, shares)


@pytest.mark.parametrize(
    ("controls", "sentence"),
    [
        ({"r_swap": 8, "transfer": "oil"}, "control 'transfer': got 'oil', expected one of cartoon, anime; choose one"),
        ({"r_swap": 8, "transfer": ["anime"] * 3}, "control 'transfer': got 3 names, expected one for all faces or 2"),
        ({"r_swap": 8, "transfer": 1}, "control 'transfer': got 1, expected one of cartoon, anime"),
        (
            {"r_swap": 8, "transfer": [["anime"]]},
            r"control 'transfer': got \['anime'\], expected one of",
        ),
        ({"transfer": "anime"}, "controls: got 'transfer' without 'r_swap' or 'blend'"),
        ({"alpha": 0.5, "transfer": "anime"}, "controls: got 'transfer' without 'r_swap' or 'blend'"),
        ({"blend": (1, 1, 0, 0)}, r"control 'blend': got shape \[4\], expected float32 \[4, 2\] for all faces"),
        ({"blend": [[1, 0]] * 4, "transfer": "anime"}, r"control 'blend': got shape \[4, 2\], expected float32 \[4\]"),
    ],
)
def test_a_blend_of_several_models_that_cannot_be_meant_is_refused(controls: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        blend_of_two(**controls)


def test_a_model_of_two_parents_is_named_too() -> None:
    np.testing.assert_array_equal(blend(r_swap=8, transfer="transfer"), [[1, 1, 0, 0]] * 2)
    with pytest.raises(RequestError, match="control 'transfer': got 'anime', expected one of transfer"):
        blend(r_swap=8, transfer="anime")


def test_a_live_model_of_several_models_is_asked_for_each(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    live = LiveBlend(resolutions=(4, 8, 16, 32), default=DEFAULT_OF_TWO, models=("cartoon", "anime"))
    duo = write_generator(tmp_path / "duo", "duo", live=live)
    with EngineToonifier(tiny_model_directories.encoder, [duo]) as toonifier:
        for style, shares in (
            (Style(), DEFAULT_OF_TWO),
            (Style(r_swap=8), FIRST * 2 + NONE * 2),
            (Style(r_swap=8, transfer="anime"), SECOND * 2 + NONE * 2),
            (Style(blend=((0.5, 0.5),) * 4), (0.5,) * 8),
        ):
            expected = expected_pictures(FACES, gain=gain_of_blend(shares, 2))
            np.testing.assert_array_equal(toonifier.toonify(FACES, style), expected)
        with pytest.raises(RequestError, match=r"tensor 'blend': got shares at one resolution whose sum is 1.5, expec"):
            toonifier.toonify(FACES, Style(blend=((0.5, 1.0),) * 4))


@pytest.mark.parametrize("control", [{"r_swap": 8}, {"blend": (1, 0, 0, 0)}, {"alpha": 0.5}, {"transfer": "transfer"}])
def test_a_model_that_is_not_live_refuses_a_blend_by_its_name(
    toonifier: EngineToonifier, control: dict[str, Any]
) -> None:
    with pytest.raises(
        RequestError,
        match=f"control '{next(iter(control))}': got the model 'plain', whose blend is fixed, expected a l",
    ):
        toonifier.toonify(FACES, Style(model="plain", **control))


def test_a_hard_swap_is_that_of_an_export() -> None:
    for r_swap in (1, 2, 4, 8, 16, 32, 64):
        exported = schedule_from_options(64, r_swap).shares
        by_resolution = {group.resolution: shares.models[1] for group, shares in exported.items()}
        assert dict(zip(resolutions_to(64), swapped_shares(r_swap, 64), strict=True)) == by_resolution


def test_choices_survive_being_written_as_parameters() -> None:
    for choices in (BlendChoices("duo", (1.0, 0.1, 1 / 3, 0.0), ("cartoon", "anime")), LIVE):
        assert choices_of_served(choices.model, blend_parameters(choices)) == choices
    assert blend_parameters(OF_TWO)["blend_resolutions"] == "4,8,16,32"
    assert blend_parameters(OF_TWO)["transferred_models"] == "cartoon,anime"
    assert blend_parameters(BlendChoices("plain")) == {}
    assert choices_of_served("plain", {}) == BlendChoices("plain")
    assert blend_from_text("") == ()


def test_a_face_without_a_blend_gets_the_one_of_the_export(toonifier: EngineToonifier) -> None:
    expected = expected_pictures(FACES, gain=gain_of_blend(DEFAULT_BLEND))
    np.testing.assert_array_equal(toonifier.toonify(FACES, Style()), expected)
    np.testing.assert_array_equal(toonifier.toonify(FACES, Style(r_swap=8)), expected)


@pytest.mark.parametrize(
    ("style", "shares"),
    [
        (Style(r_swap=2), (0, 0, 0, 0)),
        (Style(r_swap=32), (1, 1, 1, 1)),
        (Style(r_swap=16, alpha=0.5), (0.5, 0.5, 0.5, 0)),
        (Style(blend=(1, 0.5, 0.5, 0.25)), (1, 0.5, 0.5, 0.25)),
    ],
)
def test_a_style_chooses_the_blend(toonifier: EngineToonifier, style: Style, shares: tuple[float, ...]) -> None:
    expected = expected_pictures(FACES, gain=gain_of_blend(shares))
    np.testing.assert_array_equal(toonifier.toonify(FACES, style), expected)
    np.testing.assert_array_equal(toonifier.render(toonifier.encode(FACES), style), expected)


def test_each_face_of_a_batch_may_have_a_blend_of_its_own(tiny_model_directories: TinyModels) -> None:
    shares = np.array([[0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1, 1]], np.float32)
    pictures = tiny_model_directories.pipeline("live", isf=False).run(FACES, blend=shares)
    np.testing.assert_array_equal(pictures, expected_pictures(FACES, gain=gain_of_blend(shares)))


@pytest.mark.parametrize("share", [-0.5, 1.5, np.nan, np.inf])
def test_a_share_outside_its_bounds_is_refused(tiny_model_directories: TinyModels, share: float) -> None:
    with pytest.raises(RequestError, match=r"tensor 'blend': got (the share (-0|1)\.5|a value that is NaN)"):
        tiny_model_directories.pipeline("live").run(FACES, blend=np.full((3, 4), share, np.float32))


def test_a_pipeline_without_a_default_needs_a_blend(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    pipeline = Pipeline(engine_from_directory(models.encoder), engine_from_directory(models.live))
    with pytest.raises(
        RequestError, match="tensor 'blend': got none, and no default of the model's, expected 4 shares, one"
    ):
        pipeline.run(FACES)
    pictures = pipeline.run(FACES, blend=np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(pictures, expected_pictures(FACES, gain=-1))
