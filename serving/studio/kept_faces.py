"""The encoded faces of the pictures that pages show, kept for their next settings."""

from __future__ import annotations

from collections import OrderedDict
from secrets import token_urlsafe

from serving.studio.encoded_faces import EncodedFaces
from serving.studio.refusal import Refusal

MAX_FACES = 8
"""Largest number of pictures whose encoded faces are kept, with up to 5 MB each."""


class KeptFaces:
    """The last pictures' encoded faces, by ids that cannot be guessed; one thread calls the methods."""

    def __init__(self) -> None:
        self._faces: OrderedDict[str, EncodedFaces] = OrderedDict()

    def add(self, faces: EncodedFaces) -> str:
        """Keep faces in the place of those that were used longest ago, and return their id."""
        if len(self._faces) >= MAX_FACES:
            self._faces.popitem(last=False)
        id = token_urlsafe(16)
        self._faces[id] = faces
        return id

    def get(self, id: str) -> EncodedFaces:
        """Return the faces with an id.

        Raises:
            Refusal: there are none, or others have taken their place.
        """
        if id not in self._faces:
            got, expected = "an id that is unknown or was given up", "the id of one of the last pictures"
            raise Refusal(404, "faces", got=got, expected=expected, remedy="send the picture again")
        self._faces.move_to_end(id)
        return self._faces[id]
