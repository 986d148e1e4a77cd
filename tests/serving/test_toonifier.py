"""Both toonifiers, the one with engines and the one with a server, make the same pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import TinyModels, expected_pictures, expected_samples, write_encoder

from engines import read_manifest
from engines.contract.errors import RequestError
from engines.model_directory import Sizes, SourceFile, write_manifest
from serving.client import AsyncToonifyClient, ToonifyClient
from serving.condition import z_from_seed
from serving.controls import Style
from serving.served_toonifier import ServedToonifier
from serving.toonifier import EngineToonifier
from serving.triton.server import TritonServer

FACES = np.random.default_rng(5).integers(0, 256, (11, 256, 256, 3), np.uint8)
STYLES = {
    "default": Style(),
    "psi": Style(psi=0.5),
    "model": Style(model="inverse"),
    "attributes": Style(attributes={"smile": 1.0}, seed=3),
    "kept in part": Style(attributes={}, keep={"smile": 0.9}),
    "kept, and named too": Style(attributes={"age": 1.0, "smile": float("nan")}, keep={"age": 0.0}),
    "rows": Style(attributes={"age": 0.5}, row_strength=(1, 0, 0.5, 0, 1, 0, 0, 2), strength=0.5, model="inverse"),
}


@pytest.fixture
def engines(tiny_model_directories: TinyModels) -> Iterator[EngineToonifier]:
    models = tiny_model_directories
    with EngineToonifier(
        models.encoder, [*models.generators.values()], models.isf, classifier=models.classifier
    ) as toonifier:
        yield toonifier


@pytest.fixture
def served(triton_server: TritonServer) -> Iterator[ServedToonifier]:
    with ServedToonifier(ToonifyClient(triton_server.url)) as toonifier:
        yield toonifier


def test_a_style_is_what_the_controls_say(engines: EngineToonifier) -> None:
    row_strength = (1, 0) * 4
    style = Style({"age": 0.5}, 4, strength=0.5, psi=0.5, row_strength=row_strength, model="inverse", exact=True)
    shift = 0.5 * np.array([1, 0] * 4)[:, None] * (0.5 + z_from_seed(4, 4)[0]) / 4
    np.testing.assert_array_equal(
        engines.toonify(FACES[:2], style), expected_pictures(FACES[:2], gain=-1, psi=0.5, shift=shift)
    )


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_toonify_is_encode_and_then_render(engines: EngineToonifier, style: Style) -> None:
    shown = engines.read_attributes(FACES)
    np.testing.assert_array_equal(engines.render(engines.encode(FACES), style, shown), engines.toonify(FACES, style))


@pytest.mark.parametrize("model", [None, "inverse"])
def test_the_codes_of_random_faces_are_rendered_like_others(engines: EngineToonifier, model: str | None) -> None:
    style = Style({"age": 1, "smile": 0}, seed=4, psi=0.5, model=model)
    w = engines.sample_codes([3, 4], style)
    shift = (1 + z_from_seed(4, 4)[0]) / 4
    expected = expected_samples([3, 4], gain=-1 if model else 1, psi=0.5, shift=shift)
    np.testing.assert_array_equal(engines.render(w, style), expected)


def test_a_generator_without_a_mapping_network_draws_none(engines: EngineToonifier) -> None:
    with pytest.raises(RequestError, match="small: got a generator without a mapping network"):
        engines.sample_codes([3], Style(model="small"))


@pytest.mark.triton
def test_the_server_draws_the_codes_of_the_engines(engines: EngineToonifier, served: ServedToonifier) -> None:
    for style in (Style(), Style(model="inverse")):
        np.testing.assert_array_equal(served.sample_codes([1, 2], style), engines.sample_codes([1, 2], style))


@pytest.mark.triton
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_the_server_gives_the_pictures_of_the_engines_bit_for_bit(
    engines: EngineToonifier, served: ServedToonifier, style: Style
) -> None:
    expected = engines.toonify(FACES, style)
    codes = served.encode(FACES)
    np.testing.assert_array_equal(codes, engines.encode(FACES))
    np.testing.assert_array_equal(served.toonify(FACES, style), expected)
    shown = served.read_attributes(FACES)
    assert shown is not None
    np.testing.assert_array_equal(shown, engines.read_attributes(FACES))
    np.testing.assert_array_equal(served.render(codes, style, shown), expected)


def test_a_light_encoder_gives_the_first_rows_of_the_same_codes(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    models = tiny_model_directories
    light = write_encoder(tmp_path / "light", Sizes(resolution=32, w_dim=16, rows=7))
    with EngineToonifier(models.encoder, [models.generators["plain"]], light_encoder=light) as toonifier:
        whole = toonifier.encode(FACES)
        np.testing.assert_array_equal(toonifier.encode(FACES, light=True), whole[:, :7])
        with pytest.raises(RequestError, match="tensor 'face'"):
            toonifier.encode(FACES[:, :8], light=True)
    with EngineToonifier(models.encoder, [models.generators["plain"]]) as toonifier:
        np.testing.assert_array_equal(toonifier.encode(FACES, light=True), whole)


def test_models_for_other_codes_are_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    light = write_encoder(tmp_path / "light", Sizes(resolution=32, w_dim=16, rows=7))
    with pytest.raises(
        RequestError, match="plain: got codes of 8 rows of 16, expected 7 rows of 16, as encoder encoder"
    ):
        EngineToonifier(light, [tiny_model_directories.generators["plain"]])


def test_a_light_encoder_of_another_checkpoint_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    models = tiny_model_directories
    generators = [models.generators["plain"]]
    with pytest.raises(RequestError, match=r"plain: got a generator, expected an encoder of the same checkpoint as"):
        EngineToonifier(models.encoder, generators, light_encoder=generators[0])
    other = write_encoder(tmp_path / "other", Sizes(resolution=32, w_dim=16, rows=7))
    manifest = read_manifest(other)
    source = SourceFile(role="encoder", file="another.pt", format="", sha256="0")
    write_manifest(other, manifest.model_copy(update={"sources": (source,)}))
    with pytest.raises(RequestError, match="got an encoder of another checkpoint, expected an encoder of the same"):
        EngineToonifier(models.encoder, generators, light_encoder=other)


@pytest.mark.triton
def test_asyncio_clients_encode_and_render_too(triton_server: TritonServer) -> None:
    async def rendered() -> NDArray[np.uint8]:
        async with AsyncToonifyClient(triton_server.url) as client:
            return await client.render(await client.encode(FACES[0]), psi=0.5)

    np.testing.assert_array_equal(asyncio.run(rendered()), expected_pictures(FACES[:1], psi=0.5))


@pytest.mark.triton
def test_codes_of_another_form_are_refused_before_they_travel(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        for rows, width in ((9, 16), (8, 512)):
            with pytest.raises(RequestError, match=f"codes: got {rows} rows of {width}, expected 8 rows of 16, as the"):
                client.render(np.zeros((1, rows, width), np.float32))
        with pytest.raises(RequestError, match="tensor 'w': got a value that is NaN"):
            client.render(np.full((1, 8, 16), np.nan, np.float32))


@pytest.mark.triton
def test_a_step_of_an_ensemble_is_no_model_to_toonify_with(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        client.encode(FACES[:1])
        with pytest.raises(RequestError, match="model 'encoder': got a model that does not state its resolution"):
            client.toonify(FACES[:1], model="encoder")


def test_threads_share_a_toonifier(engines: EngineToonifier) -> None:
    with ThreadPoolExecutor(4) as threads:
        pictures = [*threads.map(engines.toonify, np.split(FACES, 11), repeat(Style()))]
    np.testing.assert_array_equal(np.concatenate(pictures), expected_pictures(FACES))


@pytest.mark.triton
def test_a_style_of_an_unknown_generator_is_refused(engines: EngineToonifier, served: ServedToonifier) -> None:
    with pytest.raises(RequestError, match="model 'other': got no generator of that name, expected one of plain, inv"):
        engines.toonify(FACES[:1], Style(model="other"))
    with pytest.raises(RequestError, match="unknown model: 'toonify_other' is not found"):
        served.toonify(FACES[:1], Style(model="other"))


def test_faces_of_another_form_are_refused(engines: EngineToonifier) -> None:
    with pytest.raises(RequestError, match=r"tensor 'face': got uint8 \[1, 128, 256, 3\]"):
        engines.toonify(FACES[:1, :128], Style())


@pytest.mark.parametrize("w", [[[0.0]], np.float32(0), np.zeros((8, 16), np.float32)], ids=["list", "number", "2-D"])
def test_codes_that_are_no_array_of_three_dimensions_are_refused(engines: EngineToonifier, w: Any) -> None:
    with pytest.raises(RequestError, match=r"^tensor 'w': got .*, expected codes float32 \[N,L,D\]"):
        engines.render(w, Style())


def test_an_attribute_that_the_model_lacks_is_refused(engines: EngineToonifier) -> None:
    with pytest.raises(RequestError, match="attribute 'glasses': got no attribute of the model, expected one of age"):
        engines.toonify(FACES[:1], Style(attributes={"glasses": 1}))


def test_a_model_without_isf_head_gives_its_pictures_for_every_seed(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with EngineToonifier(models.encoder, [models.generators["plain"]]) as toonifier:
        pictures = toonifier.toonify(FACES, Style(seed=7, strength=0.5))
    np.testing.assert_array_equal(pictures, expected_pictures(FACES))


def test_generators_need_names_of_their_own(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with pytest.raises(RequestError, match="generators: got none, expected at least one"):
        EngineToonifier(models.encoder, [])
    with pytest.raises(
        RequestError, match="generators: got plain, plain, expected at least one, each with a name of its own"
    ):
        EngineToonifier(models.encoder, [models.generators["plain"]] * 2)
