"""The network of MediaPipe's face mesh, run by OpenVINO or by OpenCV, without the package mediapipe."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.faces.landmarks import unloadable

MESH_SIZE = 256
"""Side of the network's input, in pixels."""

MESH_POINTS = 478

Network = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], float]]
"""Maps a picture float32 [1, 256, 256, 3], RGB, 0..1, to points float32 [478, 3] in its pixels, and a logit: whether a
whole face is there."""

_FILE = "face_landmarks_detector.tflite"
_LARGEST = 64 * 2**20
"""Largest size of the network in bytes, 25 times that of the published one; a zip file can claim any."""


def mesh_network(task: Path) -> Network:
    """Load the mesh from ``face_landmarker.task``, a zip file, into OpenVINO where it is installed, else into OpenCV.

    On two idle cores and threads OpenVINO takes 3 ms a face and OpenCV 10 ms; their points differ by less than 0.001
    pixels.

    Raises:
        AlignmentError: the file is missing, or it is no face landmarker of MediaPipe Tasks.
    """
    refused = unloadable(
        task,
        "the face mesh",
        "a face landmarker of MediaPipe Tasks",
        "take face_landmarker.task as toonify models get stores it",
    )
    try:
        with zipfile.ZipFile(task) as archive:
            if archive.getinfo(_FILE).file_size > _LARGEST:
                raise refused
            model = archive.read(_FILE)
        network = _by_openvino(model) if find_spec("openvino") else _by_opencv(model)
        network(np.zeros((1, MESH_SIZE, MESH_SIZE, 3), np.float32))
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, cv2.error):
        raise refused from None
    return network


def _by_openvino(model: bytes) -> Network:
    from engines.openvino.core import shared_core  # loaded late: clients need no learning library

    core = shared_core()
    with tempfile.TemporaryDirectory() as folder:  # OpenVINO reads this format from files only
        file = Path(folder) / _FILE
        file.write_bytes(model)
        graph = core.read_model(file)
    graph.reshape([1, MESH_SIZE, MESH_SIZE, 3])
    # Half precision, the default on some processors, would move the points. Beside engines that use every core one
    # thread is faster than two: 22 ms instead of 37 on two busy cores, 7 ms of processor time instead of 11.
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
    }
    request = core.compile_model(graph, "CPU", properties).create_infer_request()

    def run(picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        outputs = request.infer([picture])
        return _split([outputs[i] for i in range(len(outputs))])

    return run


def _by_opencv(model: bytes) -> Network:
    network = cv2.dnn.readNetFromTFLite(np.frombuffer(model, np.uint8))
    names = network.getUnconnectedOutLayersNames()

    def run(picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        network.setInput(np.ascontiguousarray(picture.transpose(0, 3, 1, 2)))
        return _split(network.forward(names))

    return run


def _split(outputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.float32], float]:
    """Tell the outputs apart by their shapes: points [.., 1434], the logit [1, 1, 1, 1], and one that is not used."""
    (points,) = (output for output in outputs if output.size == 3 * MESH_POINTS)
    (logit,) = (output for output in outputs if output.shape == (1, 1, 1, 1))
    return points.reshape(MESH_POINTS, 3).astype(np.float32), float(logit.item())
