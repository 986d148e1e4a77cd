"""The projector: nearer to a face than the encoder, and resumed as if it had never been interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generators import random_generator
from lpips_files import write_lpips
from stylegan1_files import genforce_file, variables
from torch import Tensor
from torch.nn import functional

from engines.contract.errors import EngineError, ExportError
from export.checkpoints import read_encoder, read_generator
from export.demo_face import demo_face
from export.demo_models.files import DemoFiles
from export.measures.lpips import read_lpips
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import generator_from_weights, picture_from_output
from export.networks.restyle import Restyle, face_encoder_from_weights
from export.parity import parity
from export.projection import run
from export.projection.objective import Objective
from export.projection.projector import HALVINGS, PATIENCE, Projector, Search
from export.projection.run import Projection, Request, project, reader_of_one_picture
from export.random_weights import random_encoder

FACE = demo_face()
GENERATOR = random_generator(32, 4)
ENCODER = random_encoder((4, 4, 4, 8), 0, latent_avg=np.zeros((GENERATOR.rows, GENERATOR.w_dim), np.float32))
FROM_ENCODER, FROM_AVERAGE = Request(FACE, GENERATOR, ENCODER, steps=13), Request(FACE, GENERATOR, steps=13, seed=7)


@pytest.fixture(autouse=True)
def often_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the search every four steps, since steps take time."""
    monkeypatch.setattr(run, "SAVE_EVERY", 4)


def ignored(phrase: str) -> None:
    """Report nothing."""


def psnr_at_face_size(image: Tensor) -> float:
    """The PSNR in dB of the 8-bit picture of an image [1, 3, 256, 256] against the face."""
    return parity(picture_from_output(image)[0].numpy(), FACE).psnr


def test_a_drawn_face_is_met_by_3_db_more_than_by_the_encoder() -> None:
    files = DemoFiles()
    weights, encoder_weights = read_generator(files.base), read_encoder(files.encoder)
    projection = project(Request(FACE, weights, encoder_weights, steps=10), ignored)
    generator, encoder = generator_from_weights(weights), encoder_from_weights(encoder_weights)
    with torch.no_grad():
        encoded = generator.synthesise(encoder(input_from_face(torch.from_numpy(FACE[None]))))
        projected = generator.synthesise(torch.from_numpy(projection.code))
    # Measured 25.9 dB and 30.8 dB; 32.4 dB after 60 steps.
    assert psnr_at_face_size(projected) > psnr_at_face_size(encoded) + 3
    assert projection.psnr == pytest.approx(psnr_at_face_size(projected), abs=0.1)
    assert projection.start_psnr == pytest.approx(psnr_at_face_size(encoded), abs=0.1)


def test_a_search_begins_at_a_corrected_code_and_compares_the_first_encoders_features() -> None:
    files = DemoFiles()
    both, first = files.read_encoder(), read_encoder(files.encoder)
    requests = [Request(FACE, read_generator(files.base), encoder, steps=2) for encoder in (first, both)]
    assert requests[0].key != requests[1].key
    alone, corrected = (project(request, ignored) for request in requests)
    assert corrected.start_psnr > alone.start_psnr + 0.5  # measured: 23.8 and 25.4 dB
    network = face_encoder_from_weights(both)
    assert isinstance(network, Restyle)
    assert network.first is not None
    assert reader_of_one_picture(network) is network.first.encoder
    assert reader_of_one_picture(Restyle(network.encoder, network.decoder, 2)) is None


