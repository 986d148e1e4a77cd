from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.contract.errors import AlignmentError
from export.demo_face import demo_photograph
from serving.faces.alignment import placement_of_face
from serving.faces.haar import HaarLandmarker, eyes_in_box, points_from_eyes
from serving.faces.landmark_files import FileLandmarker
from serving.faces.landmarks import CANONICAL_POINTS
from serving.faces.mediapipe import MESH_ROWS, MediaPipeLandmarker
from serving.faces.yunet import YuNetLandmarker
from serving.options import landmarker_from_option

PHOTO, POINTS = demo_photograph()
BLANK = np.full((300, 400, 3), 128, np.uint8)


def distances(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each point from its true position, in eye distances."""
    return np.asarray(np.hypot(*(found - expected).T) / np.hypot(*(expected[1] - expected[0])))


def test_haar_cascades_find_the_drawn_face() -> None:
    (face,) = HaarLandmarker()(PHOTO)
    # The landmarks are coarse: the mouth is estimated, and the face is turned by 14 degrees. Measured at most 0.13.
    assert distances(face.points, POINTS).max() < 0.18


def test_haar_cascades_report_places_in_a_large_photograph_in_its_own_pixels() -> None:
    large = cv2.resize(PHOTO, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (face,) = HaarLandmarker()(large)
    assert distances(face.points, (POINTS + 0.5) * 5 - 0.5).max() < 0.2


def test_haar_cascades_find_the_larger_of_two_faces_first() -> None:
    photo = np.zeros((480, 640 + 480, 3), np.uint8)
    photo[:360, :480] = cv2.resize(PHOTO, (480, 360), interpolation=cv2.INTER_AREA)
    photo[:, 480:] = PHOTO
    large, small = HaarLandmarker()(photo)
    assert large.box[2] > 1.2 * small.box[2]
    assert distances(large.points, POINTS + np.array((480, 0))).max() < 0.2
    assert distances(small.points, POINTS * 0.75).max() < 0.2


def test_haar_cascades_find_nothing_where_nothing_is() -> None:
    assert HaarLandmarker()(BLANK) == ()


@pytest.mark.parametrize("shape", [(60_000, 1, 3), (1, 60_000, 3)])
def test_a_picture_as_thin_as_a_line_has_no_face(shape: tuple[int, int, int]) -> None:
    assert HaarLandmarker()(np.zeros(shape, np.uint8)) == ()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [(0.32, 0.39), (0.68, 0.39)]),
        ([(0.30, 0.36), (0.70, 0.42)], [(0.30, 0.36), (0.70, 0.42)]),
        ([(0.70, 0.42), (0.30, 0.36)], [(0.30, 0.36), (0.70, 0.42)]),
        ([(0.66, 0.36), (0.45, 0.8), (0.55, 0.39)], [(0.32, 0.39), (0.66, 0.36)]),
    ],
)
def test_an_eye_that_is_not_found_is_where_eyes_are_on_average(
    found: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    np.testing.assert_array_equal(eyes_in_box(found), expected)


def test_nose_and_mouth_follow_from_the_eyes_by_the_average_face() -> None:
    turned = CANONICAL_POINTS @ np.array([[0, 30], [-30, 0]]) + [500, 20]
    np.testing.assert_allclose(points_from_eyes(turned[:2]), turned, rtol=0, atol=1e-9)


def test_an_opencv_without_cascades_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(
        AlignmentError, match=r"^OpenCV .*: got no Haar cascades, .*; install 'opencv-python-headless<5'"
    ):
        HaarLandmarker()


def write_yunet(path: Path, side: int, box: list[float], points: list[float]) -> None:
    """A network with YuNet's twelve outputs that sees one face, in the first cell of the finest grid."""
    zero = helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0)
    nodes, constants, outputs = [zero, helper.make_node("Mul", ["mean", "nothing"], ["zero"])], {"nothing": 0.0}, []
    for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            values = np.zeros((1, (side // stride) ** 2, width), np.float32)
            if stride == 8:
                values[0, 0] = {"cls": 1.0, "obj": 0.9, "bbox": box, "kps": points}[name]
            output = f"{name}_{stride}"
            constants[f"{output}_values"] = values
            nodes.append(helper.make_node("Add", [f"{output}_values", "zero"], [output]))
            outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, values.shape))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        outputs,
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)


