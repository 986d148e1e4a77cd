"""Paths of the demo's checkpoints in the package; README.md beside this file is their model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.checkpoints import read_encoder, read_generator
from export.weights import EncoderWeights

DIRECTORY = Path(__file__).parent / "weights"
ISF_IS_RESIDUAL = True
"""The demo's ISF head was trained with ``use_residual``, which its file cannot record."""
DESCRIPTION = "small networks trained on rendered characters"


@dataclass(frozen=True)
class DemoFiles:
    """The demo's six checkpoints in half precision, in one folder; five of them have official formats."""

    directory: Path = DIRECTORY

    @property
    def base(self) -> Path:
        """The generator of photographs."""
        return self.directory / "base.pt"

    @property
    def transfer(self) -> Path:
        """The generator of cartoons, a sibling of the base."""
        return self.directory / "transfer.pt"

    @property
    def encoder(self) -> Path:
        return self.directory / "encoder.pt"

    @property
    def restyle(self) -> Path:
        """The ReStyle encoder that corrects the encoder's code; its decoder is the base."""
        return self.directory / "restyle.pt"

    @property
    def isf(self) -> Path:
        return self.directory / "isf.ckpt"

    @property
    def judge(self) -> Path:
        """The network that measures the others."""
        return self.directory / "judge.safetensors"

    def read_encoder(self) -> EncoderWeights:
        """Read both encoders as one, which gives the encoder's code corrected in one step.

        Raises:
            CheckpointError: a file is damaged or missing.
        """
        return read_encoder(self.restyle, first=self.encoder, generator=read_generator(self.base))
