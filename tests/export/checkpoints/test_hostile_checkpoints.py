"""Files that are made to run code or to exhaust memory or time, and broken files: each is refused with a reason."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    DATA,
    RawStorage,
    RawTensor,
    nvlabs_pickle,
    rosinality_state,
    saved,
    tensorflow_pickle,
    torch_legacy,
    torch_pickle,
    torch_tensors,
    torch_zip,
    written,
)
from generators import random_generator

from engines.contract.errors import CheckpointError
from export.checkpoints import read_generator, write_generator_safetensors
from export.checkpoints.opening import open_checkpoint

MIB = 1 << 20


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Assert that Python and NumPy allocate at most 128 MiB at any time."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 250,000 operations can create as many sets of 216 bytes; the test's own file takes the rest.
    assert peak < 128 * MIB


class Payload:
    """An object that creates a file when an ordinary unpickler loads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return io.open, (str(self.marker), "w")  # from Python 3.12 on its module calls itself _io


def hidden(nested: bytes) -> object:
    """An object whose pickle passes ``nested`` to torch's loader of storages."""

    class Hidden:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return torch.storage._load_from_bytes, (nested,)

    return Hidden()


def test_the_payload_of_these_tests_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "container",
    [
        lambda evil: pickle.dumps({"G_ema": evil}),
        lambda evil: pickle.dumps(evil, 2),
        lambda evil: torch_zip(pickle.dumps({"g_ema": evil}, 2)),
        lambda evil: torch_legacy(pickle.dumps({"g_ema": evil}, 2)),
        lambda evil: pickle.dumps({"G_ema": hidden(torch_legacy(pickle.dumps(evil, 2)))}),
    ],
    ids=["pickle", "bare", "zip", "legacy", "nested legacy"],
)
def test_a_pickle_that_runs_something_is_refused_by_the_name_of_what_it_runs(
    tmp_path: Path, container: Callable[[object], bytes]
) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path / "evil.pt", container(Payload(marker)))
    with pytest.raises(CheckpointError, match=r"a pickle that asks for _?io\.open, expected only the classes"):
        read_generator(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_plain_pickle_behind_torchs_loader_is_not_run_either(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path / "evil.pkl", pickle.dumps(hidden(pickle.dumps(Payload(marker), protocol))))
    with pytest.raises(CheckpointError, match=r"a pickle that asks for _?io\.open"):
        read_generator(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cposix\nsystem\n(X\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"\x80\x02ctorch.storage\n_load_from_bytes.rebind\n.",
        b"\x80\x04\x8c\x0bcollections\x8c\x13OrderedDict.__class\x93.",
    ],
)
def test_a_global_that_is_not_on_the_list_is_refused_even_when_it_is_not_called(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match="a pickle that asks for "):
        read_generator(written(tmp_path / "evil.pkl", content))


@pytest.mark.parametrize("name", ["INST", "OBJ", "EXT1", "NEWOBJ_EX", "PERSID", "NEXT_BUFFER", "STRING"])
def test_pickle_operations_that_checkpoints_do_not_use_are_refused(tmp_path: Path, name: str) -> None:
    arguments = {"INST": b"os\nsystem\n", "EXT1": b"\x01", "PERSID": b"1\n", "STRING": b"'x'\n"}
    content = b"\x80\x02(" + getattr(pickle, name) + arguments.get(name, b"") + b"."
    with pytest.raises(CheckpointError, match=f"the pickle opcode {name}, expected only opcodes"):
        read_generator(written(tmp_path / "evil.pkl", content))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # changes the class itself
        b"\x80\x02K\x01)R.",
        b"\x80\x02]K\x01K\x02s.",
        b"\x80\x020.",
        b"\x80\x02t.",
        b"\x80\x02h\x05.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02" + b"\x8a\xff" + b"\x7f" * 255 + b".",
        b"\x80\x02\x8d" + struct.pack("<Q", 1 << 60) + b"short.",
        b"\x80\x05\x8e" + struct.pack("<Q", 1 << 60) + b"short.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"short.",
        b"\x80\x02T\xff\xff\xff\x7fshort.",
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused_as_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match="a damaged or truncated pickle"):
        read_generator(written(tmp_path / "broken.pkl", content))


def test_a_memo_index_of_two_billion_costs_nothing(tmp_path: Path, bounded_memory: None) -> None:
    with pytest.raises(CheckpointError, match="no named tensors"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x02]r\xff\xff\xff\x7f."))