def test_yunet_reports_five_points_the_left_one_of_each_pair_first(tmp_path: Path) -> None:
    # Coordinates are in cells of 8 pixels, from the first cell's corner; sizes are logarithms.
    points = (CANONICAL_POINTS * 128 / 8).ravel().tolist()
    write_yunet(tmp_path / "yunet.onnx", 128, [8.0, 8.0, np.log(16), np.log(16)], points)
    (face,) = YuNetLandmarker(tmp_path / "yunet.onnx")(np.zeros((128, 128, 3), np.uint8))
    assert face.score == pytest.approx(0.9**0.5, abs=1e-3)
    np.testing.assert_allclose(face.points, CANONICAL_POINTS * 128, rtol=0, atol=0.01)
    np.testing.assert_allclose(face.box, (0, 0, 128, 128), rtol=0, atol=0.01)
    placement_of_face(face.points)


@pytest.mark.parametrize(("content", "got"), [(None, "no such file"), (b"text", "a file that OpenCV cannot load")])
def test_a_yunet_model_that_cannot_be_loaded_is_named(tmp_path: Path, content: bytes | None, got: str) -> None:
    path = tmp_path / "yunet.onnx"
    if content:
        path.write_bytes(content)
    with pytest.raises(AlignmentError, match=rf"yunet\.onnx: got {got}, expected a YuNet model"):
        YuNetLandmarker(path)


RECORDS = [
    {"picture": "a.jpg", "faces": [{"points": [[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], "score": 0.5}]},
    {
        "picture": "b.jpg",
        "faces": [
            {"points": [[0, 0]] * 5, "box": [0, 0, 5, 5]},
            {"points": [[1, 1]] * 5, "box": [0, 0, 50, 50]},
        ],
    },
    {"picture": "empty.jpg", "faces": []},
]


@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
def test_landmarks_are_read_from_a_file_by_the_pictures_name(tmp_path: Path, lines: bool) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text("\n".join(map(json.dumps, RECORDS)) if lines else json.dumps(RECORDS, indent=1))
    landmarker = FileLandmarker(path)
    (face,) = landmarker(BLANK, "a.jpg")
    np.testing.assert_array_equal(face.points, RECORDS[0]["faces"][0]["points"])
    assert face.box == (10, 10, 20, 20)
    assert face.score == 0.5
    assert [face.box[2] for face in landmarker(BLANK, "b.jpg")] == [50, 5]
    assert landmarker(BLANK, "empty.jpg") == ()
    with pytest.raises(AlignmentError, match=r"got no record of 'c\.jpg', expected a record for every picture"):
        landmarker(BLANK, "c.jpg")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("{", "Invalid JSON"),
        ('[{"picture": "a.jpg"}]', r"Field required at 0\.faces"),
        ('{"picture": "a.jpg", "faces": [{"points": [[1, "x"]]}]}', r"at faces\.0\.points\.0\.1"),
        ('{"picture": "a.jpg", "faces": [{"points": []}]}', r"at faces\.0\.points\.0"),
    ],
)
def test_a_landmarks_file_of_another_form_is_refused_with_the_place(tmp_path: Path, text: str, got: str) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(text)
    with pytest.raises(AlignmentError, match=rf"landmarks\.json: got .*{got}"):
        FileLandmarker(path)


def test_a_missing_landmarks_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlignmentError, match=r"none\.json: got No such file or directory"):
        FileLandmarker(tmp_path / "none.json")


