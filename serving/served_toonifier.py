"""``ServedToonifier``: from aligned faces to pictures, computed by a Triton server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from engines.contract.closing import Closing
from engines.contract.errors import RequestError
from serving.client.defaults import DEFAULT_MODEL
from serving.controls import Style
from serving.faces.images import picture_from_bytes
from serving.faces.jpeg import jpeg_from_picture
from serving.random_faces import Seeds
from serving.requests import check_code_array

if TYPE_CHECKING:  # importing this module needs no gRPC
    from serving.client import ToonifyClient
    from serving.client.calls import ServedModel


class ServedToonifier(Closing):
    """Toonifies with the models of a Triton server.

    Args:
        client: the connection; the toonifier takes it over and closes it.
        model: the ensemble for styles that name no generator; a style with the generator NAME uses ``toonify_NAME``.
        jpeg: ``toonify`` sends and receives JPEG files, for slow networks; nothing tells then how far out codes lie.
        guard: pull in codes that lie farther out than those of good faces, if the server knows these.

    Raises:
        RequestError: ``jpeg`` without ``guard``: the ensembles of JPEG files cannot do without it.
    """

    has_light_encoder = False

    def __init__(
        self, client: ToonifyClient, model: str = DEFAULT_MODEL, *, jpeg: bool = False, guard: bool = True
    ) -> None:
        if jpeg and not guard:
            raise RequestError(
                "JPEG on the wire",
                got="codes to be kept however far out they lie",
                expected="codes that the server guards, or pictures on the wire",
                remedy="leave one of the two out",
            )
        self._client = client
        self._default = model
        self._jpeg, self._guard = jpeg, guard
        self._described: dict[str, ServedModel] = {}

    def toonify(self, faces: Pictures, style: Style) -> Pictures:
        """See ``Toonifier``. One request does both steps, so that the codes stay on the server."""
        if not self._guard and self._guards(style):
            return self._in_two_steps(faces, style)[0]
        model = self._ensemble(style)
        controls = style.controls(self._describe(model).rows)
        if not self._jpeg:
            return self._client.toonify(faces, model=model, **controls)
        answers = self._client.toonify_jpeg([jpeg_from_picture(face) for face in faces], model=model, **controls)
        return np.stack([picture_from_bytes(answer, "the server's answer") for answer in answers])

    def toonify_with_distance(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        """See ``Toonifier``. Where the server guards codes, the two steps are requests of their own.

        An ensemble cannot tell the distance: where a request names some outputs of several steps, Triton answers with
        an error.
        """
        if self._jpeg or not (self._guard and self._guards(style)):
            return self.toonify(faces, style), None
        return self._in_two_steps(faces, style)

    def _in_two_steps(self, faces: Pictures, style: Style) -> tuple[Pictures, Distances | None]:
        w, distances = self.encode_with_distance(faces)
        return self.render(w, style, self.read_attributes(faces) if style.keeps else None), distances

    def _guards(self, style: Style) -> bool:
        return bool(self._describe(self._ensemble(style)).encode)

    def encode(self, faces: Pictures, *, light: bool = False) -> Codes:
        """See ``Toonifier``."""
        return self.encode_with_distance(faces)[0]

    def encode_with_distance(self, faces: Pictures, *, light: bool = False) -> tuple[Codes, Distances | None]:
        """See ``Toonifier``."""
        if not self._guard:
            return self._client.encode(faces), None
        return self._client.encode_with_distance(faces, model=self._default)

    @property
    def reads_attributes(self) -> bool:
        """See ``SamplingToonifier``."""
        return self._describe(self._default).reads_attributes

    def _describe(self, model: str) -> ServedModel:
        if model not in self._described:
            self._described[model] = self._client.describe(model)
        return self._described[model]

    def read_attributes(self, faces: Pictures) -> AnyArray | None:
        """See ``Toonifier``."""
        return self._client.read_attributes(faces) if self.reads_attributes else None

    def render(self, w: Codes, style: Style, shown: AnyArray | None = None) -> Pictures:
        """See ``Toonifier``."""
        check_code_array(w)
        return self._client.render(w, model=self._ensemble(style), **style.controls(w.shape[1], shown))

    def sample_codes(self, seeds: Seeds, style: Style) -> Codes:
        """See ``Toonifier``."""
        return self._client.sample_codes(seeds, model=self._ensemble(style))

    def _ensemble(self, style: Style) -> str:
        return f"toonify_{style.model}" if style.model else self._default

    def close(self) -> None:
        """Close the client."""
        self._client.close()
