"""The contract of live generators: their signature and manifest, and the blends that a request may ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engines.contract.arrays import AnyArray
from engines.contract.blends import check_blend, combined, rows_by_blend, terms
from engines.contract.errors import EngineError, RequestError
from engines.contract.tensors import (
    Geometry,
    Signature,
    TensorSpec,
    condition_signature,
    generator_signature,
    resolutions_to,
    toonify_signature,
)
from engines.engine import BaseEngine
from engines.model_directory import Manifest

LIVE = Geometry(32, 16, transferred=1)

MANIFEST: dict[str, Any] = {
    "component": "generator",
    "name": "live",
    "sizes": {"resolution": 16, "w_dim": 8},
    "engine": "onnxruntime",
    "precision": "fp32",
    "sources": [],
    "files": {},
    "details": {},
    "tools": {},
    "verification": {"inputs": "", "worst": 0.0, "mean": 0.0, "psnr": None, "bound": ""},
    "live": {"resolutions": [4, 8, 16], "default": [1, 0.5, 0]},
}


def shares(*rows: list[float]) -> AnyArray:
    return np.array(rows, np.float32)


def spec(transferred: int) -> TensorSpec:
    """The blend of a live generator of 32 pixels with this many transferred models."""
    blend = generator_signature(Geometry(32, 16, transferred=transferred)).blend
    assert blend is not None
    return blend


def test_only_a_live_generator_takes_a_share_for_each_of_its_resolutions() -> None:
    assert [str(spec) for spec in generator_signature(LIVE).inputs] == [
        "w float32 [N,8,16]",
        "psi float32 [N,1]",
        "blend float32 [N,4]",
    ]
    assert [spec.name for spec in generator_signature(Geometry(32, 16)).inputs] == ["w", "psi"]
    assert str(spec(3)) == "blend float32 [N,4,3]"


def test_a_signature_says_how_many_models_are_blended_with_the_base() -> None:
    for count in range(4):
        assert generator_signature(Geometry(32, 16, transferred=count)).transferred == count


def test_the_blend_is_optional_for_the_ensemble_and_filled_in_before_the_generator() -> None:
    optional = {spec.name for spec in toonify_signature(LIVE).inputs if spec.optional}
    assert optional == {"attributes", "z", "row_strength", "psi", "blend", "seed"}
    assert condition_signature(LIVE).outputs[-1].name == "blend_filled"
    assert "blend" not in {spec.name for spec in toonify_signature(Geometry(32, 16))}


def test_the_resolutions_of_a_generator_are_the_powers_of_two_from_4() -> None:
    assert resolutions_to(4) == (4,)
    assert resolutions_to(64) == (4, 8, 16, 32, 64)


def test_hard_swaps_and_fractions_are_blends() -> None:
    check_blend(shares([1, 1, 0, 0], [0, 0.25, 1, 0.999]), spec(1))
    check_blend(np.zeros((0, 4), np.float32), spec(1))  # an empty batch is refused for what it is
    check_blend(np.array([[[1, 0], [0, 1], [0.7, 0.3], [0, 0]]], np.float32), spec(2))


@pytest.mark.parametrize(
    ("blend", "sentence"),
    [
        (shares([1, 0, 0]), r"tensor 'blend': got float32 \[1, 3\], expected blend float32 \[N,4\], .* 4, 8, 16, 32;"),
        (shares([1, 0, 0, 0])[0], r"got float32 \[4\], expected"),
        (np.ones((1, 4)), r"got float64 \[1, 4\], expected"),
        (shares([1, 0, np.nan, 0]), "got the share nan, expected shares within 0..1"),
        (shares([0, 0, 0, 0], [1, 0, 0, 1.5]), "got the share 1.5, expected shares within 0..1"),
        (shares([-0.1, 0, 0, 0]), "got the share -0.1, expected"),
        (shares([np.inf, 0, 0, 0]), "got the share inf, expected"),
    ],
)
def test_what_is_no_blend_is_refused_in_one_sentence(blend: AnyArray, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        check_blend(blend, spec(1))


@pytest.mark.parametrize(
    ("blend", "sentence"),
    [
        (
            shares([1, 0, 0, 0]),
            r"got float32 \[1, 4\], expected blend float32 \[N,4,2\], .*, of each of 2 models",
        ),
        (
            np.full((1, 4, 2), 0.75, np.float32),
            "got shares at one resolution whose sum is 1.5, expected a sum",
        ),
        (np.full((1, 4, 2), -0.5, np.float32), "got the share -0.5, expected shares within 0..1"),
    ],
)
def test_a_blend_of_several_models_has_each_models_share_and_no_more_than_all(blend: AnyArray, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        check_blend(blend, spec(2))


def test_rows_of_equal_blend_are_found_in_the_order_in_which_they_come() -> None:
    groups = rows_by_blend(shares([1, 0], [0.5, 0], [1, 0], [0, 0]))
    assert [rows.tolist() for rows in groups] == [[0, 2], [1], [3]]
    assert [rows.tolist() for rows in rows_by_blend(np.eye(2, dtype=np.float32)[[[0, 1], [1, 0], [0, 1]]])] == [
        [0, 2],
        [1],
    ]


def test_the_base_has_what_the_transferred_models_leave_in_float32() -> None:
    assert terms((0.0,)) == [(0, 1.0)]
    assert terms((0.25, 0.5)) == [(0, 0.25), (1, 0.25), (2, 0.5)]
    assert terms((0.1,)) == [(0, float(np.float32(1) - np.float32(0.1))), (1, float(np.float32(0.1)))]
    assert terms((0.0, 1.0, 0.0)) == [(2, 1.0)]


def test_the_weights_of_a_hard_swap_are_those_of_a_parent_and_not_copies() -> None:
    base, transfer = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert combined([base, transfer], (0,)) is base
    assert combined([base, transfer, base], (1, 2.0**-26)) is transfer
    assert combined([base, transfer], (0.25,)).tolist() == [0.25] * 3
    assert combined([base, transfer, 2 * transfer], (0.25, 0.5)).tolist() == [1.25] * 3


class RowNumbers(BaseEngine):
    """An engine whose pictures show the blend's first share and how many rows ran together."""

    def __init__(self) -> None:
        super().__init__(generator_signature(Geometry(4, 1, transferred=1)))

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        assert len({*inputs["blend"][:, 0].tolist()}) == 1
        levels = 100 * inputs["blend"][:, :1] + 10 * inputs["w"][:, 0] + len(inputs["w"])
        return {"image": np.tile(levels.astype(np.uint8), 48).reshape(-1, 4, 4, 3)}


