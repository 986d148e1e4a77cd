"""The training of the demo models: it runs from drawings to checkpoints and resumes after an interruption."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count, repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import random_generator
from torch import Tensor, nn

from engines.contract.errors import ExportError, ToonifyError
from export.blending import blend, schedule_from_options
from export.checkpoints import read_encoder, read_generator, read_isf, write_rosinality
from export.demo_models.dataset import Faces, drawn_faces, measures_file_of, partial_of
from export.demo_models.domains import CARTOON, MEASURES, PHOTO
from export.demo_models.encoder_training import (
    SELDOM,
    TRAINED_SIZE,
    TrainedLayers,
    directions_of_traits,
    for_storage,
    for_training,
    frequencies_of,
    missing_spread,
    new_encoder,
    scale_convolutions,
)
from export.demo_models.files import DIRECTORY, DemoFiles
from export.demo_models.generator_training import (
    Stage,
    new_generator,
    skip_pictures,
    target_from_pictures,
)
from export.demo_models.measure import RENDERINGS
from export.demo_models.restyle_training import new_corrector, restyle_of, train_restyle
from export.demo_models.sibling_training import (
    SPLIT,
    SURFACE_SHARES,
    Siblings,
    domain_of_blend,
    geometry_blends,
    surface_blends,
    train_siblings,
)
from export.demo_models.train import QUICK, Effort, train, train_all
from export.demo_models.training import Muon, Schedule, optimise, optimisers_of, orthogonalised
from export.demo_models.traits import INDEX, TRAITS, random_codes
from export.networks.encoder import AllRowsEncoder
from export.networks.generator import generator_from_weights
from export.weights import EncoderWeights

FEW_FACES = dict.fromkeys(("photos", "people", "proportions", "cartoons", "reverse", "halves", "mixed"), 16)
MINIMAL = Effort(**FEW_FACES, schedule_fraction=0.0001)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoFiles]:
    folder = tmp_path_factory.mktemp("training")
    return folder, train_all(folder / "work", folder / "weights", MINIMAL)


def test_training_writes_checkpoints_that_fit_each_other(trained: tuple[Path, DemoFiles]) -> None:
    _, files = trained
    base, transfer = read_generator(files.base), read_generator(files.transfer)
    encoder, isf = files.read_encoder(), read_isf(files.isf)
    assert encoder.first is not None
    assert base.rows == transfer.rows == encoder.rows == encoder.first.encoder.rows == isf.rows == 14
    assert base.w_dim == encoder.w_dim == isf.w_dim == len(TRAITS)
    for name in ("mapping.0.weight", "mapping.1.weight"):
        np.testing.assert_array_equal(base.tensors[name], transfer.tensors[name])
    assert not np.array_equal(base.tensors["synthesis.16.conv.weight"], transfer.tensors["synthesis.16.conv.weight"])


def test_a_finished_training_is_not_repeated(trained: tuple[Path, DemoFiles]) -> None:
    folder, files = trained
    before = {path.name: path.read_bytes() for path in files.directory.iterdir()}
    assert len(before) == 6
    states = {path: path.stat().st_mtime_ns for path in (folder / "work").iterdir()}
    train_all(folder / "work", folder / "weights", MINIMAL)
    assert {path: path.stat().st_mtime_ns for path in (folder / "work").iterdir()} == states
    assert {name: (folder / "weights" / name).read_bytes() for name in before} == before


def encoders_in(files: DemoFiles) -> tuple[EncoderWeights, EncoderWeights]:
    """The encoder, and the one that corrects its codes."""
    corrector = files.read_encoder()
    assert corrector.first is not None
    return corrector.first.encoder, corrector


def test_a_training_can_go_on_from_checkpoints(trained: tuple[Path, DemoFiles]) -> None:
    folder, files = trained
    later = train_all(folder / "more work", folder / "more weights", MINIMAL, files)
    for kind in ("base", "transfer"):
        before, after = (read_generator(getattr(each, kind)).tensors for each in (files, later))
        name = "synthesis.64.conv.weight"
        assert 0 < np.abs(after[name] - before[name]).mean() < 0.1  # of weights that began with a deviation of 1
    for encoders in zip(*(encoders_in(each) for each in (files, later)), strict=True):
        before, after = (encoder.tensors["body.7.res_layer.1.weight"] for encoder in encoders)
        assert 0 < np.abs(after - before).mean() < 0.1
    assert not (folder / "more work" / "base-0.state").exists()
    last = train_all(folder / "more work", folder / "last weights", MINIMAL, later)  # not finished already
    assert not np.array_equal(read_generator(last.base).tensors[name], read_generator(later.base).tensors[name])


def test_a_training_of_the_same_generators_and_another_encoder_is_not_finished_already(
    trained: tuple[Path, DemoFiles],
) -> None:
    folder, files = trained
    once = train_all(folder / "work", folder / "once", MINIMAL, files)
    mixed = DemoFiles(Path(shutil.copytree(files.base.parent, folder / "mixed")))
    shutil.copy(once.encoder, mixed.encoder)
    twice = train_all(folder / "work", folder / "twice", MINIMAL, mixed)
    name = "body.7.res_layer.1.weight"
    assert not np.array_equal(read_encoder(twice.encoder).tensors[name], read_encoder(once.encoder).tensors[name])


def test_a_training_goes_on_from_networks_of_its_own_sizes_only(
    trained: tuple[Path, DemoFiles], tmp_path: Path
) -> None:
    others = DemoFiles(tmp_path)
    with pytest.raises(ToonifyError, match=r"base\.pt"):
        train_all(tmp_path / "work", tmp_path / "weights", MINIMAL, others)
    for file in (trained[1].base, trained[1].transfer, trained[1].encoder):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    narrow = random_generator(16, w_dim=8)
    write_rosinality(narrow, others.transfer, force=True)
    with pytest.raises(ToonifyError, match=r"restyle\.pt"):
        train_all(tmp_path / "work", tmp_path / "weights", MINIMAL, others)
    others.restyle.write_bytes(trained[1].restyle.read_bytes())
    with pytest.raises(ExportError, match=r"transfer\.pt: got a network of other sizes, expected"):
        train_all(tmp_path / "work", tmp_path / "weights", MINIMAL, others)
    assert not (tmp_path / "work").exists()


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    def trained_for(state: Path, broken_off_at: int | None = None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network, calls = nn.Linear(2, 1), count()

        def loss(x: Tensor) -> Tensor:
            if next(calls) == broken_off_at:
                raise KeyboardInterrupt
            error: Tensor = (network(x) - 3).square().mean()
            return error

        schedule = Schedule(300, 0.1, matrix_rate=0.1)
        optimise(network, loss, repeat(torch.tensor([[1.0, 2.0]])), schedule, state, "line")
        return network.state_dict()

    whole = trained_for(tmp_path / "whole.state")
    with pytest.raises(KeyboardInterrupt):
        trained_for(tmp_path / "parts.state", broken_off_at=250)
    parts = trained_for(tmp_path / "parts.state")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_training_of_a_network_of_other_sizes_is_not_resumed(tmp_path: Path) -> None:
    def train(network: nn.Linear) -> None:
        optimise(network, lambda x: network(x).sum(), repeat(torch.ones(1, 2)), Schedule(3, 0.1), state, "line")

    state = tmp_path / "line.state"
    train(nn.Linear(2, 1))
    with pytest.raises(ExportError, match=r"line\.state: got the training of a network of other sizes.* remove this"):
        train(nn.Linear(2, 3))


def test_the_mapping_network_only_turns_a_code() -> None:
    codes = torch.from_numpy(random_codes(20, 3))
    with torch.no_grad():
        w = new_generator(0).mapping(3.0 * codes)
    torch.testing.assert_close(w @ w.T, codes @ codes.T, atol=1e-4, rtol=1e-4)
    hidden = codes[:, TRAITS.index("cloth_light")]
    torch.testing.assert_close(w.mean(1).abs(), hidden.abs() / len(TRAITS) ** 0.5, atol=1e-5, rtol=1e-4)


def test_the_last_of_the_pictures_trained_on_is_the_generators() -> None:
    network = new_generator(0)
    w = torch.randn(2, 14, len(TRAITS))
    with torch.no_grad():
        pictures = skip_pictures(network, w, 256)
        torch.testing.assert_close(pictures[-1], network.synthesise(w), atol=1e-4, rtol=1e-4)
    assert [picture.shape[-1] for picture in pictures] == [4, 8, 16, 32, 64, 128, 256]


def encoder_with_random_codes() -> AllRowsEncoder:
    """Return an encoder of the demo's size whose codes depend on the picture, as those of a trained one do."""
    encoder = new_encoder(torch.ones(len(TRAITS)), 14, 0)
    with torch.no_grad():
        encoder.get_parameter("output_layer_2.3.weight").normal_()
    return encoder


