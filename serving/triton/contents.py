"""The hashes of a model repository: what Triton loads from it is what ``toonify-export repository`` wrote.

``repository.json`` holds the hashes of all files but the models'. Those are in each model's manifest, whose hash it
holds, and the process that loads a model checks them: no file is hashed twice at a start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.contract.atomic import atomic_file
from engines.contract.errors import RepositoryError
from engines.hashed_files import content_of, sha256_of
from engines.model_directory import MANIFEST, manifest_of, read_manifest

CONTENTS = "repository.json"
SIGNATURE = "model.sig"
"""The file that holds the signature of the folder it lies in; see ``serving.signing``."""

_SCHEMA_VERSION = 1


class _Contents(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = _SCHEMA_VERSION
    files: dict[str, str]


def write_contents(repository: Path) -> None:
    """Write ``repository.json`` for the files that are there.

    Raises:
        RepositoryError: the folder has no configuration of a model.
        ModelDirectoryError: a model has no usable manifest.
        ExportError: the file cannot be written.
    """
    _check_repository(repository)
    hashed = {path: sha256_of(repository / path) for path in sorted(_listed(repository) - _of_models(repository))}
    with atomic_file(repository / CONTENTS, force=True) as path:
        path.write_text(_Contents(files=hashed).model_dump_json(indent=2) + "\n")


def check_contents(repository: Path) -> None:
    """Raise unless the repository has exactly the files that were written; the models' own are checked when they load.

    Raises:
        RepositoryError: ``repository.json`` is missing or damaged, or a file was added, removed or changed.
        ModelDirectoryError: a model has no usable manifest.
    """
    expected = _read(repository)
    for name in sorted(expected):
        path = repository / name
        if not path.is_file():
            raise _altered(path, "no such file")
        if sha256_of(path) != expected[name]:
            raise _altered(path, "a file that has changed since the repository was written")
    models = _of_models(repository)
    for name in sorted(_listed(repository) ^ (expected.keys() | models)):
        missing = name in models
        raise _altered(repository / name, "no such file" if missing else "a file that was added to the repository")


def check_models_too(repository: Path) -> int:
    """Check a repository's files and those of its models; return the number of models.

    Raises:
        RepositoryError: see ``check_contents``.
        ModelDirectoryError: a model is incomplete or altered.
    """
    check_contents(repository)
    models = [path.parent for path in repository.glob(f"*/*/{MANIFEST}")]
    for model in models:
        read_manifest(model)
    return len(models)


def unverified_models(repository: Path) -> list[str]:
    """Return the names of the models whose engines were built, but not verified on a GPU.

    Raises:
        ModelDirectoryError: a model has no usable manifest.
    """
    manifests = sorted(repository.glob(f"*/*/{MANIFEST}"))
    return [path.parents[1].name for path in manifests if manifest_of(path.parent).is_unverified]


def _check_repository(repository: Path) -> None:
    """Raise RepositoryError unless a folder has configurations of models."""
    if not any(repository.glob("*/config.pbtxt")):
        raise RepositoryError(
            str(repository),
            got="no folder with model configurations",
            expected="a model repository",
            remedy="write one with toonify-export repository",
        )


_LARGEST_CONTENTS = 2**24
"""Bytes of the list of a repository's files; each takes about a hundred."""


def _read(repository: Path) -> dict[str, str]:
    path = repository / CONTENTS
    _check_repository(repository)
    if not path.is_file():
        raise _altered(path, "no such file")
    try:
        contents = _Contents.model_validate_json(content_of(path, _LARGEST_CONTENTS))
    except ValidationError:
        raise _altered(path, "something else") from None
    outside = [name for name in contents.files if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name]
    if outside or contents.schema_version != _SCHEMA_VERSION:
        raise _altered(path, f"the file name {outside[0][:100]!r}" if outside else "another schema version")
    return contents.files


def _listed(repository: Path) -> set[str]:
    """Every file below the repository, and every link to a folder, of which the files are not listed."""
    return {
        path.relative_to(repository).as_posix()
        for path in repository.rglob("*")
        if path.is_symlink() or not path.is_dir()
    } - {CONTENTS, SIGNATURE}


def _of_models(repository: Path) -> set[str]:
    return {name for manifest in repository.glob(f"*/*/{MANIFEST}") for name in _of_model(repository, manifest.parent)}


def _of_model(repository: Path, directory: Path) -> Iterator[str]:
    for name in manifest_of(directory).files:
        yield (directory / name).relative_to(repository).as_posix()


def _altered(path: Path, got: str) -> RepositoryError:
    return RepositoryError(
        str(path),
        got=got,
        expected=f"what {CONTENTS} says",
        remedy="write the repository again, or accept what you have changed with toonify-export seal",
    )
