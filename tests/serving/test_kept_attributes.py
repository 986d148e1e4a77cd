"""An edit changes the attributes that it names, and keeps the others as the face shows them."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import TinyModels, expected_pictures

from engines.contract.errors import RequestError
from serving.client import ToonifyClient
from serving.controls import Style
from serving.pipeline import Pipeline
from serving.toonifier import EngineToonifier
from serving.triton.server import TritonServer

FACES = np.random.default_rng(0).integers(100, 156, (3, 256, 256, 3), np.uint8)
# The tiny classifier reads age and smile from the green of the first two pixels.
FACES[:, 0, 0, 1], FACES[:, 0, 1, 1] = (0, 0, 255), (0, 255, 255)
Z = np.zeros(4, np.float32)


def expected(ages: list[float], smiles: list[float]) -> np.ndarray:
    shift = (np.array(ages) + np.array(smiles)) / 4
    return expected_pictures(FACES, shift=shift[:, None, None])


def test_in_process_a_smile_stays_while_age_changes(tiny_model_directories: TinyModels) -> None:
    attributes = np.array([[1, np.nan]] * 3, np.float32)
    pipeline = tiny_model_directories.pipeline()
    pictures = pipeline.run(FACES, attributes=attributes, z=np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(pictures, expected([1, 1, 1], [0, 1, 1]))
    np.testing.assert_array_equal(pipeline.read_attributes(FACES), [[0, 0], [0, 1], [1, 1]])


def test_without_a_classifier_an_edit_must_name_every_attribute(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with EngineToonifier(models.encoder, [models.generators["plain"]], models.isf) as toonifier:
        assert toonifier.read_attributes(FACES) is None
        with pytest.raises(RequestError, match="since no classifier reads them here; give all attributes, say by keep"):
            toonifier.toonify(FACES, Style(attributes={"age": 1}))
        kept = toonifier.toonify(FACES, Style(attributes={"age": 1}, keep={"smile": 0}))
        exact = toonifier.toonify(FACES, Style(attributes={"age": 1}, exact=True))
        np.testing.assert_array_equal(kept, exact)


def test_a_toonifier_keeps_what_it_reads(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    style = Style(attributes={"age": 1})
    with EngineToonifier(
        models.encoder, [models.generators["plain"]], models.isf, classifier=models.classifier
    ) as toonifier:
        shown = toonifier.read_attributes(FACES)
        named = Style(attributes={"age": 1, "smile": 1})
        np.testing.assert_array_equal(toonifier.toonify(FACES, style)[1:], toonifier.toonify(FACES[1:], named))
        np.testing.assert_array_equal(
            toonifier.render(toonifier.encode(FACES), style, shown), toonifier.toonify(FACES, style)
        )


def test_an_edit_that_names_every_attribute_runs_no_classifier(
    tiny_model_directories: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "read_attributes", lambda self, face: pytest.fail("it ran"))
    models = tiny_model_directories
    with EngineToonifier(
        models.encoder, [models.generators["plain"]], models.isf, classifier=models.classifier
    ) as toonifier:
        toonifier.toonify(FACES, Style())
        toonifier.toonify(FACES, Style(attributes={"age": 1, "smile": 0}))


def test_here_as_on_a_server_the_classifier_reads_what_keep_leaves_out(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with EngineToonifier(
        models.encoder, [models.generators["plain"]], models.isf, classifier=models.classifier
    ) as toonifier:
        kept = toonifier.toonify(FACES, Style(attributes={"age": 1}, keep={"age": 0}))
        np.testing.assert_array_equal(kept, toonifier.toonify(FACES, Style(attributes={"age": 1})))


def test_a_classifier_of_other_attributes_is_refused(tiny_model_directories: TinyModels) -> None:
    models = tiny_model_directories
    with pytest.raises(
        RequestError, match="of component isf with the attributes age, smile, expected a classifier of age"
    ):
        EngineToonifier(models.encoder, [models.generators["plain"]], models.isf, classifier=models.isf)
    with pytest.raises(RequestError, match="expected a classifier beside the ISF head"):
        EngineToonifier(models.encoder, [models.generators["plain"]], classifier=models.classifier)


@pytest.mark.triton
def test_a_server_keeps_what_its_classifier_reads(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        assert client.describe().reads_attributes
        pictures = client.toonify(FACES, attributes={"age": 1}, z=Z)
        np.testing.assert_array_equal(pictures, expected([1, 1, 1], [0, 1, 1]))
        np.testing.assert_array_equal(client.read_attributes(FACES), [[0, 0], [0, 1], [1, 1]])
        exact = client.toonify(FACES, attributes={"age": 1}, z=Z, exact=True)
        np.testing.assert_array_equal(exact, expected([1, 1, 1], [0, 0, 0]))
        told = client.toonify(FACES, attributes={"smile": 0}, keep={"age": 1}, z=Z)
        np.testing.assert_array_equal(told, expected([1, 1, 1], [0, 0, 0]))


@pytest.mark.triton
def test_codes_have_no_face_to_read_attributes_from(triton_server: TritonServer) -> None:
    with ToonifyClient(triton_server.url) as client:
        w, shown = client.encode(FACES), client.read_attributes(FACES)
        with pytest.raises(RequestError, match="'attributes': got NaN, which keeps what the face shows"):
            client.render(w, attributes={"age": 1}, z=Z)
        pictures = client.render(w, attributes={"age": 1}, z=Z, keep=shown)
        np.testing.assert_array_equal(pictures, expected([1, 1, 1], [0, 1, 1]))