def test_an_untrained_encoder_gives_the_average_face() -> None:
    # A random linear map once kept training from its start: the error stayed that of the average face for 500 steps.
    average = torch.randn(len(TRAITS))
    with torch.no_grad():
        codes = new_encoder(average, 14, 0).eval()(torch.randn(2, 3, 256, 256))
    torch.testing.assert_close(codes, average.expand(2, 14, -1))


def test_faces_with_glasses_grey_or_light_hair_are_shown_more_seldom() -> None:
    codes = random_codes(4000, seed=1)
    frequencies = frequencies_of(codes)
    assert frequencies.sum() == pytest.approx(1)
    for attribute, share in SELDOM.items():
        assert frequencies[codes[:, INDEX[attribute]] > 0].sum() == pytest.approx(share / (1 + share), abs=0.03)
    assert frequencies @ codes[:, INDEX["hair_light"]] == pytest.approx(-0.3, abs=0.1)
    assert frequencies[codes[:, INDEX["gender"]] > 0].sum() == pytest.approx(0.5, abs=0.03)


def test_estimates_that_are_nearer_to_the_average_than_the_traits_miss_their_spread() -> None:
    generator, codes = new_generator(0), torch.from_numpy(random_codes(50, 4))
    with torch.no_grad():
        w = generator.mapping(codes)
        directions = directions_of_traits(generator, ("beard", "yaw"))
    found = w @ directions.T
    torch.testing.assert_close(found, codes[:, [INDEX["beard"], INDEX["yaw"]]], atol=1e-4, rtol=1e-4)
    assert missing_spread(w.flip(0), w, directions).item() == pytest.approx(0, abs=1e-9)
    half = w - 0.5 * found[:, :1] * directions[:1]
    expected = (found[:, 0].std() / 2).square() / len(TRAITS)
    torch.testing.assert_close(missing_spread(half, w, directions), expected)


