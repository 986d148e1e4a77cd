"""The toonifier that a command's options name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines import read_manifest
from serving.client import DEFAULT_MODEL, DEFAULT_URL, ToonifyClient
from serving.controls import row_strength_for
from serving.errors import RequestError
from serving.tensors import rows_of
from serving.toonifier import EngineToonifier, ServedToonifier, Style, Toonifier


@dataclass(frozen=True)
class BackEnd:
    """A Triton server, or model directories that are loaded into this process.

    ``url`` and ``model``: of the server; None takes the usual ones. ``encoder``, ``generators``, ``isf``: directories;
    there ``model`` chooses among the generators by name.

    Raises:
        RequestError: both of them, or half of what a process needs.
    """

    url: str | None = None
    model: str | None = None
    encoder: Path | None = None
    generators: Sequence[Path] = ()
    isf: Path | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.in_process and (self.url or not (self.encoder and self.generators)):
            raise RequestError(
                "models",
                got="--url and model directories" if self.url else "a part of the model directories",
                expected="--url, or --encoder and --generator (and --isf)",
                remedy="give one or the other, whole",
            )

    @property
    def in_process(self) -> bool:
        """Whether engines run here."""
        return bool(self.encoder or self.generators or self.isf)

    def toonifier(self) -> Toonifier:
        """Load the models, or connect; close it."""
        if self.encoder:
            return EngineToonifier(self.encoder, self.generators, self.isf)
        return ServedToonifier(self._client(), self.model or DEFAULT_MODEL)

    def style(self, attributes: dict[str, float], *, rows: str, seed: int, strength: float, psi: float) -> Style:
        """How pictures shall look; with ``rows`` "preset" an edit stays in the rows of its attributes.

        Raises:
            RequestError: an attribute without a preset.
            ServerError: the server does not say how many rows its codes have.
        """
        by_row = row_strength_for(attributes, rows_of(self.resolution())) if rows == "preset" else None
        return Style(
            attributes=attributes or None,
            seed=seed,
            strength=strength,
            row_strength=None if by_row is None else tuple(by_row.tolist()),
            psi=psi,
            model=self.model if self.in_process else None,
        )

    def resolution(self) -> int:
        """Side of the pictures in pixels.

        Raises:
            ServerError: the server does not answer, or does not say it.
        """
        if self.encoder:
            return read_manifest(self.encoder).sizes.resolution
        with self._client() as client:
            return client.describe(self.model or DEFAULT_MODEL).resolution

    def _client(self) -> ToonifyClient:
        return ToonifyClient(self.url or DEFAULT_URL, timeout=self.timeout)
