"""Schedules in JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from generators import random_generator, random_sibling

from engines.contract.errors import BlendError
from export.blending import blend, schedule_from_options
from export.blending import layer_file as layer_file_module
from export.blending.groups import ChannelMask, Group, Shares
from export.blending.layer_file import shares_from_file

ENTRY = {"resolutions": [4], "shares": {"a": 1}}


def written(directory: Path, content: Any) -> Path:
    path = directory / "layers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_documented_example_is_read_as_documented(tmp_path: Path) -> None:
    documentation = layer_file_module.__doc__ or ""
    example = documentation[documentation.index("{") : documentation.rindex("}") + 1]
    shares = shares_from_file(written(tmp_path, example), 128)
    assert shares[Group(4, "up")] == Shares((0, 1, 0))
    assert shares[Group(32, "conv")] == Shares((0, 0.5, 0.5))
    assert shares[Group(32, "rgb")] == Shares((1, 0, 0))
    assert shares[Group(128, "conv")] == Shares((1, 0, 0))
    assert shares[Group(64, "conv")] == Shares((1, 0, 0), (ChannelMask((7, *range(32, 64)), (0.25, 0, 0.75)),))
    assert len(shares) == 18


def test_a_file_blends_three_networks(tmp_path: Path) -> None:
    groups = [
        {"resolutions": [4, 8], "shares": {"b": 1}},
        {"resolutions": [16], "parts": ["conv"], "shares": {"c": 1}, "masks": [{"channels": [0], "shares": {"a": 1}}]},
    ]
    path = written(tmp_path, {"models": ["a", "b", "c"], "groups": groups})
    a = random_generator(32)
    b, c = random_sibling(a, 1), random_sibling(a, 2)
    result = blend([a, b, c], schedule_from_options(32, schedule=str(path)))
    tensors = result.weights.tensors
    assert tensors["synthesis.8.rgb.weight"] is b.tensors["synthesis.8.rgb.weight"]
    assert tensors["synthesis.16.up.weight"] is a.tensors["synthesis.16.up.weight"]
    assert tensors["synthesis.16.conv.affine.weight"] is c.tensors["synthesis.16.conv.affine.weight"]
    assert (tensors["synthesis.16.conv.weight"][0] == a.tensors["synthesis.16.conv.weight"][0]).all()
    assert (tensors["synthesis.16.conv.weight"][1:] == c.tensors["synthesis.16.conv.weight"][1:]).all()
    assert result.report.as_json()["masks"] == {"16.conv": [{"channels": [0], "shares": [1, 0, 0]}]}
    assert len(result.report.similarities) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "Invalid JSON.* at the top level, expected the format of"),
        ({"models": ["a", "b"]}, "Field required at groups"),
        ({"models": ["a"], "groups": [ENTRY]}, "at least 2 items .* at models"),
        ({"models": ["a", "a"], "groups": [ENTRY]}, "got the models a, a, expected different names"),
        ({"models": ["a", "b"], "groups": [ENTRY], "noise": 1}, "Extra inputs are not permitted at noise"),
        ({"models": ["a", "b"], "groups": [{"resolutions": [4], "shares": {"a": 2}}]}, r"at groups\.0\.shares\.a"),
        ({"models": ["a", "b"], "groups": [{"resolutions": [4], "shares": {"a": "1"}}]}, "valid number at groups"),
        ({"models": ["a", "b"], "groups": [ENTRY | {"parts": ["const"]}]}, r"at groups\.0\.parts\.0"),
        ({"models": ["a", "b"], "groups": [ENTRY | {"shares": {"c": 1}}]}, "got a share of c, expected shares of a, b"),
        ({"models": ["a", "b"], "groups": [ENTRY | {"resolutions": [64]}]}, r"groups 64\.conv, .* a generator of 32"),
        ({"models": ["a", "b"], "groups": [ENTRY, ENTRY]}, r"got layer group 4\.up twice"),
        ({"models": ["a", "b"], "groups": [ENTRY | {"shares": {"a": 0.5}}]}, "got shares 0.5, 0, expected .* sum to 1"),
        (
            {"models": ["a", "b"], "groups": [ENTRY | {"masks": [{"channels": [[5, 3]], "shares": {"b": 1}}]}]},
            r"got the channel range \[5, 3\]",
        ),
        (
            {"models": ["a", "b"], "groups": [ENTRY | {"masks": [{"channels": [1, [0, 2]], "shares": {"b": 1}}]}]},
            "got a channel that two masks or two ranges name",
        ),
        (
            {"models": ["a", "b"], "groups": [ENTRY | {"masks": [{"channels": [-1], "shares": {"b": 1}}]}]},
            r"at groups\.0\.masks\.0\.channels\.0",
        ),
        (
            {"models": ["a", "b"], "groups": [ENTRY | {"masks": [{"channels": [1], "shares": {"b": 0.5}}]}]},
            "got shares 0, 0.5",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(BlendError, match=f"layers.json.*{sentence}"):
        schedule_from_options(32, schedule=str(written(tmp_path, content)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlendError, match=r"none\.json: got No such file or directory, expected a schedule in JSON"):
        schedule_from_options(32, schedule=str(tmp_path / "none.json"))