def test_the_part_of_an_encoder_that_is_trained_gives_the_whole_encoders_row() -> None:
    encoder = encoder_with_random_codes()
    for name, value in encoder.named_buffers():
        if "running" in name:
            nn.init.uniform_(value, 0.5, 1.5)
    pictures = torch.randn(2, 3, 256, 256)
    trained_layers = TrainedLayers(encoder.eval())
    with torch.no_grad():
        torch.testing.assert_close(encoder(pictures), (trained_layers(pictures) + 1)[:, None].expand(-1, 14, -1))


def test_a_corrector_begins_as_the_encoder_and_changes_no_code() -> None:
    encoder = encoder_with_random_codes()
    corrector = new_corrector(encoder.eval(), 0).eval()
    face, other = torch.randn(2, 2, 3, 256, 256)
    layers, own = TrainedLayers(encoder), TrainedLayers(corrector)
    scale_convolutions(layers, for_training)
    with torch.no_grad():
        codes = encoder(face)
        assert torch.equal(restyle_of(encoder, corrector, new_generator(0))(face), codes)
        # One half of the stem reads the face alone, and the other nothing where both pictures are equal.
        stem, expected = (each.stem.get_submodule("0") for each in (own, layers))
        with_other, with_itself = (stem(torch.cat([face, picture], 1)) for picture in (other, face))
        torch.testing.assert_close(with_other[:, :16], expected(face), atol=1e-5, rtol=1e-5)
        assert with_itself[:, 16:].abs().max() < 1e-4
        assert with_other[:, 16:].abs().max() > 1
    before, after = (dict(each.named_parameters())["units.3.res_layer.1.weight"] for each in (layers, own))
    assert torch.equal(before, after)


