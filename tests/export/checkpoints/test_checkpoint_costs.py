"""A file costs no more than a small multiple of its own size: every copy that a pickle asks for is paid for."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from checkpoint_files import NvModule, nvlabs_pickle, official_modules, written
from generators import random_generator

from engines.contract.errors import CheckpointError
from export.checkpoints import pickles, read_checkpoint
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.pickles import ByteStream, Stateful
from export.checkpoints.stand_ins import stand_ins
from export.checkpoints.stored_tensors import ReadContext

MIB = 1 << 20
TOO_MUCH = "contents that expand to more than four times the file's size"

LARGE: dict[str, object] = {
    "text": "a" * MIB,
    "bytes": b"a" * MIB,
    "list": [*range(20_000)],
    "pairs": [(i, i) for i in range(20_000)],
    "tuple": (*range(20_000),),
    "dict": dict.fromkeys(map(str, range(20_000))),
    "set": {*map(str, range(20_000))},
}
GET = b"h\x01"

# What uses each opcode on the large object and keeps the result on the stack.
USES: dict[str, bytes] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP", "BINGET"), b""),
    "LONG_BINGET": b"j\x01\0\0\0",
    "BININT": b"J\0\0\0\0",
    "BININT1": b"K\0",
    "BININT2": b"M\0\0",
    "LONG1": b"\x8a\x01\0",
    "LONG4": b"\x8b\x01\0\0\0\0",
    "BINSTRING": b"T\0\0\0\0",
    "SHORT_BINSTRING": b"U\0",
    "BINUNICODE": b"X\0\0\0\0",
    "SHORT_BINUNICODE": b"\x8c\0",
    "BINUNICODE8": b"\x8d" + b"\0" * 8,
    "BINBYTES": b"B\0\0\0\0",
    "SHORT_BINBYTES": b"C\0",
    "BINBYTES8": b"\x8e" + b"\0" * 8,
    "BYTEARRAY8": b"\x96" + b"\0" * 8,
    "BINFLOAT": b"G" + b"\0" * 8,
    "BINPUT": GET + b"q\x02",
    "LONG_BINPUT": GET + b"r\x02\0\0\0",
    "MEMOIZE": GET + b"\x94",
    "NONE": b"N",
    "NEWTRUE": b"\x88",
    "NEWFALSE": b"\x89",
    "EMPTY_TUPLE": b")",
    "EMPTY_LIST": b"]",
    "EMPTY_DICT": b"}",
    "EMPTY_SET": b"\x8f",
    "FROZENSET": b"(" + GET + b"\x91",
    "MARK": b"(" + GET + b"t",
    "POP": GET + b"0",
    "POP_MARK": b"(" + GET + b"1",
    "DUP": GET + b"2",
    "TUPLE1": GET + b"\x85",
    "TUPLE2": GET + GET + b"\x86",
    "TUPLE3": GET + GET + GET + b"\x87",
    "TUPLE": b"(" + GET + b"t",
    "APPEND": b"]" + GET + b"a",
    "APPENDS": b"](" + GET + b"e",
    "ADDITEMS": b"\x8f(" + GET + b"\x90",
    "SETITEM": b"}" + GET + GET + b"s",
    "SETITEMS": b"}(" + GET + GET + b"u",
    "REDUCE": b"ccollections\nOrderedDict\n" + GET + b"R",
    "NEWOBJ": b"ccollections\nOrderedDict\n" + GET + b"\x81",
    "BUILD": b"cargparse\nNamespace\n)R" + GET + b"b",
    "GLOBAL": b"ccollections\nOrderedDict\n",
    "STACK_GLOBAL": GET + GET + b"\x93",
    "BINPERSID": GET + b"Q",
}


def largest_growth(repeated: bytes, large: object, file_size: int = MIB) -> int:
    """The most bytes that 100 uses of a large object take."""
    context = ReadContext("network.pt", file_size)
    machine = pickles._Machine(context, stand_ins(context), None)
    machine.memo["1"] = large
    tracemalloc.start()
    try:
        machine.run(ByteStream(memoryview(b"\x80\x04" + repeated * 100 + b".")))
    except (CheckpointError, ValueError, TypeError, LookupError, AttributeError):
        pass  # most opcodes refuse most objects
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_every_opcode_is_tried() -> None:
    assert USES.keys() == pickles._HANDLERS.keys()


@pytest.mark.parametrize("opcode", USES)
def test_an_opcode_that_uses_a_large_object_again_and_again_stays_within_the_budget(opcode: str) -> None:
    for large in LARGE.values():
        assert largest_growth(USES[opcode], large) < 32 * MIB


@pytest.mark.parametrize(
    "name", [n for n, x in stand_ins(ReadContext("", 0)).items() if isinstance(x, pickles.StandIn)]
)
def test_a_stand_in_that_gets_a_large_object_again_and_again_stays_within_the_budget(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    function = f"c{module}\n{attribute}\n".encode()
    small = [b"", b"N", b"NN"]
    for large in LARGE.values():
        for before in small:
            for after in small:
                assert largest_growth(function + b"(" + before + GET + after + b"tR", large) < 32 * MIB


@pytest.mark.parametrize(
    "target",
    [
        b"ccollections\nOrderedDict\n)R",
        b"ccollections\ndeque\n)R",
        b"cargparse\nNamespace\n)R",
        b"cdnnlib.tflib.network\nNetwork\n)R",
        b"ctorch\ndevice\n)R",
        b"cnumpy\ndtype\nU\x02f4\x85R",
        b"cnumpy.core.multiarray\n_reconstruct\n)R",
        b"ctorch.nn.parameter\nParameter\n(cnumpy.core.multiarray\n_reconstruct\n)RtR",
    ],
)
def test_a_state_that_is_set_again_and_again_stays_within_the_budget(target: bytes) -> None:
    one_byte = b"cnumpy\ndtype\nU\x02i1\x85R"
    for large in LARGE.values():
        array = b"(K\x01" + struct.pack("<cI", b"J", MIB) + b"\x85" + one_byte + b"\x89" + GET + b"t"
        for state in (GET, b"N" + GET + b"\x86", array):
            assert largest_growth(target + state + b"b", large) < 32 * MIB


def test_every_stateful_stand_in_is_tried() -> None:
    names = {kind.__name__ for kind in Stateful.__subclasses__()}
    expected = {"Inert", "OrderedDict", "Deque", "Namespace", "TfNetwork", "NumpyType", "NumpyArray", "Parameter"}
    assert names == expected


def test_arguments_that_a_function_ignores_are_paid_for(tmp_path: Path) -> None:
    arguments = b"(" + b"N" * 100_000 + b"tq\x01"
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\nq\x02"
    content = b"\x80\x02" + arguments + reconstruct + b"h\x02h\x01R" * 40_000 + b"."
    with pytest.raises(CheckpointError, match=TOO_MUCH):
        read_checkpoint(written(tmp_path / "evil.pkl", content))


def colliding(count: int) -> Iterator[bytes]:
    """Integers with the hash 0."""
    for i in range(1, count + 1):
        number = i * ((1 << 61) - 1)
        encoded = number.to_bytes(number.bit_length() // 8 + 1, "little")
        yield b"\x8a" + bytes([len(encoded)]) + encoded


@pytest.mark.parametrize(
    ("begin", "value", "end"),
    [
        (b"}(", b"N", b"u"),
        (b"\x8f(", b"", b"\x90"),
        (b"cbuiltins\nset\n](", b"", b"e\x85R"),
        (b"ccollections\nOrderedDict\n](", b"N\x86", b"e\x85R"),
    ],
    ids=["dict", "set", "built set", "OrderedDict"],
)
def test_keys_whose_hashes_collide_do_not_take_quadratic_time(
    tmp_path: Path, begin: bytes, value: bytes, end: bytes
) -> None:
    # Half a minute to half an hour if each key were compared with all others.
    content = b"\x80\x04" + begin + b"".join(key + value for key in colliding(60_000)) + end + b"."
    with pytest.raises(CheckpointError):
        read_checkpoint(written(tmp_path / "evil.pkl", content))


def test_numbers_as_keys_stay_apart_from_their_text(tmp_path: Path) -> None:
    context = ReadContext("network.pt", 1000)
    content = pickles.unpickle(ByteStream(memoryview(pickle.dumps({1: "a", "1": "b", 1.5: "c"}))), context, {})
    assert isinstance(content, dict)
    assert [*content.values()] == ["a", "b", "c"]


def test_a_pair_of_an_ordered_dict_is_no_nested_key(tmp_path: Path) -> None:
    nested = b")" + b"2\x86" * 100
    content = b"\x80\x02ccollections\nOrderedDict\n]" + nested + b"N\x86a\x85R."
    with pytest.raises(CheckpointError, match="a damaged or truncated pickle"):
        read_checkpoint(written(tmp_path / "evil.pkl", content))


def nvlabs_modules(root: NvModule) -> bytes:
    """A pickle in which objects that are named twice are stored once."""
    with official_modules(reconstruct=NvModule.__reduce__(root)[0]):
        return pickle.dumps({"G_ema": root}, protocol=4)


def test_modules_may_not_share_a_long_name(tmp_path: Path) -> None:
    leaf = NvModule("Layer")
    leaf.meta["state"]["_parameters"] = {str(i): None for i in range(100)}
    chain = leaf
    for _ in range(60):
        chain = NvModule("Layer", **{"n" * 100_000: chain})
    assert_too_much(tmp_path, nvlabs_modules(chain))


def test_modules_may_not_share_their_tensors(tmp_path: Path) -> None:
    shared: dict[str, Any] = {str(i): None for i in range(2000)}
    modules = {f"b{i}": NvModule("Layer") for i in range(2000)}
    for module in modules.values():
        module.meta["state"]["_parameters"] = shared
    assert_too_much(tmp_path, nvlabs_modules(NvModule("Generator", **modules)))


def test_components_may_not_share_their_variables(tmp_path: Path) -> None:
    network = b"cdnnlib.tflib.network\nNetwork\n)Rq\x01}U\x09variables](" + b"U\x01aK\x01\x86" * 20_000 + b"esb0"
    components = b"".join(b"X" + struct.pack("<I", 4) + b"%04d" % i + b"h\x01" for i in range(2000))
    root = b"cdnnlib.tflib.network\nNetwork\n)R}U\x0acomponents}(" + components + b"ussb"
    assert_too_much(tmp_path, b"\x80\x02" + network + root.replace(b"ussb", b"usb") + b".")


def assert_too_much(folder: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=TOO_MUCH):
        read_checkpoint(written(folder / "evil.pkl", content))


def test_a_safetensors_header_for_more_tensors_than_any_network_is_refused(tmp_path: Path) -> None:
    header = ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(100_000))
    content = struct.pack("<Q", len(header) + 2) + f"{{{header}}}".encode()
    with pytest.raises(CheckpointError, match=r"a safetensors header of \d+ bytes, expected at most 4194304"):
        read_checkpoint(written(tmp_path / "many.safetensors", content))


def test_a_zip_with_more_members_than_any_network_is_refused(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
    content = buffer.getvalue()
    directory = content.index(b"PK\x01\x02")
    entry, end = content[directory : content.index(b"PK\x05\x06")], bytearray(content[content.index(b"PK\x05\x06") :])
    struct.pack_into("<I", end, 12, 100_000 * len(entry))
    with pytest.raises(CheckpointError, match="a damaged or truncated zip"):
        read_checkpoint(written(tmp_path / "many.pt", content[:directory] + entry * 100_000 + bytes(end)))


def test_an_ordinary_file_is_far_from_the_limits(tmp_path: Path) -> None:
    content = nvlabs_pickle(random_generator(8, 2, w_dim=4))
    left = open_checkpoint(written(tmp_path / "network.pkl", content)).context._bytes
    assert left > ReadContext("network.pkl", len(content))._bytes - MIB
