"""The findings of ``toonify doctor``, each tested separately."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import doctor
from serving.client import addresses
from serving.connection import Connection


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)


def test_the_doctor_knows_the_codecs() -> None:
    findings = {finding.subject: finding for finding in doctor._codecs()}
    assert findings["video files"].found.startswith("av ")
    assert findings["H.264 by x264"].found == "yes"
    assert "H.264 by NVENC" in findings


def test_without_pyav_there_are_no_videos(nothing_installed: None) -> None:
    (missing,) = doctor._codecs()
    assert "toonify-serve[video]" in missing.remedy


def test_kernels_that_were_not_compiled_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "instruction_sets_here", lambda: ())
    (winograd,) = (finding for finding in doctor._engines() if finding.subject == "winograd")
    assert "install g++" in winograd.remedy
    monkeypatch.setattr(doctor, "instruction_sets_here", lambda: ("avx2",))
    (winograd,) = (finding for finding in doctor._engines() if finding.subject == "winograd")
    assert (winograd.found, winograd.missing) == ("kernels of this package, compiled for avx2", False)


def test_a_library_may_come_from_a_package_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: name in ("onnxruntime", "torch"))
    monkeypatch.setattr(doctor, "packages_distributions", lambda: {"onnxruntime": ["onnxruntime-gpu"]})
    monkeypatch.setattr(doctor, "version", {"onnxruntime-gpu": "1.31.1"}.__getitem__)
    findings = {finding.subject: finding for finding in doctor._engines()}
    assert findings["onnxruntime"].found == "1.31.1"
    assert findings["torch"].found == "yes, of no installed package"
    assert findings["openvino"].missing


def test_servers_whose_names_are_not_known_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", unknown)
    finding = doctor._server(Connection(("a.invalid:8001", "b.invalid:8001")), "toonify")
    assert (finding.subject, finding.found) == ("servers at a.invalid, b.invalid", "names that are not known here")
    assert finding.missing


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_every_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo NVIDIA L4, 23034 MiB, 570.1\necho NVIDIA T4, 15360 MiB, 570.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor._gpu()
    assert (finding.found, finding.missing) == ("NVIDIA L4, 23034 MiB, 570.1; NVIDIA T4, 15360 MiB, 570.1", False)


def test_a_driver_that_does_not_work_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo no device >&2\nexit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "run nvidia-smi" in doctor._gpu().remedy


def test_a_machine_without_a_gpu_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not doctor._gpu().missing


def test_missing_models_are_told_with_their_address() -> None:
    findings = {finding.subject: finding for finding in doctor._landmarkers()}
    models = findings["landmarks by YuNet and a mesh"]
    assert models.found == "face_detection_yunet_2023mar.onnx: no such file"
    assert "toonify models get" in models.remedy
    assert not findings["landmarks from a file"].missing
