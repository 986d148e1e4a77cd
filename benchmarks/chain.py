"""The inputs of every stage, and what the float32 reference makes of them.

One chain: faces -> encoder -> w -> ISF head -> w_edited -> generator -> pictures. Each stage is given the reference's
input and compared with the reference's output, so an error is the stage's own; the pipeline's is that of all three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.costs import Costs, generator_bytes, generator_macs
from benchmarks.networks import (
    SEED,
    Models,
    Scale,
    encoder_weights,
    generator_weights,
    isf_weights,
    signature_of,
)
from engines.contract.atomic import atomic_file
from engines.contract.tensors import FACE_SIZE, ISF_ATTRIBUTES

if TYPE_CHECKING:
    from export.verification import Sample

Array = NDArray[Any]

LARGEST_BATCH = 8
PSI = 0.7


class Chain:
    """Inputs of every stage, and what the reference makes of them."""

    def __init__(self, models: Models) -> None:
        with np.load(models.chain) as file:
            self._arrays = dict(file)
        self.models = models

    def sample(self, stage: str, batch: int) -> Sample:
        """Inputs of a batch, and the reference's output for them; nothing of either for a roof."""
        from export.verification import Sample

        return Sample(self.inputs(stage, batch), self.output(stage, batch))

    def inputs(self, stage: str, batch: int) -> dict[str, Array]:
        """Inputs of a batch by name."""
        signature = signature_of(stage, self.models.scale.geometry)
        names = {"w": "w_edited"} if stage == "generator" else {}
        return {spec.name: self._arrays[names.get(spec.name, spec.name)][:batch] for spec in signature.inputs}

    def output(self, stage: str, batch: int) -> Array:
        """What the reference makes of them."""
        outputs = signature_of(stage, self.models.scale.geometry).outputs
        return self._arrays[outputs[0].name][:batch] if outputs else np.empty(0)

    def costs(self, stage: str) -> Costs:
        """Of one picture."""
        channels = self.models.scale.channels
        if stage == "generator":
            return Costs(generator_macs(channels), generator_bytes(channels))
        macs = {name: float(self._arrays[f"{name}_macs"]) for name in ("encoder", "isf")}
        return Costs(macs[stage] if stage in macs else sum(macs.values()) + generator_macs(channels))


def write_chain(models: Models) -> None:
    """Run the reference networks on seeded inputs."""
    import torch

    from export.networks.encoder import encoder_from_weights, input_from_face
    from export.networks.generator import generator_from_weights, picture_from_output
    from export.networks.isf import isf_from_weights

    arrays = _chain_inputs(models.scale)
    given = {name: torch.from_numpy(value) for name, value in arrays.items()}
    with torch.no_grad():
        encoder = encoder_from_weights(encoder_weights(models.scale))
        w, arrays["encoder_macs"] = _counted(lambda face: encoder(input_from_face(face)), given["face"])
        isf = isf_from_weights(isf_weights(models.scale))
        edited, arrays["isf_macs"] = _counted(isf, w, given["attributes"], given["z"], given["row_strength"])
        generator = generator_from_weights(generator_weights(models.scale))
        # One by one: a batch of float32 maps at 1024x1024 would take gigabytes.
        parts = [generator(row[None], psi[None]) for row, psi in zip(edited, given["psi"], strict=True)]
    arrays |= {"w": w.numpy(), "w_edited": edited.numpy(), "image": picture_from_output(torch.cat(parts)).numpy()}
    with atomic_file(models.chain) as partial_file:
        np.savez(partial_file, **arrays)


def _chain_inputs(scale: Scale) -> dict[str, Array]:
    """Faces with structure at several scales, and controls that edit every row fully."""
    draw = np.random.default_rng(SEED)
    faces = np.full((LARGEST_BATCH, FACE_SIZE, FACE_SIZE, 3), 128.0)
    for size in (4, 16, 64):
        coarse = draw.uniform(-60, 60, (LARGEST_BATCH, size, size, 3))
        faces += coarse.repeat(FACE_SIZE // size, 1).repeat(FACE_SIZE // size, 2)
    geometry = scale.geometry
    return {
        "face": faces.clip(0, 255).astype(np.uint8),
        "attributes": draw.integers(0, 2, (LARGEST_BATCH, len(ISF_ATTRIBUTES))).astype(np.float32),
        "z": draw.standard_normal((LARGEST_BATCH, geometry.noise_size), np.float32),
        "row_strength": np.ones((LARGEST_BATCH, geometry.rows), np.float32),
        "psi": np.full((LARGEST_BATCH, 1), PSI, np.float32),
    }


def _counted(network: Callable[..., Any], *inputs: Any) -> tuple[Any, Array]:
    """A network's output for a batch, and its multiply-accumulates for one row of it."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = network(*inputs)
    return output, np.asarray(counter.get_total_flops() / 2 / len(inputs[0]))
