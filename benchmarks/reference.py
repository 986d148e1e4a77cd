"""Inputs of every stage, and the outputs of the float32 reference networks for them.

The reference runs once: faces -> encoder -> w -> ISF head -> w_edited -> generator -> pictures. Each stage gets the
reference's input and is compared with the reference's output, so an error is the stage's own; the pipeline's error is
that of all three stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.costs import Costs, generator_bytes, generator_macs
from benchmarks.networks import (
    SEED,
    BenchmarkModels,
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


class ReferenceData:
    """Inputs of every stage and the reference's outputs for them, read from the models' reference file."""

    def __init__(self, models: BenchmarkModels) -> None:
        with np.load(models.reference_file) as file:
            self._arrays = dict(file)
        self.models = models

    def sample(self, stage: str, batch: int) -> Sample:
        """Inputs of a batch, and the reference's output for them; both are empty for the stage "roof"."""
        from export.verification import Sample

        return Sample(self.inputs(stage, batch), self.output(stage, batch))

    def inputs(self, stage: str, batch: int) -> dict[str, Array]:
        """Inputs of a batch, by tensor name."""
        signature = signature_of(stage, self.models.scale.geometry)
        names = {"w": "w_edited"} if stage == "generator" else {}
        return {spec.name: self._arrays[names.get(spec.name, spec.name)][:batch] for spec in signature.inputs}

    def output(self, stage: str, batch: int) -> Array:
        """The reference's output for the inputs of a batch; empty for the stage "roof"."""
        outputs = signature_of(stage, self.models.scale.geometry).outputs
        return self._arrays[outputs[0].name][:batch] if outputs else np.empty(0)

    def costs(self, stage: str) -> Costs:
        """Multiply-accumulates of the stage for one picture; for the generator, bytes too."""
        channels = self.models.scale.channels
        if stage == "generator":
            return Costs(generator_macs(channels), generator_bytes(channels))
        macs = {name: float(self._arrays[f"{name}_macs"]) for name in ("encoder", "isf")}
        return Costs(macs[stage] if stage in macs else sum(macs.values()) + generator_macs(channels))


def write_reference_data(models: BenchmarkModels) -> None:
    """Run the reference networks on seeded inputs; write inputs, outputs and costs to the models' reference file."""
    import torch

    from export.networks.encoder import encoder_from_weights, input_from_face
    from export.networks.generator import generator_from_weights, picture_from_output
    from export.networks.isf import isf_from_weights

    arrays = _seeded_inputs(models.scale)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    with torch.no_grad():
        encoder = encoder_from_weights(encoder_weights(models.scale))
        w, arrays["encoder_macs"] = _output_and_macs(lambda face: encoder(input_from_face(face)), tensors["face"])
        isf = isf_from_weights(isf_weights(models.scale))
        edited, arrays["isf_macs"] = _output_and_macs(
            isf, w, tensors["attributes"], tensors["z"], tensors["row_strength"]
        )
        generator = generator_from_weights(generator_weights(models.scale))
        # One picture at a time: a batch of float32 maps at 1024x1024 would take gigabytes.
        pictures = [generator(row[None], psi[None]) for row, psi in zip(edited, tensors["psi"], strict=True)]
    arrays |= {"w": w.numpy(), "w_edited": edited.numpy(), "image": picture_from_output(torch.cat(pictures)).numpy()}
    with atomic_file(models.reference_file) as partial_file:
        np.savez(partial_file, **arrays)


def _seeded_inputs(scale: Scale) -> dict[str, Array]:
    """Faces with structure at several scales, and controls that edit every row at full strength."""
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


def _output_and_macs(network: Callable[..., Any], *inputs: Any) -> tuple[Any, Array]:
    """A network's output for a batch, and its multiply-accumulates for one row of it."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = network(*inputs)
    return output, np.asarray(counter.get_total_flops() / 2 / len(inputs[0]))