def test_only_the_corrector_is_trained(tmp_path: Path) -> None:
    faces = drawn_faces(tmp_path / "faces.npy", 16, 0, PHOTO)
    encoder, generator = encoder_with_random_codes(), new_generator(0)
    restyle = restyle_of(encoder, new_corrector(encoder.eval(), 0), generator)
    before = {name: value.clone() for name, value in restyle.state_dict().items()}
    train_restyle(restyle, faces, faces, Schedule(2, 1e-3), tmp_path / "restyle.state", seed=0, compiled=False)
    changed = {name for name, value in restyle.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith("encoder.") for name in changed)
    assert "encoder.output_layer_2.3.weight" in changed
    with torch.no_grad():
        face = torch.randn(4, 3, 256, 256)
        correction = (restyle(face) - encoder(face))[:, 0] @ directions_of_traits(generator, ("age", "yaw")).T
    assert correction[:, 0].abs().max() < 1e-5
    assert correction[:, 1].abs().max() > 1e-4


def test_an_encoder_s_convolutions_can_be_scaled_for_storage_and_for_training_without_a_change() -> None:
    trained_layers = TrainedLayers(encoder_with_random_codes()).eval()
    for name, value in trained_layers.named_buffers():
        if "running" in name:
            nn.init.uniform_(value, 0.5, 1e5)
    pictures = torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        before = trained_layers(pictures)
        scale_convolutions(trained_layers, for_storage)
        torch.testing.assert_close(trained_layers(pictures), before, atol=1e-4, rtol=1e-4)
    variances = [
        value for name, value in trained_layers.named_buffers() if name.endswith(("4.running_var", "1.running_var"))
    ]
    assert variances
    assert all(value.max() < 1 for value in variances)
    weights = dict(trained_layers.named_parameters())["units.0.res_layer.3.weight"].detach()
    assert weights.square().mean().sqrt().item() < 0.001  # a change by Muon would be larger
    with torch.no_grad():
        scale_convolutions(trained_layers, for_training)
        torch.testing.assert_close(trained_layers(pictures), before, atol=1e-4, rtol=1e-4)
    assert weights.square().mean().sqrt().item() == pytest.approx(TRAINED_SIZE)


def test_a_convolution_of_zeros_stays_one_when_it_is_scaled() -> None:
    trained_layers = TrainedLayers(encoder_with_random_codes()).eval()
    with torch.no_grad():
        trained_layers.units[0].get_submodule("res_layer.3").get_parameter("weight").zero_()
        before = trained_layers(torch.ones(1, 3, 256, 256))
        scale_convolutions(trained_layers, for_training)
        torch.testing.assert_close(trained_layers(torch.ones(1, 3, 256, 256)), before, atol=1e-4, rtol=1e-4)


def test_muon_makes_all_directions_of_a_gradient_equally_strong() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(6, 4) @ torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0])) @ torch.randn(4, 20)
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert (values[:4] > 0.6).all()
    assert (values < 1.3).all()
    torch.testing.assert_close(orthogonalised(matrix.T), orthogonalised(matrix).T)


def test_a_change_by_muon_has_the_root_mean_square_of_its_rate() -> None:
    weight, unused = nn.Parameter(torch.zeros(8, 3, 3, 3)), nn.Parameter(torch.ones(2, 2))
    weight.grad = 1e-6 * torch.randn(8, 3, 3, 3)
    Muon([weight, unused], 0.02).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-4)
    assert (unused == 1).all()  # it has no gradient


def test_matrices_and_convolutions_are_left_to_muon_where_a_schedule_has_a_rate_for_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    parameters = list(network.parameters())
    muon, adam = optimisers_of(parameters, Schedule(1, 0.1, matrix_rate=0.1))
    assert [each.ndim for each in muon.param_groups[0]["params"]] == [4, 2]
    assert [each.ndim for each in adam.param_groups[0]["params"]] == [1, 1, 1, 1]
    (only,) = optimisers_of(parameters, Schedule(1, 0.1))
    assert only.param_groups[0]["params"] == parameters


