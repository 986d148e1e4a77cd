"""Signatures of folders by OpenSSF's ``model-signing``, with a key on an elliptic curve: the extra ``sign``."""

from __future__ import annotations

import base64
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from engines.contract.atomic import atomic_file
from engines.contract.errors import SignatureError
from engines.hashed_files import sha256_of
from serving.triton.contents import SIGNATURE

if TYPE_CHECKING:
    from model_signing import hashing

KEYS = "a key in PEM on the curve P-256, P-384 or P-521, without a password"


def sign_folder(folder: Path, key: Path) -> None:
    """Sign every file of a folder and write the signature to ``model.sig`` in it, in place of an earlier one.

    Args:
        folder: a model repository or a model directory.
        key: the private key.

    Raises:
        SignatureError: the extra ``sign`` is not installed, the key cannot be used, or there are symbolic links.
    """
    _require_library()
    from model_signing import signing

    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
    except Exception:  # of several libraries, which say no more than that they cannot use it
        raise _unusable_key(key) from None
    # Not in the folder itself, where the library would sign the unfinished file too.
    with tempfile.TemporaryDirectory() as scratch:
        signature = Path(scratch, SIGNATURE)
        try:
            config.set_hashing_config(_hashing()).sign(folder, signature)
        except ValueError:
            raise _refused(
                folder, "a symbolic link in it", "files and folders alone", "replace it by the file"
            ) from None
        with atomic_file(folder / SIGNATURE, force=True) as partial:
            partial.write_bytes(signature.read_bytes())


def check_signature(folder: Path, key: Path) -> None:
    """Raise unless a folder has exactly the files that the owner of a key has signed.

    Args:
        folder: what ``sign_folder`` has signed.
        key: the public key.

    Raises:
        SignatureError: the extra ``sign`` is not installed, the key cannot be used, there is no signature by this key,
            or a file was added, removed or changed.
    """
    _require_library()
    from model_signing import verifying

    signature = folder / SIGNATURE
    if not signature.is_file():
        raise _refused(folder, f"no {SIGNATURE}", "a signature", "sign it with toonify-export sign")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception:
        raise _unusable_key(key) from None
    try:
        config.set_hashing_config(_hashing()).verify(folder, signature)
    except Exception:  # whatever a damaged signature makes the library raise, the folder is not trusted
        got, expected = _difference(folder, signature), f"what the owner of {key} has signed"
        raise _refused(folder, got, expected, "take the folder from its owner again") from None


def _hashing() -> hashing.Config:
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _difference(folder: Path, signature: Path) -> str:
    """What differs from a signature that was refused, for the error alone: nothing here is checked against the key."""
    try:
        payload = base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"])
        signed = {entry["name"]: entry["digest"] for entry in json.loads(payload)["predicate"]["resources"]}
    except (ValueError, LookupError, TypeError, RecursionError):
        return "a damaged signature"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    there = {path.relative_to(folder).as_posix(): path for path in paths}
    for name, path in there.items():
        if name not in signed and name != SIGNATURE:
            return f"the added file {name!a}"
        if name in signed and path.is_file() and sha256_of(path) != signed[name]:
            return f"another {name!a}"
    missing = sorted(signed.keys() - there.keys())
    return f"no {missing[0]!a}" if missing else "a signature by another key"


def _require_library() -> None:
    # Its module for certificates needs pyOpenSSL, which model-signing 1.1.1 does not ask for.
    if not find_spec("model_signing") or not find_spec("OpenSSL"):
        raise SignatureError(
            "signatures",
            got="no such library",
            expected="the packages model-signing and pyopenssl",
            remedy="install them with: pip install 'toonify-serve[sign]'",
        )


def _unusable_key(key: Path) -> SignatureError:
    got = "a file that holds no such key" if key.is_file() else "no such file"
    return SignatureError(str(key), got=got, expected=KEYS, remedy="make one as export/README.md says")


def _refused(folder: Path, got: str, expected: str, remedy: str) -> SignatureError:
    return SignatureError(str(folder), got=got, expected=expected, remedy=remedy)
