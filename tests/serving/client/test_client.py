"""The clients against a server in this process that fails on request; every test runs with both clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from blocking_client import Blocking
from fake_triton import GEOMETRY, FakeTriton, toonified
from numpy.typing import NDArray

from engines.contract.errors import AnswerError, RequestError, ServerError
from engines.contract.tensors import Geometry, mapping_signature, sample_signature
from serving.client import AsyncToonifyClient, ToonifyClient, retries

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
WITHDRAWN = (grpc.StatusCode.NOT_FOUND, "'toonify' has no available versions")


@pytest.fixture(params=[ToonifyClient, Blocking], ids=["blocking", "asyncio"])
def client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.0)


@pytest.fixture
def client(client_class: Any, fake: FakeTriton) -> Iterator[Any]:
    with client_class(fake.url, timeout=20) as client:
        yield client


def random_faces(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 256, 256, 3), np.uint8)


def test_pictures_are_the_faces_in_their_order(client: Any) -> None:
    faces = random_faces(3)
    pictures = client.toonify(faces)
    np.testing.assert_array_equal(pictures, toonified(faces))
    pictures[:] = 0  # the caller owns the array and may write to it


def test_one_face_needs_no_batch_axis(client: Any) -> None:
    face = random_faces(1)[0]
    np.testing.assert_array_equal(client.toonify(face), toonified(face[None]))


def test_messages_may_be_larger_than_the_four_mebibytes_of_grpc(client: Any, fake: FakeTriton) -> None:
    assert client.toonify(random_faces(8)).nbytes > 4 * 2**20
    jpegs = [bytes(3 * 2**20), b"\xff" * 2**21]
    assert client.toonify_jpeg(jpegs) == jpegs
    assert len(fake.requests) == 2


def test_a_batch_beyond_the_largest_is_sent_in_parts_and_put_together(client: Any, fake: FakeTriton) -> None:
    faces = random_faces(19)
    seeds = np.arange(19)
    np.testing.assert_array_equal(
        client.toonify(faces, attributes={"age": 1}, exact=True, seed=seeds), toonified(faces)
    )
    assert [len(request["face"]) for request in fake.requests] == [8, 8, 3]
    np.testing.assert_array_equal(np.concatenate([request["seed"] for request in fake.requests])[:, 0], seeds)


def test_jpegs_come_back_in_order_with_zeros_at_their_end(client: Any) -> None:
    jpegs = [b"\xff\xd8" + bytes([k, 0, 0]) for k in range(10)]
    assert client.toonify_jpeg(jpegs) == jpegs
    assert client.toonify_jpeg(jpegs[0]) == jpegs[:1]


def test_controls_travel_as_tensors_for_every_face(client: Any, fake: FakeTriton) -> None:
    strength = np.linspace(0, 1, GEOMETRY.rows)
    edit = {"age": 1, "gender": 0.5}
    client.toonify(random_faces(2), attributes=edit, exact=True, row_strength=strength, psi=[0.5, 0.7])
    (request,) = fake.requests
    np.testing.assert_array_equal(request["attributes"], [[0.5, 0, 1, 0]] * 2)
    np.testing.assert_array_equal(request["row_strength"], [strength.astype(np.float32)] * 2)
    np.testing.assert_array_equal(request["psi"], np.array([[0.5], [0.7]], np.float32))
    assert "seed" not in request
    assert "z" not in request


def test_a_failure_before_anything_was_computed_is_tried_again(client: Any, fake: FakeTriton) -> None:
    # The batch has eight faces because gRPC does not retry requests beyond 256 KiB by default.
    fake.failures.extend([UNAVAILABLE] * 2)
    faces = random_faces(8)
    np.testing.assert_array_equal(client.toonify(faces), toonified(faces))
    assert next(fake.attempts) == 3


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_stays_unavailable_is_given_up_in_one_sentence(client: Any, fake: FakeTriton) -> None:
    fake.failures.extend([UNAVAILABLE] * 10)
    with pytest.raises(
        ServerError, match=r"^server at 127\.0\.0\.1:\d+: got UNAVAILABLE: Exceeds maximum queue size, expected .*\.$"
    ):
        client.toonify(random_faces(1))
    assert next(fake.attempts) == retries.ATTEMPTS


@pytest.mark.usefixtures("no_pauses")
def test_no_server_at_all_is_one_sentence_with_its_address(client_class: Any) -> None:
    with client_class("127.0.0.1:9") as client:  # the discard port, where nothing listens
        assert not client.is_ready(timeout=0.2)
        with pytest.raises(
            ServerError, match=r"^server at 127\.0\.0\.1:9: got UNAVAILABLE: .* toonify serve\.$"
        ) as info:
            client.toonify(random_faces(1))
    assert "\n" not in str(info.value)


def test_a_late_answer_is_not_waited_for(client: Any, fake: FakeTriton) -> None:
    client.describe()
    fake.delay = 0.4
    with pytest.raises(RequestError, match=r"no answer within 0\.2 s, expected an answer in time"):
        client.toonify(random_faces(1), timeout=0.2)


def test_the_deadline_is_that_of_all_batches_together(client: Any, fake: FakeTriton) -> None:
    client.describe()
    fake.delay = 0.2
    with pytest.raises(RequestError, match=r"no answer within 0\.5 s"):
        client.toonify(random_faces(40), timeout=0.5)
    assert len(fake.requests) < 5


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "wrong shape", RequestError),
        (grpc.StatusCode.NOT_FOUND, "unknown input", RequestError),
        (grpc.StatusCode.INTERNAL, "broken", AnswerError),
        (grpc.StatusCode.PERMISSION_DENIED, "no key", RequestError),
    ],
)
def test_what_the_server_says_decides_who_has_to_act(
    client: Any, fake: FakeTriton, status: grpc.StatusCode, message: str, error: type[Exception]
) -> None:
    fake.failures.append((status, message + ":\n  and a second line"))
    with pytest.raises(error, match=message) as info:
        client.toonify(random_faces(1))
    assert "\n" not in str(info.value)
    assert next(fake.attempts) == 1


def test_a_refusal_of_a_server_that_stops_is_tried_at_the_next_address(client: Any, fake: FakeTriton) -> None:
    client.describe()
    fake.failures.extend([WITHDRAWN] * 2)
    faces = random_faces(1)
    np.testing.assert_array_equal(client.toonify(faces), toonified(faces))
    assert next(fake.attempts) == 3


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_stops_and_has_no_other_beside_it_is_given_up(client: Any, fake: FakeTriton) -> None:
    fake.failures.extend([WITHDRAWN] * 10)
    with pytest.raises(ServerError, match="got NOT_FOUND: 'toonify' has no available versions, expected an answer"):
        client.toonify(random_faces(1))
    assert next(fake.attempts) == retries.ATTEMPTS


def test_an_unknown_model_is_named(client: Any) -> None:
    with pytest.raises(RequestError, match=r"^model 'nobody' at .*unknown model: 'nobody' is not found"):
        client.toonify(random_faces(1), model="nobody")


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (np.zeros((1, 256, 256, 3), np.float32), r"'face': got float32 \[1, 256, 256, 3\], expected face uint8"),
        (np.zeros((1, 128, 128, 3), np.uint8), r"'face': got uint8 \[1, 128, 128, 3\]"),
        (np.zeros((0, 256, 256, 3), np.uint8), r"'face': got uint8 \[0, 256, 256, 3\]"),
        (np.zeros((1, 3, 256, 256), np.uint8), r"'face': got uint8 \[1, 3, 256, 256\]"),
        (np.uint8(0), r"'face': got uint8 \[\]"),
    ],
)
def test_faces_of_another_form_are_not_sent(client: Any, fake: FakeTriton, faces: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        client.toonify(faces)
    assert not fake.requests


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"attributes": {"smile": 1}}, "attribute 'smile': got no attribute of the model, expected one of gender, "),
        (
            {"attributes": [0, 1]},
            r"control 'attributes': got shape \[2\], expected float32 \[4\] for all faces or \[2, 4\]",
        ),
        ({"attributes": {"age": "old"}}, "control 'attributes': got something else"),
        ({"attributes": {"age": float("inf")}, "exact": True}, "'attributes': got a value that is NaN or infinite"),
        ({"attributes": {"age": 1}}, "'attributes': got NaN, which keeps what the face shows, expected a number for"),
        ({"psi": float("inf")}, "'psi': got a value that is NaN or infinite"),
        ({"psi": 1e300}, "'psi': got a value that is NaN or infinite"),
        ({"psi": [1, 1, 1]}, r"control 'psi': got shape \[3, 1\]"),
        ({"seed": 0.5}, "control 'seed': got something else"),
        ({"z": np.zeros((3, 64))}, r"control 'z': got shape \[3, 64\]"),
        (
            {"sed": 1},
            "control 'sed': got a model that does not take it, expected one of attributes, z, row_strength, psi, seed",
        ),
    ],
)
def test_controls_that_do_not_fit_are_not_sent(
    client: Any, fake: FakeTriton, controls: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        client.toonify(random_faces(2), **controls)
    assert not fake.requests


def test_text_is_no_jpeg(client: Any) -> None:
    with pytest.raises(RequestError, match="jpeg: got something else, expected the bytes of a JPEG file"):
        client.toonify_jpeg(["/tmp/face.jpg"])


def test_a_model_is_described_by_its_configuration(client: Any) -> None:
    model = client.describe("toonify")
    assert (model.resolution, model.rows, model.max_batch) == (512, 16, 8)
    assert model.attributes == GEOMETRY.attributes
    assert model.parameters["r_swap"] == "16"


@pytest.mark.parametrize("method", ["sample", "sample_codes"])
def test_models_of_random_faces_that_were_replaced_are_described_again(
    client: Any, fake: FakeTriton, method: str
) -> None:
    fake.parameters |= {"generator": "plain", "mapping": "mapping_plain"}

    def serve(resolution: int) -> tuple[int, ...]:
        geometry = Geometry(resolution, z_dim=4)
        fake.models |= {"sample_plain": sample_signature(geometry), "mapping_plain": mapping_signature(geometry)}
        name = {"sample": "sample_plain", "sample_codes": "mapping_plain"}[method]
        return fake.models[name].outputs[0].dims

    smaller = serve(512)
    assert getattr(client, method)([1, 2]).shape == (2, *smaller)
    larger = serve(1024)
    with pytest.raises(ServerError, match="check whether the server's models were replaced meanwhile"):
        getattr(client, method)([1, 2])
    assert getattr(client, method)([1, 2]).shape == (2, *larger)


@pytest.mark.parametrize("w", [[[0.0]], np.float32(0), np.zeros((16, 512), np.float32)], ids=["list", "number", "2-D"])
def test_codes_that_are_no_array_of_three_dimensions_are_refused(client: Any, w: Any) -> None:
    with pytest.raises(RequestError, match=r"^tensor 'w': got .*, expected codes float32 \[N,L,D\]"):
        client.render(w)


@pytest.mark.parametrize("method", ["toonify", "describe", "sample"])
def test_an_ensemble_of_random_faces_is_no_model_to_toonify_with(client: Any, fake: FakeTriton, method: str) -> None:
    fake.models["sample_plain"] = sample_signature(Geometry(512, z_dim=4))
    arguments = {"toonify": [random_faces(1)], "describe": [], "sample": [1]}[method]
    with pytest.raises(
        RequestError, match="model 'sample_plain': got a model that takes no faces, expected an ensemble"
    ):
        getattr(client, method)(*arguments, model="sample_plain")


def test_a_random_face_of_a_fixed_blend_is_refused_under_the_name_that_was_asked(client: Any, fake: FakeTriton) -> None:
    fake.parameters |= {"generator": "plain", "mapping": "mapping_plain"}
    fake.models["sample_plain"] = sample_signature(Geometry(512, z_dim=4))
    with pytest.raises(RequestError, match=r"^control 'r_swap': got the model 'toonify', whose blend is fixed"):
        client.sample(1, r_swap=8)


def test_models_are_the_loaded_ensembles_without_their_jpeg_forms(client: Any) -> None:
    assert client.models() == ("toonify",)


def test_readiness_is_that_of_the_model(client: Any) -> None:
    assert client.is_ready("toonify")
    assert not client.is_ready("nobody")


@pytest.mark.parametrize("client_class", [ToonifyClient, AsyncToonifyClient], ids=["blocking", "asyncio"])
def test_a_url_with_a_scheme_is_refused(client_class: Any) -> None:
    with pytest.raises(RequestError, match="url 'http://localhost:8001': got a scheme, expected HOST:PORT"):
        client_class("http://localhost:8001")


def shared_files() -> set[Path]:
    return set(Path("/dev/shm").glob("toonify-*"))


def test_shared_memory_carries_faces_and_pictures_and_is_gone_after_the_call(
    client_class: Any, fake: FakeTriton
) -> None:
    fake.allow_shared_memory, fake.busy = True, 5
    before = shared_files()
    faces = random_faces(10)
    with client_class(fake.url, shared_memory=True) as client:
        pictures = client.toonify(faces, attributes={"age": 1}, exact=True, psi=0.5)
    np.testing.assert_array_equal(pictures, toonified(faces))
    assert not fake.regions
    assert shared_files() == before


def test_shared_memory_is_gone_after_a_failed_call(client_class: Any, fake: FakeTriton) -> None:
    fake.allow_shared_memory = True
    fake.failures.append((grpc.StatusCode.INTERNAL, "broken"))
    before = shared_files()
    with client_class(fake.url, shared_memory=True) as client, pytest.raises(ServerError, match="broken"):
        client.toonify(random_faces(1))
    assert not fake.regions
    assert shared_files() == before


@pytest.mark.parametrize("refusal", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE])
def test_a_server_that_refuses_shared_memory_is_sent_bytes(
    client_class: Any, fake: FakeTriton, caplog: pytest.LogCaptureFixture, refusal: grpc.StatusCode
) -> None:
    fake.refusal_of_shared_memory = refusal
    before = shared_files()
    faces = random_faces(1)
    with client_class(fake.url, shared_memory=True) as client, caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(client.toonify(faces), toonified(faces))
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "no shared memory (the server keeps it closed, which toonify serve --allow-shared-memory changes), "
        "pictures are sent as bytes from now on"
    ]
    assert next(fake.registrations) == 1
    assert shared_files() == before


def test_a_machine_without_room_for_shared_memory_sends_bytes(
    client_class: Any, fake: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    fake.allow_shared_memory = True
    before = shared_files()
    with client_class(fake.url, shared_memory=True) as client:
        np.testing.assert_array_equal(client.toonify(random_faces(1)), toonified(random_faces(1)))
    assert not fake.regions
    assert shared_files() == before


def test_a_cancelled_request_leaves_no_shared_memory(fake: FakeTriton) -> None:
    async def cancelled() -> None:
        async with AsyncToonifyClient(fake.url, shared_memory=True) as client:
            await client.describe()
            fake.delay = 0.5
            task = asyncio.create_task(client.toonify(random_faces(1)))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    fake.allow_shared_memory = True
    before = shared_files()
    asyncio.run(cancelled())
    assert not fake.regions
    assert shared_files() == before


def test_requests_of_one_asyncio_client_run_at_the_same_time(fake: FakeTriton) -> None:
    async def gathered() -> list[NDArray[np.uint8]]:
        async with AsyncToonifyClient(fake.url) as client:
            return await asyncio.gather(*(client.toonify(face) for face in faces))

    faces = random_faces(6)
    np.testing.assert_array_equal(np.concatenate(asyncio.run(gathered())), toonified(faces))
