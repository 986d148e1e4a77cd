from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from face_fakes import FakeDetector, FakeMesh, face_of, photo_of_dots, points_at

from engines.contract.errors import AlignmentError
from serving.faces.alignment import placement_of_face, side_of
from serving.faces.following import INTERVAL, FollowingLandmarker, following
from serving.faces.haar import HaarLandmarker
from serving.faces.mesh import MESH_ROWS, FaceMesh, MeshLandmarker, crop_of_mesh
from serving.faces.mesh_network import mesh_network


def landmarker(*faces: np.ndarray, score: float = 0.9) -> MeshLandmarker:
    """A landmarker whose detector reports these points."""
    return MeshLandmarker(FakeDetector(tuple(face_of(points, score) for points in faces)), FaceMesh(FakeMesh()))


@pytest.mark.parametrize("tilt", [-45, -20, 0, 30, 45])
def test_the_mesh_corrects_a_detectors_tilt_place_and_size(tilt: float) -> None:
    true = points_at(300, 220, 180, tilt)
    (face,) = landmarker(points_at(308, 214, 210, 0.3 * tilt))(photo_of_dots(true))
    # The dots' centres are found to half a pixel of the photograph.
    np.testing.assert_allclose(face.points, true, rtol=0, atol=2.5)
    assert face.presence > 0.99
    assert face.mesh is not None
    assert face.mesh.points.shape == (478, 3)


def test_a_large_face_is_reduced_before_it_is_sampled() -> None:
    true = points_at(1000, 900, 1500, 20)
    (face,) = landmarker(points_at(1000, 900, 1400))(photo_of_dots(true, size=(2000, 1800)))
    np.testing.assert_allclose(face.points, true, rtol=0, atol=5)


def test_the_crop_of_a_mesh_is_upright_and_half_as_large_again() -> None:
    mesh = np.array([(0.0, 0.0)] * 478)
    mesh[33], mesh[263], mesh[5] = (10, 10), (30, 30), (20, 40)
    square = crop_of_mesh(mesh)
    along = (square[:, 0] / side_of(square)) @ mesh.T
    assert np.degrees(np.arctan2(square[1, 0], square[0, 0])) == pytest.approx(45)
    assert side_of(square) == pytest.approx(1.5 * np.ptp(along))


def test_two_detections_of_one_face_become_one() -> None:
    true = points_at(300, 220)
    assert len(landmarker(points_at(290, 220), points_at(312, 226))(photo_of_dots(true))) == 1


def test_the_larger_of_two_faces_comes_first() -> None:
    small, large = points_at(120, 200, 100), points_at(420, 220, 250)
    faces = landmarker(small, large)(photo_of_dots(small, large))
    np.testing.assert_allclose([face.points for face in faces], [large, small], rtol=0, atol=3)


@pytest.mark.parametrize(("score", "presences"), [(0.9, [0.0]), (0.6, [])])
def test_a_detection_without_a_mesh_is_kept_only_if_it_is_certain(score: float, presences: list[float]) -> None:
    found = landmarker(points_at(300, 220), score=score)(photo_of_dots())
    assert [face.presence for face in found] == presences
    assert all(face.mesh is None for face in found)


def test_a_detection_outside_the_picture_has_no_mesh() -> None:
    assert landmarker(points_at(5000, 220), score=0.6)(photo_of_dots()) == ()


def test_the_points_of_the_mesh_are_those_of_the_eyes_and_corners_of_the_mouth() -> None:
    # Outlines of the subject's right and left eye and of the lips, from MediaPipe 1.2's FaceLandmarksConnections.
    right_eye = {7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246}
    left_eye = {249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466}
    image_left, image_right, _, *corners = MESH_ROWS
    assert right_eye.issuperset(image_left)
    assert left_eye.issuperset(image_right)
    assert corners == [(61,), (291,)]


def task_file(name: str, content: bytes) -> bytes:
    """A zip file with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("library", ["openvino", "opencv"])
@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "no such file"),
        (b"text", "a file that the face mesh cannot load"),
        (task_file("other.tflite", b"x"), "a file that the face mesh cannot load"),
        (task_file("face_landmarks_detector.tflite", b"TFL3" * 99), "a file that the face mesh cannot load"),
    ],
    ids=["missing", "text", "another zip file", "no network"],
)
def test_a_file_that_is_no_face_landmarker_is_named(
    tmp_path: Path, content: bytes | None, got: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "opencv":
        monkeypatch.setattr("serving.faces.mesh_network.find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "openvino", None)
    path = tmp_path / "face_landmarker.task"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AlignmentError, match=rf"landmarker\.task: got {got}, expected a face landmarker of MediaPipe"):
        mesh_network(path)


class Stream:
    """A stream of photographs of dots, and what follows the faces in it."""

    def __init__(self) -> None:
        self.detector, self.network = FakeDetector(), FakeMesh()
        self.landmarker = FollowingLandmarker(MeshLandmarker(FakeDetector(), FaceMesh(self.network), self.detector))

    def push(self, *true: np.ndarray) -> list[np.ndarray]:
        """Show the faces in a frame, where the detector would find them too; return the points found, largest first."""
        self.detector.faces = tuple(map(face_of, true))
        return [face.points for face in self.landmarker(photo_of_dots(*true))]


def test_a_face_is_followed_by_the_mesh_alone_between_detections() -> None:
    stream = Stream()
    for i in range(3 * INTERVAL):
        true = points_at(200 + 3 * i, 220, 180, i)
        (found,) = stream.push(true)
        np.testing.assert_allclose(found, true, rtol=0, atol=3)
    assert stream.detector.calls == 3


def test_a_face_at_rest_takes_one_run_of_the_network() -> None:
    stream = Stream()
    stream.push(points_at(300, 220))
    before = stream.network.calls
    stream.push(points_at(300, 220))
    assert stream.network.calls == before + 1


def test_a_face_that_jumps_is_detected_in_the_same_frame() -> None:
    stream = Stream()
    stream.push(points_at(150, 200, 120))
    (found,) = stream.push(points_at(480, 250, 120))
    np.testing.assert_allclose(found, points_at(480, 250, 120), rtol=0, atol=3)


def test_a_face_that_comes_in_is_found_at_the_next_detection() -> None:
    stream = Stream()
    first, second = points_at(150, 200, 150), points_at(450, 250, 150)
    stream.push(first)
    counts = [len(stream.push(first, second)) for _ in range(INTERVAL)]
    assert counts[0] == 1
    assert counts[-1] == 2


def test_faces_are_looked_for_in_every_frame_while_there_are_none() -> None:
    stream = Stream()
    assert [stream.push() for _ in range(5)] == [[]] * 5
    assert stream.detector.calls == 5
    assert len(stream.push(points_at(300, 220))) == 1


def test_only_landmarkers_that_fit_a_mesh_follow_faces() -> None:
    haar = HaarLandmarker()
    assert following(haar) is haar
    assert isinstance(following(landmarker()), FollowingLandmarker)


def test_the_square_of_a_face_follows_from_its_mesh() -> None:
    (face,) = landmarker(points_at(300, 220, 150))(photo_of_dots(points_at(310, 225, 160, 10)))
    square = placement_of_face(face.points)
    assert side_of(square) == pytest.approx(side_of(placement_of_face(points_at(310, 225, 160, 10))), rel=0.02)
