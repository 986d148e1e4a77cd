from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.contract.errors import RequestError
from serving.faces.picture_files import PICTURES
from serving.jobs import files_in, jobs_of


def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RequestError, match="got Permission denied, expected a folder"):
        files_in([tmp_path], PICTURES)


def test_outputs_have_suffixes_that_can_be_written() -> None:
    files = [Path(name) for name in ("a.JPEG", "b.avif", "c.heic", "d", "e.tar.webp")]
    targets = [job.target.name for job in jobs_of(files, Path("out"), PICTURES, in_folder=True)]
    assert targets == ["a.JPEG", "b.png", "c.png", "d.png", "e.tar.webp"]
    with pytest.raises(RequestError, match=r"a\.png: got two pictures of that name"):
        jobs_of([Path("a.heic"), Path("b/a.avif")], Path("out"), PICTURES, in_folder=True)


def test_a_folder_holds_files_and_links_to_files_and_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "b.png").touch()
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "nowhere.png").symlink_to("missing.png")
    (tmp_path / "round.png").symlink_to("round.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / ".partial-0123456789abcdef.png").touch()
    assert files_in([tmp_path], PICTURES) == [tmp_path / "a.png", tmp_path / "b.png"]


def test_an_output_that_is_an_input_by_another_way_is_refused(tmp_path: Path) -> None:
    folder, link = tmp_path / "in", tmp_path / "link"
    folder.mkdir()
    (folder / "a.png").touch()
    link.symlink_to(folder)
    with pytest.raises(RequestError, match="got one of the inputs"):
        jobs_of([folder / "a.png"], link, PICTURES, in_folder=True)
    (tmp_path / "b.png").symlink_to(folder / "a.png")
    with pytest.raises(RequestError, match="got one of the inputs"):
        jobs_of([tmp_path / "b.png"], folder / "a.png", PICTURES, in_folder=False)


def test_links_in_a_circle_are_left_to_the_reading_and_the_writing(tmp_path: Path) -> None:
    (tmp_path / "round.png").symlink_to("round.png")
    (tmp_path / "folder").symlink_to("folder")
    source, target = tmp_path / "round.png", tmp_path / "folder" / "a.png"
    assert [job.target for job in jobs_of([source], target, PICTURES, in_folder=False)] == [target]
    with pytest.raises(RequestError, match="got one of the inputs"):
        jobs_of([source], source, PICTURES, in_folder=False)
