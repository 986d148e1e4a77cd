"""Refusals of requests, and the room that the studio has for uploads and streams."""

from __future__ import annotations

from threading import Lock

from engines.contract.errors import RequestError


class Refusal(RequestError):
    """An error with an HTTP status of its own."""

    def __init__(self, status: int, subject: str, *, got: str, expected: str, remedy: str) -> None:
        super().__init__(subject, got=got, expected=expected, remedy=remedy)
        self.status = status


class Room:
    """Bounds how many things of one kind are in the studio, and their bytes together; threads may share one.

    Args:
        things: the plural by which errors name them.
        count: the largest number of them, unfinished uploads included.
        size: the largest number of their bytes.
    """

    def __init__(self, things: str, count: int, size: int) -> None:
        self._things, self._count, self._size = things, count, size
        self._places: set[Place] = set()
        self._lock = Lock()

    def enter(self) -> Place:
        """Take a place; its owner calls ``leave`` at the end.

        Raises:
            Refusal: all places are taken.
        """
        place = Place(self)
        with self._lock:
            if len(self._places) >= self._count:
                raise self._full(f"{self._count} {self._things} at a time")
            self._places.add(place)
        return place

    def _grow(self, place: Place, size: int) -> None:
        with self._lock:
            if sum(other.size for other in self._places) + size > self._size:
                raise self._full(f"{self._size / 2**20:g} MiB of {self._things}")
            place.size += size

    def _leave(self, place: Place) -> None:
        with self._lock:
            self._places.discard(place)

    def _full(self, limit: str) -> Refusal:
        remedy = "try again when some are done"
        return Refusal(503, "toonify studio", got="more work than it has room for", expected=limit, remedy=remedy)


class Place:
    """A place in a room, and the number of bytes that its owner keeps."""

    def __init__(self, room: Room) -> None:
        self.size = 0
        self._room = room

    def grow(self, size: int) -> None:
        """Keep ``size`` more bytes.

        Raises:
            Refusal: the room has no space for them.
        """
        self._room._grow(self, size)

    def leave(self) -> None:
        """Give the place and its bytes back; more than once is no error."""
        self._room._leave(self)
