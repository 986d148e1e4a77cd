"""``toonify-export blend --live``: one verified model directory that holds both parents of a blend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from live_generators import LiveFamily, live_family
from torch import Tensor

from engines import engine_from_directory, read_manifest
from engines.contract.arrays import AnyArray
from engines.contract.errors import BlendError, EngineError, VerificationError
from engines.tensorrt.options import PlanOptions
from export import live
from export.blending import blend, schedule_from_options
from export.blending.live import live_names, live_parents, live_schedule, live_shares
from export.build import build_generator
from export.live import build_live_generator
from export.plans import rebuild_plans
from export.targets import ExportOptions, candidates_for
from export.verification import blends_to_verify


def silent(_: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> LiveFamily:
    return live_family(tmp_path_factory.mktemp("pair"), 32)


def export(pair: LiveFamily, directory: Path, *, resolution: int | None = None, **options: str | int | bool) -> Path:
    """Export a live generator whose default is the schedule of the options."""
    schedule = live_schedule(schedule_from_options(pair.resolution, **options), len(pair.models))  # type: ignore[arg-type]
    output = ExportOptions(directory, directory.name, precision="fp32")
    build_live_generator(pair.models, schedule, blend(pair.models, schedule), output, silent, resolution=resolution)
    return directory


@pytest.fixture(scope="module")
def exported(pair: LiveFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(pair, tmp_path_factory.mktemp("models") / "live", r_swap=8)


def picture(directory: Path, *shares: float) -> AnyArray:
    with engine_from_directory(directory) as engine:
        codes = {spec.name: np.full((1, *spec.dims), 0.5, np.float32) for spec in engine.signature.inputs}
        blend = {
            s.name: np.array(shares, np.float32).reshape(1, *s.dims)
            for s in engine.signature.inputs
            if s.name == "blend"
        }
        return engine.run(codes | blend)["image"]


def test_the_manifest_says_what_a_request_may_choose_and_at_which_blends_it_was_verified(exported: Path) -> None:
    manifest = read_manifest(exported)
    assert manifest.live is not None
    assert manifest.live.resolutions == (4, 8, 16, 32)
    assert manifest.live.default == (1, 1, 0, 0)
    assert [source.role for source in manifest.sources] == ["base", "transfer"]
    assert manifest.details["blend"]["schedule"] == "--r-swap 8"
    assert "every hard swap and a smooth blend, in batches of 1 and 6" in manifest.verification.inputs
    assert manifest.verification.worst <= 1


def test_a_live_model_gives_the_pictures_of_exported_blends(exported: Path, pair: LiveFamily, tmp_path: Path) -> None:
    blended = blend([pair.base, pair.transfer], schedule_from_options(32, r_swap=16))
    output = ExportOptions(tmp_path / "r16", "r16", engine=read_manifest(exported).engine, precision="fp32")
    build_generator(blended.weights, [], output, silent)
    assert np.array_equal(picture(exported, 1, 1, 1, 0), picture(tmp_path / "r16"))
    assert not np.array_equal(picture(exported, 1, 1, 0, 0), picture(tmp_path / "r16"))


def test_a_live_model_of_several_transferred_models_names_them_and_gives_the_pictures_of_each(tmp_path: Path) -> None:
    family = live_family(tmp_path, 16, transferred=2)
    exported = export(family, tmp_path / "live", r_swap=8)
    manifest = read_manifest(exported)
    assert manifest.transferred_models == ("generator-0-sibling-1", "generator-0-sibling-2")
    assert manifest.default_blend == (1, 0, 1, 0, 0, 0)
    assert [source.role for source in manifest.sources] == ["base", "transfer", "transfer"]
    assert "every hard swap" in manifest.verification.inputs
    assert "batches of 1 and 8" in manifest.verification.inputs
    blended = blend([family.base, family.models[2]], schedule_from_options(16, r_swap=8))
    output = ExportOptions(tmp_path / "r8", "r8", engine=manifest.engine, precision="fp32")  # type: ignore[arg-type]
    build_generator(blended.weights, [], output, silent)
    second = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
    assert np.array_equal(picture(exported, *second), picture(tmp_path / "r8"))
    assert not np.array_equal(picture(exported, *manifest.default_blend), picture(tmp_path / "r8"))


def test_transferred_models_of_one_name_are_refused(pair: LiveFamily) -> None:
    with pytest.raises(BlendError, match=r"--live: got 2 files named .*, expected a name of its own for each"):
        live_names([pair.base, pair.transfer, pair.transfer])


def test_its_layers_up_to_a_resolution_are_a_live_model_too(pair: LiveFamily, tmp_path: Path) -> None:
    directory = export(pair, tmp_path / "small", resolution=16, r_swap=8)
    manifest = read_manifest(directory)
    assert manifest.live is not None
    assert manifest.live.default == (1, 1, 0)
    assert manifest.sizes.geometry.rows == 8
    assert manifest.details["cut"]["from"] == 32
    assert picture(directory, 1, 0.5, 0).shape == (1, 16, 16, 3)


def test_a_model_that_is_wrong_at_one_blend_only_is_not_written(
    pair: LiveFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrongAtTheTransferredModel(live.LiveReference):
        def __call__(self, w: Tensor, psi: Tensor, blend: Tensor) -> Tensor:
            picture = super().__call__(w, psi, blend)
            return picture.flip(1) if blend.min() == 1 else picture

    monkeypatch.setattr(live, "LiveReference", WrongAtTheTransferredModel)
    with pytest.raises(VerificationError):
        export(pair, tmp_path / "live", r_swap=8)
    assert not (tmp_path / "live").exists()


def test_a_live_model_is_verified_at_every_hard_swap_and_at_a_smooth_blend() -> None:
    assert blends_to_verify((3,)).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0.75, 0.5, 0.25]]
    of_two = blends_to_verify((1, 2))
    np.testing.assert_allclose(of_two, [[[0, 0]], [[1, 0]], [[0, 1]], [[1 / 6, 1 / 3]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"schedule": "per-row:1,1,1,1,.5,0,0,0"}, "layers of 4x4 with different shares, expected one share for each"),
        ({"r_swap": 8, "compat": "vtoonify"}, "layers of 4x4 with different shares"),
        ({"r_swap": 8, "compat": "pinkney:level=1"}, "layers of 16x16 with different shares"),
    ],
)
def test_schedules_that_are_not_one_share_for_each_resolution_are_refused(
    options: dict[str, str | int], sentence: str
) -> None:
    schedule = schedule_from_options(32, **options)  # type: ignore[arg-type]
    with pytest.raises(BlendError, match=f"--live: got {sentence}.*leave out --live to export this blend"):
        live_shares(schedule, 32)


def test_the_tools_presets_that_are_one_share_for_each_resolution_are_defaults_too(pair: LiveFamily) -> None:
    schedule = schedule_from_options(32, r_swap=8, compat="dvschultz")
    assert live_shares(schedule, 32) == [(1,), (1,), (0,), (0,)]
    models = [pair.base, pair.transfer]
    base, transfer = live_parents(models, schedule, blend(models, schedule))
    for name in ("synthesis.8.up.noise", "mapping.0.weight"):
        assert base.tensors[name] is transfer.tensors[name] is pair.transfer.tensors[name]


def test_noise_maps_that_depend_on_the_shares_are_refused_unless_all_are_equal(pair: LiveFamily) -> None:
    schedule = schedule_from_options(32, r_swap=8, compat="bryandlee:width=none")
    models = [pair.base, pair.transfer]
    with pytest.raises(BlendError, match="got noise maps that depend on the shares"):
        live_parents(models, schedule, blend(models, schedule))
    noise = {name: value for name, value in pair.base.tensors.items() if name.endswith(".noise")}
    models[1] = replace(pair.transfer, tensors={**pair.transfer.tensors, **noise})
    base, _ = live_parents(models, schedule, blend(models, schedule))
    assert np.array_equal(base.tensors["synthesis.8.up.noise"], noise["synthesis.8.up.noise"])


def test_targets_without_an_engine_for_live_models_are_refused_before_any_work() -> None:
    with pytest.raises(EngineError, match=r"--target tensorrt: got a live generator, .* export blends instead"):
        candidates_for("generator", "tensorrt", "auto", "auto", live=True)
    assert ("onnxruntime", "fp32") in candidates_for("generator", "cpu", "auto", "auto", live=True)


def test_plans_of_a_live_model_are_refused(exported: Path) -> None:
    with pytest.raises(EngineError, match="export blends instead"):
        rebuild_plans(exported, silent, PlanOptions())
    assert read_manifest(exported).plans is None