def inputs(blend: AnyArray) -> dict[str, AnyArray]:
    count = len(blend)
    w = np.arange(count, dtype=np.float32).reshape(count, 1, 1).repeat(2, 1)
    return {"w": w, "psi": np.ones((count, 1), np.float32), "blend": blend}


def test_an_engine_runs_the_rows_of_each_blend_together_and_returns_them_in_order() -> None:
    pictures = RowNumbers().run(inputs(shares([1], [0], [1], [0.5])))["image"]
    assert pictures[:, 0, 0, 0].tolist() == [102, 11, 122, 81]


def test_an_engine_refuses_an_empty_batch() -> None:
    with pytest.raises(EngineError, match="engine input"):
        RowNumbers().run({name: value[:0] for name, value in inputs(shares([1])).items()})


def test_an_engine_refuses_what_is_no_blend() -> None:
    with pytest.raises(RequestError, match="the share 2"):
        RowNumbers().run(inputs(shares([2])))


def test_an_engine_of_a_model_that_is_not_live_refuses_a_blend_by_name() -> None:
    engine = BaseEngine(Signature(generator_signature(LIVE).inputs[:2], generator_signature(LIVE).outputs))
    with pytest.raises(EngineError, match="blend"):
        engine.run(inputs(shares([1])))


def test_a_manifest_says_what_makes_a_generator_live() -> None:
    manifest = Manifest.model_validate(MANIFEST)
    assert manifest.signature == generator_signature(Geometry(16, 8, (), 0, transferred=1))
    assert manifest.live is not None
    assert manifest.live.default == (1, 0.5, 0)
    assert manifest.transferred_models == ("transfer",)


def test_a_manifest_names_the_transferred_models() -> None:
    live = {"resolutions": [4, 8, 16], "default": [1, 0, 0.5, 0.5, 0, 0], "models": ["cartoon", "anime"]}
    manifest = Manifest.model_validate(MANIFEST | {"live": live})
    assert manifest.signature == generator_signature(Geometry(16, 8, (), 0, transferred=2))
    assert manifest.transferred_models == ("cartoon", "anime")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"component": "encoder"}, "Only a generator can be live"),
        ({"live": {"resolutions": [4, 8], "default": [1, 0]}}, "one share for each resolution"),
        ({"live": {"resolutions": [4, 8, 16], "default": [1, 0]}}, "one share for each resolution"),
        ({"live": {"resolutions": [4, 8, 16], "default": [1, 0, 2]}}, "less than or equal to 1"),
        ({"live": {"resolutions": [4, 8, 16], "default": [1, 0, 0], "models": ["a", "b"]}}, "one share for each resol"),
        ({"live": {"resolutions": [4, 8, 16], "default": [1, 0, 0], "models": []}}, "models of different names"),
        ({"live": {"resolutions": [4, 8, 16], "default": [0] * 6, "models": ["a", "a"]}}, "models of different names"),
        ({"live": {"resolutions": [4, 8, 16], "default": [1, 0, 0], "models": ["a,b"]}}, "should match pattern"),
    ],
)
def test_a_manifest_whose_live_blend_does_not_fit_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Manifest.model_validate(MANIFEST | change)
