"""The demo's checkpoints as they lie in the package; README.md beside this file is their model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "weights"
DESCRIPTION = "small networks trained on drawn faces"


@dataclass(frozen=True)
class DemoFiles:
    """Five files in one folder, in half precision, four of them in the official formats."""

    directory: Path = DIRECTORY

    @property
    def base(self) -> Path:
        """The photograph's generator."""
        return self.directory / "base.pt"

    @property
    def transfer(self) -> Path:
        """The cartoon's generator, fine-tuned from the base."""
        return self.directory / "transfer.pt"

    @property
    def encoder(self) -> Path:
        return self.directory / "encoder.pt"

    @property
    def isf(self) -> Path:
        return self.directory / "isf.ckpt"

    @property
    def judge(self) -> Path:
        """The network that measures the others."""
        return self.directory / "judge.safetensors"
