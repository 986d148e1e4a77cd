from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from serving.faces.yunet import YuNetLandmarker, _turned
from serving.options import landmarker_from_option

PHOTO, POINTS = demo_photograph()
BLANK = np.full((300, 400, 3), 128, np.uint8)


def distances(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each point from its true position, in eye distances."""
    return np.asarray(np.hypot(*(found - expected).T) / np.hypot(*(expected[1] - expected[0])))


def test_haar_cascades_find_the_drawn_face() -> None:
    (face,) = HaarLandmarker()(PHOTO)
    # The landmarks are coarse: the mouth is estimated, and the face is turned by 14 degrees. Measured at most 0.18.
    assert distances(face.points, POINTS).max() < 0.23


def test_haar_cascades_report_places_in_a_large_photograph_in_its_own_pixels() -> None:
    large = cv2.resize(PHOTO, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (face,) = HaarLandmarker()(large)
    assert distances(face.points, (POINTS + 0.5) * 5 - 0.5).max() < 0.23


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


def write_yunet(path: Path, box: list[float], points: list[float]) -> None:
    """A network with YuNet's twelve outputs, for pictures of any size, that sees a face in every white cell."""
    constants: dict[str, NDArray[Any]] = {"flat": np.array([0, -1, 1], np.int64)}
    nodes, outputs = [], []
    for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            white = f"{name}_{stride}_white"
            values = {"cls": [1.0], "obj": [0.9], "bbox": box, "kps": points}[name]
            # Only the finest grid sees faces. Cells that are not white have score 0, so that their boxes do not count.
            scale = 1.0 if stride == 8 else 0.0
            constants[f"{white}_values"] = np.float32([values]) * (scale if width == 1 else 1)
            constants[f"{white}_level"] = np.float32(
                [[[[1 / 255]], [[0]], [[0]]]] if width == 1 else np.zeros((1, 3, 1, 1), np.float32)
            )
            constants[f"{white}_bias"] = np.float32([0.0 if width == 1 else 1.0])
            nodes += [
                helper.make_node(
                    "AveragePool", ["input"], [f"{white}_mean"], kernel_shape=[stride] * 2, strides=[stride] * 2
                ),
                helper.make_node(
                    "Conv", [f"{white}_mean", f"{white}_level", f"{white}_bias"], [white], kernel_shape=[1, 1]
                ),
                helper.make_node("Reshape", [white, "flat"], [f"{white}_flat"]),
                helper.make_node("MatMul", [f"{white}_flat", f"{white}_values"], [f"{name}_{stride}"]),
            ]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, None, width]))
    write_network(path, nodes, outputs, constants)


def write_network(path: Path, nodes: list[Any], outputs: list[Any], constants: dict[str, NDArray[Any]]) -> None:
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", [picture], outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (1280, 960)])
def test_yunet_reports_five_points_the_left_one_of_each_pair_first(tmp_path: Path, size: tuple[int, int]) -> None:
    # Coordinates are in cells of 8 pixels of a picture 640 pixels wide, from the cell's corner; sizes are logarithms.
    points = (CANONICAL_POINTS * 128 / 8).ravel().tolist()
    write_yunet(tmp_path / "yunet.onnx", [8.0, 8.0, np.log(16), np.log(16)], points)
    scale = size[0] / 640
    photo = np.zeros((size[1], size[0], 3), np.uint8)
    photo[round(80 * scale) : round(88 * scale), round(160 * scale) : round(168 * scale)] = 255
    face = YuNetLandmarker(tmp_path / "yunet.onnx")(photo)[0]
    assert 0.8 < face.score < 0.96  # the root of 0.9, less where enlarging softens the cell
    np.testing.assert_allclose(face.points, (CANONICAL_POINTS * 128 + [160, 80] + 0.5) * scale - 0.5, rtol=0, atol=0.02)
    np.testing.assert_allclose(face.box, (160.5 * scale - 0.5, 80.5 * scale - 0.5, 128 * scale, 128 * scale), atol=0.05)
    placement_of_face(face.points)


@pytest.mark.parametrize("turn", [-40.0, 25.0, 90.0])
def test_places_found_in_a_turned_picture_are_those_of_the_picture(turn: float) -> None:
    photo = np.zeros((300, 500, 3), np.uint8)
    photo[98:103, 348:353] = 255
    turned, back = _turned(photo, turn)
    rows, columns = np.nonzero(turned[..., 0] > 200)
    np.testing.assert_allclose(back @ [columns.mean(), rows.mean(), 1], [350, 100], rtol=0, atol=0.3)
    if turn == 90.0:  # clockwise: what was right is below
        np.testing.assert_allclose([columns.mean(), rows.mean()], [299 - 100, 350], rtol=0, atol=0.6)


def other_network(path: Path) -> None:
    """A network that is not YuNet."""
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    write_network(path, [helper.make_node("GlobalAveragePool", ["input"], ["logits"])], outputs, {})


def short_outputs(path: Path) -> None:
    """A network with YuNet's outputs, all of one row: its answer ends before what OpenCV would read."""
    names = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    nodes = [helper.make_node("ReduceMean", ["input"], [name], axes=[1, 2], keepdims=1) for name in names]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    write_network(path, nodes, outputs, {})


@pytest.mark.parametrize(
    ("write", "got"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"text"), "a file that OpenCV cannot load"),
        (other_network, "a file that OpenCV cannot load"),
        (short_outputs, "a file that OpenCV cannot load"),
    ],
    ids=["missing", "text", "another network", "short outputs"],
)
def test_a_yunet_model_that_cannot_be_loaded_is_named(
    tmp_path: Path, write: Callable[[Path], Any], got: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "yunet.onnx"
    write(path)
    with pytest.raises(AlignmentError, match=rf"yunet\.onnx: got {got}.*, expected a YuNet model"):
        YuNetLandmarker(path)
    assert capfd.readouterr().err == ""


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


def test_an_option_names_the_landmarker(tmp_path: Path) -> None:
    (tmp_path / "landmarks.json").write_text("[]")
    assert isinstance(landmarker_from_option("haar"), HaarLandmarker)
    assert isinstance(landmarker_from_option(f"file:{tmp_path / 'landmarks.json'}"), FileLandmarker)
    expected = "expected none, auto, auto:FOLDER, haar, yunet, yunet:PATH, mediapipe:PATH or file:PATH"
    for option in ("dlib", "yunet:", "mediapipe:", "file:", "haar:x"):
        with pytest.raises(AlignmentError, match=f"got '{option}', {expected}"):
            landmarker_from_option(option)


def test_crops_are_not_offered_where_none_is_refused() -> None:
    with pytest.raises(AlignmentError, match="got 'none', expected auto, auto:FOLDER"):
        landmarker_from_option("none")


def test_a_folder_without_the_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        AlignmentError, match=r"yunet_2023mar\.onnx: got no such file, expected the published file in "
    ) as caught:
        landmarker_from_option(f"auto:{tmp_path}")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("shape", [(2000, 1, 3), (1, 2000, 3)])
def test_yunet_finds_nothing_in_a_picture_as_thin_as_a_line(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    write_yunet(tmp_path / "yunet.onnx", [8.0, 8.0, 1.0, 1.0], [0.0] * 10)
    assert YuNetLandmarker(tmp_path / "yunet.onnx")(np.full(shape, 255, np.uint8)) == ()


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (1, 1), (3, 5000), (24, 30_000)])
def test_haar_cascades_find_nothing_in_a_picture_as_thin_as_a_line(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert HaarLandmarker()(noise) == ()
