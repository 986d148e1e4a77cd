"""Readers of the two formats of ``torch.save``, without torch.

The zip format (since torch 1.6) has uncompressed members: ``<root>/data.pkl``, ``<root>/data/<key>`` for each storage,
and ``<root>/byteorder``. The legacy format has five pickles (magic number, protocol version, system information, the
object, the keys of its storages), then for each key a 64-bit count of elements and the bytes. Old pickles of modules
embed one legacy file for each storage.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from typing import IO, cast

from export.checkpoints.pickles import ByteStream, StandIn, unpickle
from export.checkpoints.stand_ins import stand_ins
from export.checkpoints.stored_tensors import Element, ReadContext, Storage, clipped

LARGEST_DIRECTORY = 4 << 20
"""Bytes of a zip file's directory."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# The pickled magic number, with or without a frame. Elsewhere in a file, these bytes belong to an embedded file.
_LEGACY_START = re.compile(rb"\x80.(\x95.{8})?\x8a\x0a" + re.escape(_LEGACY_MAGIC.to_bytes(10, "little")), re.DOTALL)


def is_legacy(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is in torch's legacy format."""
    return _LEGACY_START.match(head) is not None


def read_pickle(data: memoryview, context: ReadContext) -> object:
    """Read a plain pickle, the container of NVIDIA's checkpoints.

    Raises:
        CheckpointError: see ``unpickle``.
    """

    # torch's own _load_from_bytes would unpickle the bytes without restrictions.
    def load_from_bytes(raw: bytes) -> object:
        return read_legacy(memoryview(raw), context)

    table = stand_ins(context) | {"torch.storage._load_from_bytes": StandIn(load_from_bytes)}
    return unpickle(ByteStream(data), context, table)


def read_legacy(data: memoryview, context: ReadContext) -> object:
    """Read the legacy format.

    Raises:
        CheckpointError: see ``unpickle``; or a storage is missing, or its size differs from what its pickle claims.
    """
    stream, table, storages = ByteStream(data), stand_ins(context), _Storages(context)
    if unpickle(stream, context, table) != _LEGACY_MAGIC or unpickle(stream, context, table) != _LEGACY_PROTOCOL:
        raise context.error("another magic number or protocol", expected=f"torch's legacy format {_LEGACY_PROTOCOL}")
    _check_byte_order(unpickle(stream, context, table), context)
    content = unpickle(stream, context, table, storages.get)
    keys = unpickle(stream, context, table)
    for key in keys if isinstance(keys, list) else []:
        storages.fill(key, stream)
    storages.check_filled()
    return content


def _check_byte_order(system: object, context: ReadContext) -> None:
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise context.error("a file of a big-endian machine", expected="little-endian numbers")


class _Storages:
    """The storages to which a pickle's persistent ids refer."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._by_key: dict[str, Storage] = {}

    def get(self, persistent_id: object) -> Storage:
        match persistent_id:
            case ("storage", Element() as element, str(key), str(), int(count), *views) if views in ([], [None]):
                nbytes = count * element.numpy.itemsize
                storage = self._by_key.get(key) or self._new(key, element, nbytes)
                self._by_key[key] = storage
            case _:
                raise self._context.error("an unexpected persistent id", expected="('storage', type, key, ...)")
        if (storage.element, storage.nbytes) != (element, nbytes):
            raise self._context.error(
                f"storage {clipped(key)} under two types or sizes", expected="one type and size for each storage"
            )
        return storage

    def _new(self, key: str, element: Element, nbytes: int) -> Storage:
        return Storage(self._context, element, nbytes)

    def fill(self, key: object, stream: ByteStream) -> None:
        storage = self._by_key.get(key) if isinstance(key, str) else None
        if storage is None:
            raise self._context.error(f"a storage {clipped(key)} that no tensor views", expected="known storages")
        header = stream.read(8)
        if len(header) < 8:
            raise self._context.error("a file that ends before its storages do", expected="a whole file")
        nbytes = struct.unpack("<q", header)[0] * storage.element.numpy.itemsize
        storage.fill(stream.take(max(nbytes, 0)))

    def check_filled(self) -> None:
        for key, storage in self._by_key.items():
            if not storage.filled:
                raise self._context.error(f"no bytes for storage {clipped(key)}", expected="every storage's bytes")


def read_zip(data: memoryview, context: ReadContext) -> object:
    """Read the zip format; ``data`` is the whole file.

    Raises:
        CheckpointError: see ``unpickle``; or the archive is not one that ``torch.save`` writes, a member is compressed,
            or a storage has another size than its pickle claims.
    """
    archive = _Archive(data, context)
    pickle = ByteStream(archive.content("data.pkl"))
    if "byteorder" in archive:
        _check_byte_order({"little_endian": bytes(archive.content("byteorder")) == b"little"}, context)
    return unpickle(pickle, context, stand_ins(context), _ZipStorages(archive, context).get)


class _ZipStorages(_Storages):
    def __init__(self, archive: _Archive, context: ReadContext) -> None:
        super().__init__(context)
        self._archive = archive

    def _new(self, key: str, element: Element, nbytes: int) -> Storage:
        storage = super()._new(key, element, nbytes)
        storage.fill(self._archive.content(f"data/{key}"))
        return storage


# zipfile does not convert the exceptions of its struct and integer conversions.
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, ValueError, struct.error, OverflowError, NotImplementedError, EOFError)


class _SeekableStream(ByteStream):
    """Bytes in memory as ``zipfile`` reads them."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise OSError("a position before the file's beginning")
        self._position = start + offset
        return self._position

    def read(self, count: int = -1) -> bytes:
        # zipfile reads the whole directory in one call. A network has 1,000 members of 60 bytes there; 100,000 of them
        # take a second.
        if count > LARGEST_DIRECTORY:
            raise ValueError(f"a directory of {count} bytes")
        return super().read(len(self._data) if count < 0 else count)


class _Archive:
    """The members of a torch zip file, all uncompressed, as views of the file's bytes."""

    def __init__(self, data: memoryview, context: ReadContext) -> None:
        self._data = data
        self._context = context
        members = self._list()
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise context.error(
                "a zip archive without exactly one data.pkl",
                expected="a checkpoint written by torch.save",
                remedy="unpack it first",
            )
        self._members = {name.removeprefix(roots[0]): info for name, info in members.items()}
        if "constants.pkl" in self:
            raise context.error(
                "a TorchScript program",
                expected="a checkpoint of named tensors",
                remedy="save its state_dict() instead",
            )

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def _list(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(cast(IO[bytes], _SeekableStream(self._data))) as archive:
                infos = archive.infolist()
        except _ZIP_ERRORS:
            raise self._context.error("a damaged or truncated zip", expected="a whole file") from None
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
                raise self._context.error(
                    f"the compressed or encrypted member {clipped(info.filename)} of {info.file_size} bytes",
                    expected="uncompressed members, as torch.save writes them",
                    remedy="save it again with torch.save",
                )
        if sum(info.file_size for info in infos) > len(self._data):
            raise self._context.error("zip members that overlap", expected="members that follow each other")
        return {info.filename: info for info in infos}

    def content(self, name: str) -> memoryview:
        """Return a member's bytes, checked against their CRC-32."""
        info = self._members.get(name)
        if info is None:
            raise self._context.error(f"no zip member {clipped(name)}", expected="every member that the pickle names")
        header = self._data[info.header_offset : info.header_offset + 30]
        if bytes(header[:4]) != b"PK\x03\x04" or len(header) < 30:
            raise self._context.error(f"a damaged header of zip member {clipped(name)}", expected="a whole file")
        begin = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        content = self._data[begin : begin + info.file_size]
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise self._context.error(
                f"altered bytes in zip member {clipped(name)}", expected="bytes that match its CRC-32"
            )
        return content