def test_siblings_share_the_surface_of_photographs_and_each_has_its_own_geometry(tmp_path: Path) -> None:
    base = new_generator(0)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    faces = drawn_faces(tmp_path / "faces.npy", 8, 0, PHOTO)

    def tiny(_: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return (Stage(64, 4, Schedule(2, 1e-2)),)

    others = replace(faces, pictures=255 - faces.pictures)
    of_blends = dict.fromkeys(RENDERINGS, others) | {PHOTO: faces}
    transfer = train_siblings(base, None, of_blends, tiny, tmp_path, seed=0, compiled=False).state_dict()
    after = base.state_dict()
    # Layers above 64 had no part in these stages.
    assert changed_resolutions(before, after) == {"4", "8", "16", "32", "64"}
    assert changed_resolutions(after, transfer) == {"4", "8", "16", "32", "64"}
    geometry = torch.load(tmp_path / "geometry-0.state", weights_only=True)["average"]
    surface = torch.load(tmp_path / "surface-0.state", weights_only=True)["average"]
    base_then, transfer_then, base_now, transfer_now = (
        {key.removeprefix(network): value for key, value in state.items() if key.startswith(network)}
        for state in (geometry, surface)
        for network in ("base.", "transfer.")
    )
    assert changed_resolutions(before, transfer_then) == {"4", "8", "16"}  # under the base's upper half
    assert changed_resolutions(base_then, base_now) == changed_resolutions(transfer_then, transfer_now) == {"32", "64"}


def test_both_geometries_are_trained_under_the_bases_upper_half() -> None:
    siblings = Siblings(new_generator(0), new_generator(1))
    base, proportions = (blend.network for blend in geometry_blends(siblings))
    assert base is siblings.base
    for resolution, block in proportions.blocks:
        assert block is (siblings.base if resolution > SPLIT else siblings.transfer).synthesis[str(resolution)]


def test_blends_in_training_are_those_of_an_export(trained: tuple[Path, DemoFiles]) -> None:
    _, files = trained
    weights = [read_generator(files.base), read_generator(files.transfer)]
    siblings = Siblings(*(generator_from_weights(each) for each in weights))
    networks = {(each.domain, each.compared_above): each.network for each in surface_blends(siblings)}
    assert networks.pop((PHOTO, SPLIT)) is siblings.base
    assert networks.pop((CARTOON, SPLIT)) is siblings.transfer
    w = torch.randn(1, siblings.base.rows, len(TRAITS))
    for r_swap in SURFACE_SHARES:
        for reverse in (False, True):
            picture = networks.pop((domain_of_blend(r_swap, reverse=reverse), r_swap)).synthesise(w)
            schedule = schedule_from_options(256, r_swap, reverse=reverse)
            expected = generator_from_weights(blend(weights, schedule).weights).synthesise(w)
            torch.testing.assert_close(picture, expected, atol=1e-5, rtol=1e-5)
    assert not networks


def test_a_blend_at_32_shows_half_of_the_lower_layers_surface_and_higher_ones_all_of_it() -> None:
    blends = surface_blends(Siblings(new_generator(0), new_generator(1)))
    textures = {
        (blend.domain.structure, blend.compared_above): blend.domain.texture
        for blend in blends
        if blend.compared_above > SPLIT
    }
    assert textures == {(1, 32): 0.5, (1, 64): 1, (1, 128): 1, (0, 32): 0.5, (0, 64): 0, (0, 128): 0}


def changed_resolutions(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    return {name.split(".")[1] for name in changed if name.startswith("synthesis")}


def test_an_interrupted_drawing_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.demo_models.dataset._CHUNK", 2)
    whole = drawn_faces(tmp_path / "whole.npy", 6, 0, PHOTO)
    file = tmp_path / "parts.npy"
    pictures = np.array(whole.pictures)
    pictures[0] = 7  # those that are there are not drawn again
    pictures[2:] = 0
    np.save(tmp_path / "drawn.npy", pictures)
    (tmp_path / "drawn.npy").rename(partial_of(file))
    np.save(measures_file_of(file), whole.measures[:2])
    parts = drawn_faces(file, 6, 0, PHOTO)
    assert (parts.pictures[0] == 7).all()
    np.testing.assert_array_equal(parts.pictures[1:], whole.pictures[1:])
    np.testing.assert_array_equal(parts.measures, whole.measures)
    assert sorted(path.name for path in tmp_path.glob("parts*")) == ["parts.measures.npy", "parts.npy"]


def store(file: Path, pictures: Path, faces: Faces, measured: int) -> None:
    """Store faces as drawings of ``file``, in a file of their own choice, with the measures of some of them."""
    np.save(pictures.with_suffix(".npy"), faces.pictures)
    pictures.with_suffix(".npy").rename(pictures)
    np.save(measures_file_of(file), faces.measures[:measured])


def test_drawings_that_are_there_are_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.demo_models.dataset._draw", None)
    blank = Faces(random_codes(3, 0), np.full((3, 256, 256, 3), 7, np.uint8), np.ones((3, len(MEASURES)), np.float32))
    # The second was interrupted between its last drawing and its name, which an earlier file has.
    np.save(tmp_path / "late.npy", blank.pictures[:2])
    for file, pictures in ((named := tmp_path / "named.npy", named), (late := tmp_path / "late.npy", partial_of(late))):
        store(file, pictures, blank, 3)
        found = drawn_faces(file, 3, 0, PHOTO)
        np.testing.assert_array_equal(found.pictures, blank.pictures)
        np.testing.assert_array_equal(found.measures, blank.measures)


def test_drawings_of_another_number_of_faces_are_drawn_again(tmp_path: Path) -> None:
    blank = Faces(random_codes(4, 0), np.zeros((4, 256, 256, 3), np.uint8), np.zeros((4, len(MEASURES)), np.float32))
    whole, part = tmp_path / "whole.npy", tmp_path / "part.npy"
    store(whole, whole, blank, 4)
    store(part, partial_of(part), blank, 1)
    for file in (whole, part):
        faces = drawn_faces(file, 2, 0, PHOTO)
        assert faces.pictures.shape == (2, 256, 256, 3)
        assert faces.pictures.reshape(2, -1).any(1).all()
        assert faces.measures[:, :2].all()


def test_pictures_that_were_not_drawn_do_not_pass_for_drawn_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "faces.npy"
    np.save(measures_file_of(file), np.ones((2, len(MEASURES)), np.float32))  # whose pictures were removed
    with monkeypatch.context() as broken:
        broken.setattr("export.demo_models.dataset._draw", None)
        with pytest.raises(TypeError):
            drawn_faces(file, 2, 0, PHOTO)
    assert partial_of(file).exists()
    assert drawn_faces(file, 2, 0, PHOTO).pictures.reshape(2, -1).any(1).all()


def test_a_quick_training_leaves_the_packages_weights_and_a_whole_trainings_folder_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Path, Path, Effort]] = []
    monkeypatch.setattr("export.demo_models.train.train_all", lambda *given: calls.append(given[:3]))
    for quick in (True, False):
        train(quick=quick)
    (work, output, effort), (whole, weights, _) = calls
    assert effort == QUICK
    assert output == work / "weights"
    assert work != whole
    assert weights == DIRECTORY


def test_targets_are_averages_in_minus_one_to_one() -> None:
    picture = np.zeros((1, 256, 256, 3), np.uint8)
    picture[:, :, ::2] = 255
    target = target_from_pictures(picture, 64)
    assert target.shape == (1, 3, 64, 64)
    assert target.abs().max() < 0.01


def test_a_written_generator_gives_the_pictures_it_was_trained_to(trained: tuple[Path, DemoFiles]) -> None:
    _, files = trained
    network = generator_from_weights(read_generator(files.base))
    w = network.mapping(torch.from_numpy(random_codes(1, 9)))
    assert network.synthesise(w[:, None].expand(-1, 14, -1)).isfinite().all()
