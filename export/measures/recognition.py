"""The face-recognition score FRS: how alike two faces' persons are to a network for face recognition."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract.arrays import Pictures
from engines.contract.errors import CheckpointError
from engines.contract.tensors import FACE_SIZE
from export.measures.pictures import resized

_ROWS, _COLUMNS = slice(35, 223), slice(32, 220)
"""The part of an FFHQ-aligned face of 256 pixels that the ISF paper's code gives to such networks."""

_SIDE = 112
"""Side in pixels of the networks' input."""


class FaceRecognition:
    """A network for face recognition in ONNX form, such as OpenCV's SFace.

    It takes one face of 112x112 pixels, float32 [1, 3, 112, 112], RGB in 0..255, and gives one vector.

    Raises:
        CheckpointError: the file is missing, OpenCV cannot run it, or it has another output.
    """

    def __init__(self, model: Path) -> None:
        self._refused = CheckpointError(
            str(model),
            got="a file that is missing, or that OpenCV cannot run on a face",
            expected="a face-recognition network in ONNX form, from 112x112 pixels to one vector",
            remedy="take face_recognition_sface_2021dec.onnx of OpenCV's model zoo",
        )
        try:
            self._network = cv2.dnn.readNetFromONNX(str(model))
        except cv2.error:
            raise self._refused from None
        self.vectors(np.zeros((1, FACE_SIZE, FACE_SIZE, 3), np.uint8))

    def vectors(self, pictures: Pictures) -> NDArray[np.float32]:
        """Compute the vectors of aligned faces, uint8 [N, R, R, 3] -> float32 [N, D]."""
        faces = resized(resized(pictures, FACE_SIZE)[:, _ROWS, _COLUMNS], _SIDE)
        return np.stack([self._vector(face) for face in faces])

    def _vector(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            self._network.setInput(cv2.dnn.blobFromImage(face))
            output = self._network.forward()
        except cv2.error:
            raise self._refused from None
        if output.ndim != 2 or len(output) != 1:
            raise self._refused
        vector: NDArray[np.float32] = output[0].astype(np.float32)
        return vector


def recognition_score(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the mean cosine of corresponding vectors [N, D], 1 for the same person (Liu et al., appendix A)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(lengths, 1e-12)).mean())
