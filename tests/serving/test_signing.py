"""Signed folders: what their owner has not signed is not served."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TinyModels
from toonify_command import Toonify

from engines.contract.errors import SignatureError
from export import cli as export_cli
from serving import signing
from serving.signing import check_signature, sign_folder
from serving.triton import supervision
from serving.triton.contents import SIGNATURE, write_contents
from serving.triton.repository import write_repository

pytest.importorskip("model_signing", reason="the extra sign is not installed")


def make_keys(folder: Path) -> tuple[Path, Path]:
    """A private and a public key, as ``openssl ecparam -name prime256v1 -genkey`` makes them."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption())
    )
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path / "keys")


@pytest.fixture
def repository(tiny_model_directories: TinyModels, tmp_path: Path) -> Path:
    models = tiny_model_directories
    output = tmp_path / "written"
    write_repository(output, encoder=models.encoder, generators=[models.generators["plain"]])
    return shutil.copytree(output, tmp_path / "repository")  # its models share no bytes with those of other tests


def test_a_signed_folder_is_accepted_also_after_a_move(
    repository: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    sign_folder(repository, keys[0])
    check_signature(repository, keys[1])
    check_signature(shutil.copytree(repository, tmp_path / "moved"), keys[1])
    sign_folder(repository, keys[0])
    check_signature(repository, keys[1])


def change_a_file(folder: Path) -> None:
    with (folder / "encoder/1/encoder.onnx").open("ab") as file:
        file.write(b"\0")


def add_a_file(folder: Path) -> None:
    (folder / "encoder/1/batch_1.plan").write_bytes(b"code")


def add_a_git_folder(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/config.pbtxt").write_text("added")


def remove_a_file(folder: Path) -> None:
    (folder / "encoder/1/encoder.onnx").unlink()


def link_a_folder(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent)


def remove_the_signature(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def damage_the_signature(folder: Path) -> None:
    (folder / SIGNATURE).write_text("{}")


def rewrite_the_payload(folder: Path) -> None:
    """Let the signed hashes be those of the altered folder, as who has no key would."""
    change_a_file(folder)
    bundle = json.loads((folder / SIGNATURE).read_text())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    for entry in payload["predicate"]["resources"]:
        entry["digest"] = signing.sha256_of(folder / entry["name"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (change_a_file, r"got another 'encoder/1/encoder\.onnx', expected what the owner of .*public\.pem has signed"),
        (add_a_file, r"got the added file 'encoder/1/batch_1\.plan'"),
        (add_a_git_folder, r"got the added file '\.git/config\.pbtxt'"),
        (remove_a_file, r"got no 'encoder/1/encoder\.onnx'"),
        (link_a_folder, "got the added file 'more'"),
        (remove_the_signature, r"got no model\.sig, expected a signature"),
        (damage_the_signature, "got a damaged signature"),
        (rewrite_the_payload, "got a signature by another key"),
    ],
)
def test_a_folder_that_is_not_as_its_owner_signed_it_is_refused(
    repository: Path, keys: tuple[Path, Path], change: Callable[[Path], object], sentence: str
) -> None:
    sign_folder(repository, keys[0])
    change(repository)
    with pytest.raises(SignatureError, match=sentence):
        check_signature(repository, keys[1])


def test_a_signature_by_another_key_is_refused(repository: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign_folder(repository, make_keys(tmp_path / "others")[0])
    with pytest.raises(SignatureError, match="got a signature by another key"):
        check_signature(repository, keys[1])


def test_a_folder_with_links_is_not_signed(repository: Path, keys: tuple[Path, Path]) -> None:
    link_a_folder(repository)
    with pytest.raises(SignatureError, match="got a symbolic link in it"):
        sign_folder(repository, keys[0])
    assert not (repository / SIGNATURE).exists()


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused_by_name(repository: Path, tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "key.pem"
    if content is not None:
        key.write_bytes(content)
    (repository / SIGNATURE).write_text("{}")
    for use in (sign_folder, check_signature):
        with pytest.raises(SignatureError, match=r"key\.pem: got .*, expected a key in PEM on the curve P-256"):
            use(repository, key)


def test_the_missing_extra_is_named(repository: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    with pytest.raises(SignatureError, match=r"pip install 'toonify-serve\[sign\]'"):
        sign_folder(repository, keys[0])


def test_serve_with_a_key_starts_only_what_was_signed(
    repository: Path, keys: tuple[Path, Path], toonify: Toonify, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []

    def serve(path: Path, *, check: Callable[[], None], **options: Any) -> None:
        check()
        started.append(path)

    monkeypatch.setattr(supervision, "serve", serve)
    arguments = ("serve", "--repository", repository, "--trusted-key", keys[1])
    code, _, err = toonify(*arguments)
    assert (code, err.splitlines()[-1]) == (
        1,
        f"error: {repository}: got no model.sig, expected a signature; sign it with toonify-export sign.",
    )
    export(monkeypatch, "sign", repository, "--key", keys[0])
    assert toonify(*arguments)[0] == 0
    # Who has changed a plan may seal the repository, but not sign it.
    add_a_file(repository)
    write_contents(repository)
    assert toonify(*arguments)[0] == 1
    assert started == [repository]


def export(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["toonify-export", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        export_cli.main()
    assert not end.value.code


def test_an_altered_model_is_not_signed(repository: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    change_a_file(repository)
    with pytest.raises(Exception, match=r"encoder\.onnx: got a file with sha256"):
        export_cli.sign(repository, keys[0])
    assert not (repository / SIGNATURE).exists()
