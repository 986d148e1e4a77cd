"""Checkpoint files with changed bytes or opcodes: each is read, or refused in one sentence, at a bounded cost."""

from __future__ import annotations

import functools
import pickle
import random
import resource
import signal
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickletools import genops, opcodes
from types import FrameType

from checkpoint_files import isf_state, nvlabs_pickle, saved, tensorflow_pickle, torch_tensors, torch_zip
from fuzzer import Check, Fuzzer
from generators import random_generator
from training_baggage import BAGGAGE

from engines.contract.errors import CheckpointError
from export.checkpoints import read_checkpoint, write_generator_safetensors, write_rosinality
from export.checkpoints.pickles import StandIn
from export.checkpoints.stand_ins import stand_ins
from export.checkpoints.stored_tensors import ReadContext

MIB = 1 << 20
SECONDS = 60
"""The costliest file takes two seconds on one core."""

_OPCODES = [opcode.code.encode("latin-1") for opcode in opcodes]
_FUNCTIONS = [name for name, value in stand_ins(ReadContext("", 0)).items() if isinstance(value, StandIn)]


@functools.cache
def originals() -> tuple[bytes, ...]:
    """One small file of each format that is read."""
    generator = random_generator(8, 2, w_dim=4)
    with tempfile.TemporaryDirectory() as folder:
        rosinality, safetensors = Path(folder) / "network.pt", Path(folder) / "network.safetensors"
        write_rosinality(generator, rosinality)
        write_generator_safetensors(generator, safetensors)
        legacy = saved(Path(folder) / "legacy.pt", {"mapnet": torch_tensors(isf_state(1))}, legacy=True)
        files = [path.read_bytes() for path in (rosinality, safetensors, legacy)]
    beside = pickle.dumps({"G_ema": None, **BAGGAGE}, protocol=4)
    return (*files, nvlabs_pickle(generator), tensorflow_pickle(generator), beside)


@functools.cache
def pickled() -> tuple[bytes, ...]:
    """The pickles of the originals; the first one is a zip file's ``data.pkl``."""
    with zipfile.ZipFile(BytesIO(originals()[0])) as archive:
        inner = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    return (inner, *originals()[3:])


def make(source: random.Random) -> bytes:
    """A file with up to six bytes changed, or a pickle with other opcodes, bare or in a zip file."""
    if source.random() < 0.5:
        return _changed_bytes(source, source.choice(originals()))
    content = source.choice(pickled())
    content = _repeated_use(source, content) if source.random() < 0.5 else _changed_opcodes(source, content)
    return torch_zip(content) if source.random() < 0.3 else content


def _changed_bytes(source: random.Random, original: bytes) -> bytes:
    """Half of the changes are near the file's beginning."""
    content = bytearray(original)
    for _ in range(source.randint(1, 6)):
        end = len(content) if source.random() < 0.5 else min(len(content), 2000)
        content[source.randrange(end)] = source.randrange(256)
    return bytes(content)


@functools.cache
def _positions(content: bytes) -> tuple[int, ...]:
    return tuple(position for _, _, position in genops(content) if position is not None)


def _changed_opcodes(source: random.Random, original: bytes) -> bytes:
    """Up to three opcodes are replaced or inserted, or a run of them is repeated."""
    content, positions = bytearray(original), _positions(original)
    for at in sorted(source.sample(positions, 3), reverse=True):
        match source.randrange(3):
            case 0:
                content[at : at + 1] = source.choice(_OPCODES)
            case 1:
                content[at:at] = source.choice(_OPCODES) + source.randbytes(source.choice((0, 1, 4, 8)))
            case _:
                end = next((p for p in positions if p > at + source.randrange(200)), len(original))
                content[at:at] = original[at:end] * source.choice((1, 2, 1000))
    return bytes(content)


def _repeated_use(source: random.Random, original: bytes) -> bytes:
    """An object of the file, or a large one, is copied, set as a state or given to a function thousands of times."""
    positions = _positions(original)
    at = source.choice(positions[len(positions) // 10 :])
    large = source.choice((b"", _large(source)))
    # MEMOIZE takes the next free index, which is unknown here; a large object takes one that no file has.
    get = b"j\x00\x00\x00\x7f" if large else b"h" + bytes([source.randrange(256)])
    use = _use(source, get)
    repeated = large + use * source.choice((10, 60_000 // (len(use) // 2)))
    return original[:at] + repeated + original[at:]


def _large(source: random.Random) -> bytes:
    count = source.choice((1000, 30_000))
    # Numbers in order, numbers that share their low bits, and numbers whose hash is 0.
    factor = source.choice((1, 1 << 40, (1 << 61) - 1))
    numbers = b"".join(b"\x8a\x0a" + (i * factor).to_bytes(10, "little") for i in range(count))
    large = source.choice(
        (
            b"](" + numbers + b"e",
            b"(" + numbers + b"t",
            b"}(" + numbers + b"u",
            b"\x8f(" + numbers + b"\x90",
            b"X" + struct.pack("<I", 20 * count) + b"a" * 20 * count,
            b"B" + struct.pack("<I", 20 * count) + b"a" * 20 * count,
        )
    )
    return large + b"r\x00\x00\x00\x7f0"


def _use(source: random.Random, get: bytes) -> bytes:
    """Opcodes that use the object that ``get`` pushes, and drop the result or keep it."""
    module, _, attribute = source.choice(_FUNCTIONS).rpartition(".")
    function = f"c{module}\n{attribute}\n".encode()
    arguments = source.choice((get + b"\x85", get + get + b"\x86", b"N" + get + b"\x86", b"(" + get * 5 + b"t", get))
    use = source.choice(
        (
            get,
            get + b"2",
            get + b"\x85",
            b"](" + get + b"e",
            b"}N" + get + b"s",
            b"\x8f(" + get + b"\x90",
            function + arguments + b"R",
            function + b")R" + get + b"b",
            function + b")R(K\x01K\x04" + get + b"\x89" + get + b"tb",
        )
    )
    return use + source.choice((b"", b"0"))


class TooSlow(Exception):
    """A file took longer than ``SECONDS``."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextmanager
def _bounded(allowed: int) -> Iterator[None]:
    """Within the block, ``allowed`` more bytes of memory can be had, and ``SECONDS`` of time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + allowed, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check writes its input into ``folder`` and reads it as a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "network.pt"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        sentence = ""
        try:
            # 250,000 operations can make as many objects of some hundred bytes.
            with _bounded(192 * MIB + 8 * len(content)):
                read_checkpoint(path, attributes=("a", "b", "c", "d"))
        except CheckpointError as error:
            sentence = str(error)
        assert len(sentence) < 1000

    yield check


FUZZER = Fuzzer("checkpoints", make, checking, short=300)