class FakeMediaPipe(ModuleType):
    """A fake of MediaPipe 1.2: its model file contains ``model``, and it finds ``meshes`` in every picture."""

    def __init__(self) -> None:
        super().__init__("mediapipe")
        self.ImageFormat = SimpleNamespace(SRGB="srgb")
        self.Image = SimpleNamespace
        self.tasks = SimpleNamespace(
            BaseOptions=SimpleNamespace,
            vision=SimpleNamespace(FaceLandmarkerOptions=SimpleNamespace, FaceLandmarker=self),
        )
        self.meshes: list[NDArray[np.float64]] = []
        self.pictures: list[SimpleNamespace] = []

    def create_from_options(self, options: SimpleNamespace) -> FakeMediaPipe:
        self.options = options
        if Path(options.base_options.model_asset_path).read_text() != "model":
            raise RuntimeError("Unable to open zip archive.")
        return self

    def detect(self, image: SimpleNamespace) -> SimpleNamespace:
        self.pictures.append(image)
        return SimpleNamespace(face_landmarks=[[SimpleNamespace(x=x, y=y) for x, y in mesh] for mesh in self.meshes])


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMediaPipe:
    fake = FakeMediaPipe()
    monkeypatch.setitem(sys.modules, "mediapipe", fake)
    (tmp_path / "face.task").write_text("model")
    return fake


def mesh_around(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """478 points at the face's middle, but for those of which the five are means."""
    mesh = np.tile(points.mean(0), (478, 1))
    for rows, point in zip(MESH_ROWS, points, strict=True):
        offsets = np.arange(len(rows)) - (len(rows) - 1) / 2
        mesh[[*rows]] = point + offsets[:, None] * [2, 1]
    return mesh


def test_mediapipes_mesh_becomes_five_points_the_largest_face_first(mediapipe: FakeMediaPipe, tmp_path: Path) -> None:
    height, width = PHOTO.shape[:2]
    small = POINTS * 0.5
    # Coordinates run from 0 to 1 between the edges, so the first pixel's centre is at half a pixel.
    mediapipe.meshes = [(mesh_around(points) + 0.5) / [width, height] for points in (small, POINTS)]
    landmarker = landmarker_from_option(f"mediapipe:{tmp_path / 'face.task'}")
    faces = landmarker(PHOTO)
    np.testing.assert_allclose([face.points for face in faces], [POINTS, small], rtol=0, atol=1e-9)
    mesh = mesh_around(POINTS)
    np.testing.assert_allclose(faces[0].box, [*mesh.min(0), *np.ptp(mesh, axis=0)], rtol=0, atol=1e-9)
    placement_of_face(faces[0].points)
    np.testing.assert_array_equal(mediapipe.pictures[0].data, PHOTO)
    assert mediapipe.pictures[0].image_format == "srgb"
    assert mediapipe.options.num_faces == 8
    mediapipe.meshes = []
    assert landmarker(BLANK) == ()


def test_the_points_of_the_mesh_are_those_of_the_eyes_and_corners_of_the_mouth() -> None:
    # Outlines of the subject's right and left eye and of the lips, from MediaPipe 1.2's FaceLandmarksConnections.
    right_eye = {7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246}
    left_eye = {249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466}
    image_left, image_right, _, *corners = MESH_ROWS
    assert right_eye.issuperset(image_left)
    assert left_eye.issuperset(image_right)
    assert corners == [(61,), (291,)]


@pytest.mark.parametrize(("content", "got"), [(None, "no such file"), ("text", "a file that MediaPipe cannot load")])
def test_a_mediapipe_model_that_cannot_be_loaded_is_named(
    mediapipe: FakeMediaPipe, tmp_path: Path, content: str | None, got: str
) -> None:
    path = tmp_path / "other.task"
    if content:
        path.write_text(content)
    with pytest.raises(AlignmentError, match=rf"other\.task: got {got}, expected a face landmarker of MediaPipe Tasks"):
        MediaPipeLandmarker(path)


def test_without_mediapipe_its_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(AlignmentError, match=r"got no module mediapipe, .* pip install --no-deps mediapipe; pip"):
        landmarker_from_option("mediapipe:face.task")


def test_an_option_names_the_landmarker(tmp_path: Path) -> None:
    (tmp_path / "landmarks.json").write_text("[]")
    assert isinstance(landmarker_from_option("haar"), HaarLandmarker)
    assert isinstance(landmarker_from_option(f"file:{tmp_path / 'landmarks.json'}"), FileLandmarker)
    expected = "expected none, haar, yunet:PATH, mediapipe:PATH or file:PATH"
    for option in ("dlib", "yunet", "mediapipe:", "file:", "haar:x"):
        with pytest.raises(AlignmentError, match=f"got '{option}', {expected}"):
            landmarker_from_option(option)
