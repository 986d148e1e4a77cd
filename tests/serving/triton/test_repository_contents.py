"""The hashes of a model repository cover all that Triton loads from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TinyModels
from toonify_command import Toonify

from engines.contract.errors import ModelDirectoryError, RepositoryError, ToonifyError
from serving.connection import Connection
from serving.doctor import findings
from serving.triton import supervision
from serving.triton.contents import CONTENTS, check_contents, check_models_too, write_contents
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer


@pytest.fixture
def repository(tiny_model_directories: TinyModels, tmp_path: Path) -> Path:
    models = tiny_model_directories
    output = tmp_path / "written"
    write_repository(output, encoder=models.encoder, isf=models.isf, generators=[models.generators["plain"]])
    return shutil.copytree(output, tmp_path / "repository")  # its models share no bytes with those of other tests


def test_a_repository_as_it_was_written_is_accepted(repository: Path, tmp_path: Path) -> None:
    check_contents(repository)
    assert check_models_too(repository) == 4
    moved = shutil.copytree(repository, tmp_path / "moved")
    assert check_models_too(moved) == 4


def append(name: str) -> Callable[[Path], object]:
    def change(repository: Path) -> None:
        with (repository / name).open("a") as file:
            file.write("\n# changed\n")

    return change


def add(name: str) -> Callable[[Path], object]:
    def change(repository: Path) -> None:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("added")

    return change


def remove(name: str) -> Callable[[Path], object]:
    return lambda repository: (repository / name).unlink()


def add_compiled_code(repository: Path) -> None:
    remove("encoder/1/__pycache__")(repository)
    add("encoder/1/__pycache__/model.cpython-311.pyc")(repository)


def link_a_folder(repository: Path) -> None:
    (repository.parent / "outside").mkdir()
    (repository / "outside").symlink_to(repository.parent / "outside")


def name_a_file_outside(repository: Path) -> None:
    contents = json.loads((repository / CONTENTS).read_text())
    contents["files"]["../outside"] = "0" * 64
    (repository / CONTENTS).write_text(json.dumps(contents))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (append("encoder/config.pbtxt"), r"encoder/config\.pbtxt: got a file that has changed since"),
        (append("encoder/configs/cpu.pbtxt"), r"cpu\.pbtxt: got a file that has changed since"),
        (append("condition/1/model.py"), r"condition/1/model\.py: got a file that has changed since"),
        (append("generator_plain/1/model.py"), r"generator_plain/1/model\.py: got a file that has changed since"),
        (append("encoder/1/manifest.json"), r"encoder/1/manifest\.json: got a file that has changed since"),
        (remove("toonify/config.pbtxt"), r"toonify/config\.pbtxt: got no such file"),
        (remove("encoder/1/encoder.onnx"), r"encoder/1/encoder\.onnx: got no such file"),
        (add("evil/config.pbtxt"), r"evil/config\.pbtxt: got a file that was added"),
        (add_compiled_code, "__pycache__: got no such file"),
        (add("encoder/1/model.plan"), r"encoder/1/model\.plan: got a file that was added"),
        (link_a_folder, "outside: got a file that was added"),
        (name_a_file_outside, "got the file name '../outside'"),
        (remove(CONTENTS), r"repository\.json: got no such file, expected what repository\.json says; write"),
        (append(CONTENTS), r"repository\.json: got something else"),
    ],
)
def test_a_changed_added_or_removed_file_is_refused_by_name(
    repository: Path, change: Callable[[Path], object], sentence: str
) -> None:
    change(repository)
    with pytest.raises(RepositoryError, match=sentence):
        check_contents(repository)


@pytest.mark.parametrize("name", [CONTENTS, "toonify/config.pbtxt"])
def test_a_file_that_cannot_be_read_is_named(name: str, repository: Path) -> None:
    (repository / name).unlink()
    (repository / name).symlink_to("/proc/self/mem")
    with pytest.raises(ToonifyError, match=rf"{name}: got Input/output error, expected a file that can be read"):
        check_contents(repository)


def test_a_changed_model_is_left_to_the_process_that_loads_it(repository: Path) -> None:
    append("encoder/1/encoder.onnx")(repository)
    check_contents(repository)
    with pytest.raises(ModelDirectoryError, match=r"encoder\.onnx: got a file with sha256"):
        check_models_too(repository)


def test_serve_starts_nothing_from_a_changed_repository(
    repository: Path, toonify: Toonify, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []

    def serve(path: Path, *, check: Callable[[], None], **options: Any) -> None:
        check()
        started.append(path)

    monkeypatch.setattr(supervision, "serve", serve)
    assert toonify("serve", "--repository", repository)[0] == 0
    append("encoder/1/model.py")(repository)
    code, _, err = toonify("serve", "--repository", repository)
    assert (code, started) == (1, [repository])
    assert err.startswith(f"error: {repository}/encoder/1/model.py: got a file that has changed since")


def test_what_a_user_changed_can_be_sealed(repository: Path) -> None:
    append("encoder/config.pbtxt")(repository)
    write_contents(repository)
    check_contents(repository)


def test_a_folder_that_is_no_repository_is_not_sealed(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    for folder in (tiny_model_directories.encoder, tmp_path / "absent"):
        with pytest.raises(RepositoryError, match=f"^{folder}: got no folder with model configurations"):
            write_contents(folder)
        assert not (folder / CONTENTS).exists()


def test_doctor_reports_a_changed_repository(repository: Path) -> None:
    def finding() -> tuple[str, bool]:
        report = findings(Connection(("127.0.0.1:1",)), "toonify", repository)
        return next((f.found, f.missing) for f in report if f.subject.startswith("repository"))

    assert finding() == ("4 models, no file altered", False)
    append("isf/1/isf.onnx")(repository)
    found, missing = finding()
    assert missing
    assert "isf.onnx: a file with sha256" in found


@pytest.mark.triton
def test_a_server_leaves_nothing_in_its_repository(triton_server: TritonServer) -> None:
    check_contents(triton_server.repository)
