"""Equality with recorded outputs of the official code, from checkpoint file to picture.

Tolerance: 1e-4 of the output's range. The official code multiplies weights where this package scales activations, so
sums are rounded in another order; measured 5e-6 of the range for pictures, 2e-6 for codes. Other recorded outputs are
compared in ``tests/formats``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import DATA, official_shapes, torch_tensors
from deterministic_weights import encoder_value, generator_value, state_dict

from export.blending import blend, schedule_from_options
from export.checkpoints import read_generator
from export.networks.encoder import encoder_from_weights, input_from_face
from export.networks.generator import Generator, generator_from_weights
from export.weights import EncoderWeights, GeneratorWeights, Source

pytestmark = pytest.mark.usefixtures("no_gradients")


def recorded(file: str) -> dict[str, torch.Tensor]:
    with np.load(DATA / file) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files if arrays[name].dtype.kind in "fu"}


def assert_golden(output: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4 * float(expected.max() - expected.min()))


def official_generator(folder: Path, seed: str) -> GeneratorWeights:
    state = state_dict(seed, official_shapes("ros32_public.npz"), generator_value)
    latent_avg = recorded("ros32_public.npz")["latent_avg"]
    path = folder / f"{seed}.pt"
    torch.save({"g_ema": torch_tensors(state), "latent_avg": latent_avg}, path)
    return read_generator(path)


def from_z(generator: Generator, z: torch.Tensor, rows: int) -> torch.Tensor:
    w = generator.mapping(z)[:, None].expand(-1, rows, -1)
    return generator(w, torch.full((len(z), 1), 0.7))


def test_an_nvlabs_generator() -> None:
    golden = recorded("nv32_public.npz")
    generator = generator_from_weights(read_generator(DATA / "nv32_public.pkl"))
    assert_golden(generator.synthesise(golden["ws"]), golden["image"])
    assert_golden(from_z(generator, golden["z"], 8), golden["image_z_psi07"])
    assert_golden(generator.mapping.w_avg, golden["w_avg"])


def test_a_blend(tmp_path: Path) -> None:
    golden = recorded("blend32_public.npz")
    parents = [official_generator(tmp_path, seed) for seed in ("public", "public-transfer")]
    blended = blend(parents, schedule_from_options(32, r_swap=8))
    assert_golden(generator_from_weights(blended.weights).synthesise(golden["w"]), golden["image"])


def test_a_psp_encoder() -> None:
    golden = recorded("psp_public.npz")
    # Built from tensors, since a file of the official encoder would be a gigabyte.
    tensors = state_dict("public", official_shapes("psp_public.npz"), encoder_value)
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    source = Source(Path("psp.pt"), "pSp", "")
    encoder = encoder_from_weights(EncoderWeights(tensors, source, "psp", golden["latent_avg"].numpy()))
    assert_golden(encoder(input_from_face(golden["image_u8"].permute(0, 2, 3, 1))), golden["w"])
