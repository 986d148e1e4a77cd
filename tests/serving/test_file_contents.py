"""Contents of files that a user names: what is read of them, and why one cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.file_contents import UnusableFileError, file_content, file_text


@pytest.mark.parametrize(
    ("content", "why"), [(b"k" * (2**20 + 1), "more than 1 MiB"), (b"\xff\xfe", "a file that is no text")]
)
def test_a_text_that_is_too_large_or_none_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UnusableFileError) as refusal:
        file_text(tmp_path / "key")
    assert refusal.value.why == why


@pytest.mark.parametrize("name", ["absent", "."])
def test_what_cannot_be_read_is_refused_with_the_systems_reason(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableFileError, match=r"No such file|Is a directory"):
        file_content(tmp_path / name, 16)


def test_a_device_without_an_end_is_read_no_further_than_a_text_may_be() -> None:
    with pytest.raises(UnusableFileError, match="more than 1 MiB"):
        file_text(Path("/dev/zero"))


def test_a_text_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("schlüssel\n", encoding="utf-8")
    assert file_text(tmp_path / "key") == "schlüssel\n"
