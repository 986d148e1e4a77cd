"""The back end that a command's options select: a server, or models in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engines.contract.errors import RequestError, ServerError
from engines.model_directory import Manifest, manifest_of
from serving.client.defaults import DEFAULT_MODEL
from serving.code_spread import CODE_SPREAD
from serving.connection import Connection
from serving.controls import Edit, FarCodes, Style, row_strength_for
from serving.faces.left_alone import unknown_distances
from serving.live_blends import BlendChoices, choices_of_directory
from serving.served_toonifier import ServedToonifier
from serving.toonifier import EngineToonifier, SamplingToonifier

if TYPE_CHECKING:  # models in this process need no gRPC
    from serving.client import ToonifyClient
    from serving.client.calls import ServedModel


@dataclass(frozen=True)
class BackEnd:
    """A Triton server, or model directories that are loaded into this process.

    ``server``: how to reach the server; where that comes from environment variables alone, it gives way to models in
    this process.
    ``model``: the name of a served ensemble, or of one of ``generators``; None selects the default one.
    ``encoder``, ``generators``, ``isf``, ``classifier``, ``light_encoder``: model directories to load into this
    process.
    ``timeout``: seconds for each request to the server.
    ``jpeg``: faces and pictures travel to the server and back as JPEG.
    ``far_codes``: what becomes of faces whose codes lie farther out than those of good faces.

    Raises:
        RequestError: a server and model directories are both given, the encoder or the generators are missing, or
            ``jpeg`` is set without a server, or although faces with far codes are to be left alone.
    """

    server: Connection = field(default_factory=partial(Connection, explicit=False))
    model: str | None = None
    encoder: Path | None = None
    generators: Sequence[Path] = ()
    isf: Path | None = None
    timeout: float = 60.0
    light_encoder: Path | None = None
    jpeg: bool = False
    classifier: Path | None = None
    far_codes: FarCodes = "pull"

    def __post_init__(self) -> None:
        if self.in_process and (self.server.explicit or not (self.encoder and self.generators)):
            raise RequestError(
                "models",
                got="--url and model directories" if self.server.explicit else "only some of the model directories",
                expected="--url, or --encoder and --generator (and --isf, --classifier, --light-encoder)",
                remedy="give --url alone, or --encoder and --generator",
            )
        if self.in_process and self.jpeg:
            raise RequestError(
                "JPEG on the wire",
                got="models in this process",
                expected="a server",
                remedy="leave --jpeg out, or give --url",
            )
        if self.jpeg and self.leave_far:
            raise RequestError(
                "JPEG on the wire",
                got="faces with far codes to be left alone",
                expected="pictures on the wire, with which a server tells how far out codes lie",
                remedy="leave --jpeg out, or choose another --far-codes",
            )

    @property
    def in_process(self) -> bool:
        """True if the models run in this process."""
        return bool(self.encoder or self.generators or self.isf or self.classifier or self.light_encoder)

    @property
    def guard(self) -> bool:
        """True if far codes are found, and pulled in."""
        return self.far_codes != "keep"

    @property
    def leave_far(self) -> bool:
        """True if faces with far codes are left alone."""
        return self.far_codes == "leave"

    def toonifier(self) -> SamplingToonifier:
        """Load the models or connect to the server; the caller closes the toonifier.

        Raises:
            ModelDirectoryError: a model directory is unusable.
            RequestError: the models do not fit together, or do not tell which codes are far, which are to be left.
        """
        if self.leave_far and not self._tells_distances():
            raise unknown_distances()
        if self.encoder:
            return EngineToonifier(
                self.encoder,
                self.generators,
                self.isf,
                classifier=self.classifier,
                light_encoder=self.light_encoder,
                guard=self.guard,
            )
        return ServedToonifier(self.client(), self.model or DEFAULT_MODEL, jpeg=self.jpeg, guard=self.guard)

    def client(self) -> ToonifyClient:
        """Make a client of the server; the caller closes it."""
        return self.server.client(self.timeout)

    def style(
        self,
        edit: Edit,
        *,
        seed: int,
        strength: float,
        psi: float,
        r_swap: int | None = None,
        alpha: float | None = None,
        transfer: str | None = None,
    ) -> Style:
        """Return the style of the pictures; with rows "preset" an edit is confined to the rows of its attributes.

        Raises:
            RequestError: ``edit.rows`` is "preset" and an attribute has no preset.
            ServerError: the server does not state how many rows its codes have.
        """
        by_row = row_strength_for(edit.attributes, self._code_rows()) if edit.rows == "preset" else None
        return Style(
            attributes=edit.attributes or None,
            keep=edit.keep or None,
            exact=edit.exact,
            seed=seed,
            strength=strength,
            row_strength=None if by_row is None else tuple(by_row.tolist()),
            psi=psi,
            model=self.model if self.in_process else None,
            r_swap=r_swap,
            alpha=alpha,
            transfer=transfer,
        )

    def resolution(self) -> int:
        """Return the side of the pictures in pixels.

        Raises:
            ModelDirectoryError, RequestError: see ``manifests``.
            ServerError: the server does not answer.
        """
        return self.manifests()[0].sizes.resolution if self.in_process else self._describe_served().resolution

    def blend_choices(self) -> BlendChoices:
        """Return the blends that a request to the selected generator may choose; raises as ``resolution`` does."""
        return choices_of_directory(self.manifests()[0]) if self.in_process else self._describe_served().blend_choices

    def manifests(self) -> list[Manifest]:
        """Return the manifests of the generators in this process, the selected generator's first.

        Raises:
            ModelDirectoryError: a directory has no usable manifest.
            RequestError: no generator has the name ``model``.
        """
        manifests = [manifest_of(directory) for directory in self.generators]
        names = [manifest.name for manifest in manifests]
        if self.model is not None and self.model not in names:
            raise RequestError(
                f"model {self.model!r}",
                got="no generator of that name",
                expected=f"one of {', '.join(names)}",
                remedy="choose one of those, or load it too",
            )
        return sorted(manifests, key=lambda manifest: manifest.name != self.model)

    def _tells_distances(self) -> bool:
        if self.encoder:
            return CODE_SPREAD in manifest_of(self.encoder).files
        try:
            return bool(self._describe_served().encode)
        except ServerError:
            return True  # nobody knows; the requests that follow have the patience for a server that is away

    def _code_rows(self) -> int:
        return manifest_of(self.encoder).sizes.geometry.rows if self.encoder else self._describe_served().rows

    def _describe_served(self) -> ServedModel:
        with self.client() as client:
            return client.describe(self.model or DEFAULT_MODEL)