def test_a_pickle_of_endless_operations_is_refused(tmp_path: Path, bounded_memory: None) -> None:
    with pytest.raises(CheckpointError, match="a pickle of more than 250,000 operations"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x04" + b"\x8f" * 300_000 + b"."))


def test_a_pickle_that_asks_again_and_again_for_the_same_bytes_is_refused(tmp_path: Path, bounded_memory: None) -> None:
    encode = b"c_codecs\nencode\nq\x01X\x00\x00\x10\x00" + b"a" * MIB + b"X\x06\x00\x00\x00latin1\x86q\x02R0"
    content = b"\x80\x02" + encode + b"]" + b"h\x01h\x02Ra" * 10_000 + b"."
    with pytest.raises(CheckpointError, match="contents that expand to more than four times the file's size"):
        read_generator(written(tmp_path / "evil.pkl", content))


def test_a_nested_file_that_is_read_again_and_again_is_refused(tmp_path: Path, bounded_memory: None) -> None:
    nested = torch_legacy(torch_pickle(RawStorage("0", 4)), {"0": b"\0" * 16})
    nested += b"\0" * MIB
    call = b"ctorch.storage\n_load_from_bytes\nq\x01B" + struct.pack("<I", len(nested)) + nested + b"\x85q\x02R0"
    with pytest.raises(CheckpointError, match="contents that expand to more than four times the file's size"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x03" + call + b"h\x01h\x02R0" * 10_000 + b"N."))


def test_tensors_that_all_share_one_storage_may_not_fill_the_memory(tmp_path: Path, bounded_memory: None) -> None:
    shared = RawTensor(RawStorage("0", MIB, torch.HalfStorage), (MIB,), (1,))
    pickled = torch_pickle({f"style.{i}.weight": shared for i in range(900)})
    path = written(tmp_path / "evil.pt", torch_zip(pickled, {"data/0": b"\0" * (2 * MIB)}))
    tensors = open_checkpoint(path).content
    assert isinstance(tensors, dict)
    with pytest.raises(CheckpointError, match="contents that expand to more than four times the file's size"):
        _ = [tensor.array() for tensor in tensors.values()]


def test_a_dictionary_key_that_takes_forever_to_hash_is_refused(tmp_path: Path) -> None:
    doubled = b")" + b"2\x86" * 100
    for content in (
        b"}" + doubled + b"Ns.",
        b"\x8f(" + doubled + b"\x90.",
        b"c__builtin__\nset\n](" + doubled + b"e\x85R.",
    ):
        with pytest.raises(CheckpointError, match="a damaged or truncated pickle"):
            read_generator(written(tmp_path / "evil.pkl", b"\x80\x04" + content))


def test_nested_values_are_never_printed(tmp_path: Path) -> None:
    doubled = b")" + b"2\x86" * 100
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nFloatStorage\n" + doubled + doubled + doubled + b"tR."
    with pytest.raises(CheckpointError):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x02" + tensor))
    with pytest.raises(CheckpointError, match="a damaged or truncated pickle"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x04" + doubled + doubled + b"\x93."))
    with pytest.raises(CheckpointError, match="a damaged or truncated pickle"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x04cnumpy\ndtype\n" + doubled + b"\x85R."))
    with pytest.raises(CheckpointError, match="no named tensors"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x02" + doubled + b"."))


def test_a_module_that_contains_itself_is_refused(tmp_path: Path) -> None:
    rebuild = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    fields = b"}q\x01(X\x0a\x00\x00\x00class_nameX\x01\x00\x00\x00GX\x05\x00\x00\x00state}q\x02u\x85Rq\x03"
    inner = b"h\x02X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x03ss"
    with pytest.raises(CheckpointError, match="an unexpected module 'a"):
        read_generator(written(tmp_path / "evil.pkl", b"\x80\x02" + rebuild + fields + inner + b"0h\x03."))


def test_a_zip_bomb_is_refused_before_it_is_expanded(tmp_path: Path, bounded_memory: None) -> None:
    bomb = torch_zip(pickle.dumps({}), {"data/0": b"\0" * (64 * MIB)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < MIB
    path = written(tmp_path / "bomb.pt", bomb)
    with pytest.raises(
        CheckpointError, match=r"compressed or encrypted member '.*' of \d+ bytes, expected uncompressed"
    ):
        read_generator(path)


def test_zip_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    content = torch_zip(pickle.dumps({}), {"data/0": b"\0" * MIB, "data/1": b"\0" * MIB})
    first = content.index(b"PK\x01\x02")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    # Cut the second megabyte out and let its entry point at the first.
    cut = content[: offsets[3]] + content[first:]
    moved = cut.replace(struct.pack("<I", offsets[3]), struct.pack("<I", offsets[2]))
    moved = moved[:-6] + struct.pack("<I", offsets[3]) + moved[-2:]
    with pytest.raises(CheckpointError, match="zip members that overlap"):
        read_generator(written(tmp_path / "evil.pt", moved))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a file of another format"),
        (b"<!DOCTYPE html><title>Quota exceeded", "a web page, which a failed download leaves"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer instead of the file"),
        (b"\x1f\x8b\x08" + b"\0" * 64, "a gzip archive"),
        (b"\x08\x08\x12\x07pytorch", "what seems to be an ONNX model"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (bytes(range(64)), "a file of another format"),
        (b"PK\x03\x04" + b"\0" * 64, "a damaged or truncated zip"),
        (struct.pack("<Q", 1 << 50) + b"{", "a damaged safetensors file"),
        (pickle.dumps([1, 2, 3]), "no named tensors"),
        (pickle.dumps({"epoch": 3}), "the entry 'epoch' among the tensors"),
        (pickle.dumps({"x": np.float32(1)}), "the entry 'x' among the tensors"),
    ],
)
def test_files_of_other_formats_are_refused_by_what_they_seem_to_be(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_generator(written(tmp_path / "file.pt", content))


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"a zip archive without exactly one data\.pkl"):
        read_generator(tmp_path / "arrays.npz")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No such file or directory, expected a readable checkpoint"):
        read_generator(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_generator(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "nvidia", "tensorflow", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "network.safetensors"
    small = random_generator(8, 2, w_dim=4)
    if kind == "safetensors":
        write_generator_safetensors(small, path)
    elif kind in ("zip", "legacy"):
        saved(path, torch_tensors(rosinality_state(width=2)), legacy=kind == "legacy")
    else:
        written(path, nvlabs_pickle(small) if kind == "nvidia" else tensorflow_pickle(small))
    content = path.read_bytes()
    read_generator(path)
    for end in [*range(0, len(content), max(len(content) // 40, 1)), len(content) - 1]:
        with pytest.raises(CheckpointError):
            read_generator(written(path, content[:end]))


def test_nvidias_embedded_source_is_never_run() -> None:
    assert b"raise RuntimeError('embedded source must never run')" in (DATA / "nv32_public.pkl").read_bytes()
    read_generator(DATA / "nv32_public.pkl")