def interrupted_at(step: int, request: Request, progress: Path) -> None:
    """Project until a step, as if the user pressed Ctrl-C there."""

    def report(phrase: str) -> None:
        if phrase.startswith(f"step {step}:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project(request, report, progress=progress)


@pytest.mark.parametrize("request_", [FROM_ENCODER, FROM_AVERAGE], ids=["from the encoder", "from the average"])
def test_a_resumed_search_equals_an_uninterrupted_one(tmp_path: Path, request_: Request) -> None:
    progress = tmp_path / "face.progress"
    interrupted_at(8, request_, progress)
    assert progress.exists()
    resumed = project(request_, ignored, progress=progress, resume=True)
    whole = project(request_, ignored)
    np.testing.assert_array_equal(resumed.code, whole.code)
    assert replace(resumed, code=whole.code) == whole
    assert whole.steps == 13


def test_a_search_from_the_average_depends_on_its_seed_and_comes_nearer() -> None:
    short = replace(FROM_AVERAGE, steps=12)
    first, again, other = (project(replace(short, seed=seed), ignored) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.code, again.code)
    assert not np.array_equal(first.code, other.code)
    assert first.psnr > first.start_psnr


def test_a_stylegan1_generator_is_projected_into_too(tmp_path: Path) -> None:
    generator = read_generator(genforce_file(tmp_path / "v1.pth", variables()))
    assert project(Request(FACE, generator, steps=2), ignored).code.shape == (1, generator.rows, generator.w_dim)


def test_more_steps_can_be_added_to_a_search_from_the_encoder(tmp_path: Path) -> None:
    progress = tmp_path / "face.progress"
    interrupted_at(8, FROM_ENCODER, progress)
    longer = replace(FROM_ENCODER, steps=15)
    assert project(longer, ignored, progress=progress, resume=True).steps == 15


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an interrupted search."""
    progress = tmp_path_factory.mktemp("search") / "face.progress"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SAVE_EVERY", 1)
        interrupted_at(2, FROM_ENCODER, progress)
    return progress


@pytest.mark.parametrize(
    "change", [{"face": 255 - FACE}, {"generator": random_generator(32, 4, seed=1)}, {"encoder": None}]
)
def test_the_search_for_another_face_is_not_continued(left_behind: Path, change: dict[str, Any]) -> None:
    other = replace(FROM_ENCODER, **change)
    with pytest.raises(ExportError, match="the search for another face, or with other models or options"):
        project(other, ignored, progress=left_behind, resume=True)
    assert left_behind.exists()


@pytest.mark.parametrize("content", [None, b"", b"not a search", b"\x80\x04."])
def test_what_is_no_search_is_not_continued(tmp_path: Path, content: bytes | None) -> None:
    progress = tmp_path / "face.progress"
    if content is not None:
        progress.write_bytes(content)
    with pytest.raises(ExportError, match=r"no file of an interrupted search, .* give --force in place"):
        project(FROM_ENCODER, ignored, progress=progress, resume=True)


class Flat(Objective):
    """A distance that no code improves."""

    def __call__(self, image: Tensor) -> Tensor:
        return 1 + 0 * image.mean()


def test_a_search_ends_when_it_no_longer_improves() -> None:
    generator = generator_from_weights(GENERATOR)
    start = generator.mapping.w_avg.expand(1, GENERATOR.rows, -1)
    objective = Flat(input_from_face(torch.from_numpy(FACE[None])))
    projector = Projector(generator, objective, Search(start, 1.0, steps=1000))
    while not projector.done:
        projector.advance()
    assert projector.step == 1 + HALVINGS * (PATIENCE + 1)
    torch.testing.assert_close(projector.best, start, rtol=0, atol=0)


def pixel_distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean squared difference over the sizes 256, 128, 64, 32 and 16."""
    sizes = (256, 128, 64, 32, 16)
    shrunk = [[functional.interpolate(x, (size, size), mode="area") for size in sizes] for x in (a, b)]
    return torch.stack([functional.mse_loss(x, y) for x, y in zip(*shrunk, strict=True)]).mean()


@pytest.mark.usefixtures("no_gradients")
def test_the_distance_is_of_pixels_and_of_the_encoders_features_or_lpips(tmp_path: Path) -> None:
    face = input_from_face(torch.from_numpy(FACE[None]))
    image = functional.interpolate(-face, scale_factor=2)
    pixels = pixel_distance(-face, face)
    torch.testing.assert_close(Objective(face)(image), pixels)
    encoder = encoder_from_weights(ENCODER)
    pairs = list(zip(encoder.maps(-face), encoder.maps(face), strict=True))
    features = sum(float(((a - b) ** 2).mean() / (b**2).mean()) for a, b in pairs) / 3
    torch.testing.assert_close(Objective(face, encoder=encoder)(image), pixels + 0.1 * features)
    lpips = read_lpips(*write_lpips(tmp_path, "alexnet"))
    expected = pixels + lpips(-face, face)[0]
    torch.testing.assert_close(Objective(face, lpips=lpips, encoder=encoder)(image), expected)


def test_lpips_has_gradients_that_bring_the_code_nearer(tmp_path: Path) -> None:
    lpips = read_lpips(*write_lpips(tmp_path, "alexnet"))
    projection = project(replace(FROM_ENCODER, lpips=(lpips, "hash"), steps=6), ignored)
    assert isinstance(projection, Projection)
    assert projection.psnr > projection.start_psnr


def without_mapping() -> Request:
    tensors = {name: value for name, value in GENERATOR.tensors.items() if not name.startswith("mapping.")}
    return Request(FACE, replace(GENERATOR, tensors=tensors))


@pytest.mark.parametrize(
    ("request_", "error", "sentence"),
    [
        (
            replace(FROM_ENCODER, generator=random_generator(64, 4)),
            ExportError,
            "got codes of 8 rows of 16, expected 10 rows of 16, as .* takes; give the encoder that was trained for",
        ),
        (replace(FROM_AVERAGE, start="encoder"), ExportError, "--start encoder: got no encoder, expected one"),
        (without_mapping(), ExportError, "a generator without a mapping network, whose average code is unknown"),
        (replace(FROM_AVERAGE, device="cuda"), EngineError, "--device cuda: got no GPU that PyTorch finds"),
    ],
)
def test_what_cannot_be_projected_is_refused(
    monkeypatch: pytest.MonkeyPatch, request_: Request, error: type[Exception], sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=sentence):
        project(request_, ignored)
