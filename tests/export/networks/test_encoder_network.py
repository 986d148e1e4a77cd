"""The pSp and e4e encoders: how their rows are formed, and their exported graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_operators import FORBIDDEN

from engines import engine_from_onnx
from engines.contract.arrays import Pictures
from engines.contract.tensors import Geometry, encoder_signature
from export.demo_face import demo_face
from export.graphs.encoder import onnx_from_encoder
from export.networks.encoder import encoder_from_weights, input_from_face
from export.random_weights import random_encoder

pytestmark = pytest.mark.usefixtures("no_gradients")

ROWS, W_DIM = 14, 24
LATENT_AVG = np.random.default_rng(0).standard_normal((ROWS, W_DIM), dtype=np.float32)
WEIGHTS = random_encoder((8, 12, 16, 24), 0, latent_avg=LATENT_AVG)


@pytest.fixture(scope="module")
def faces() -> Pictures:
    face = demo_face()
    return np.stack([face, face[:, ::-1], 255 - face])


def test_e4e_reads_its_rows_as_offsets_from_the_first(faces: Pictures) -> None:
    x = input_from_face(torch.from_numpy(faces))
    psp, e4e = (
        encoder_from_weights(replace(WEIGHTS, kind=kind))(x) - torch.from_numpy(LATENT_AVG) for kind in ("psp", "e4e")
    )
    torch.testing.assert_close(e4e[:, 0], psp[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(e4e[:, 1:], psp[:, :1] + psp[:, 1:], rtol=0, atol=1e-5)


def test_the_average_latent_is_part_of_the_code(faces: Pictures) -> None:
    x = input_from_face(torch.from_numpy(faces[:1]))
    without = encoder_from_weights(replace(WEIGHTS, latent_avg=np.zeros_like(LATENT_AVG)))(x)
    torch.testing.assert_close(
        encoder_from_weights(WEIGHTS)(x), without + torch.from_numpy(LATENT_AVG), rtol=0, atol=1e-6
    )


def test_faces_become_minus_one_to_one_with_channels_first() -> None:
    face = torch.tensor([0, 255, 51], dtype=torch.uint8).expand(1, 256, 256, 3)
    x = input_from_face(face)
    assert x.shape == (1, 3, 256, 256)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_the_graph_is_static_and_equals_the_reference_in_every_engine(tmp_path: Path, faces: Pictures) -> None:
    encoder = encoder_from_weights(WEIGHTS)
    signature = encoder_signature(Geometry(256, W_DIM))
    model = onnx_from_encoder(encoder, signature)
    assert not [node.op_type for node in model.graph.node if node.op_type.startswith(FORBIDDEN)]
    onnx.save(model, tmp_path / "encoder.onnx")
    expected = encoder(input_from_face(torch.from_numpy(faces))).numpy()
    for engine in ("onnxruntime", "openvino"):
        with engine_from_onnx(tmp_path / "encoder.onnx", signature, engine) as loaded:
            got = loaded.run({"face": faces})["w"]
            single = loaded.run({"face": faces[1:2]})["w"]
        # Measured 9e-6 on values of order 1, after 50 layers of sums in another order.
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(single, expected[1:2], rtol=0, atol=1e-4)
