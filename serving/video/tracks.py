"""Tracks of a written video beside its pictures.

Nothing that is wrong with a track costs the pictures: what is damaged is left out and counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from engines.contract.atomic import DISK_ERRORS
from serving.video.libav import av


class Track(ABC):
    """A stream of the output.

    ``damaged``: the number of packets that were left out because they cannot be decoded or written.
    """

    def __init__(self, name: str, output: av.container.OutputContainer, begin: Fraction) -> None:
        self.name = name
        self.damaged = 0
        self._output = output
        self._begin = begin

    def write(self, packet: av.Packet[av.stream.Stream]) -> None:
        """Write a packet of the input; only errors of the disk are raised."""
        with self._counted():
            self._write(packet)

    def finish(self) -> None:
        """Write what is still held."""
        with self._counted():
            self._finish()

    @abstractmethod
    def _write(self, packet: av.Packet[av.stream.Stream]) -> None: ...

    def _finish(self) -> None:
        return

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            if error.errno in DISK_ERRORS:
                raise
            self.damaged += 1

    def _since_begin(self, packet: av.Packet[av.stream.Stream]) -> int:
        tick = packet.pts if packet.pts is not None else packet.dts
        return (tick or 0) - round(self._begin / packet.time_base)
