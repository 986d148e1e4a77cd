"""Checks before a server's start and messages after a failure: ports, addresses, installations, causes in logs."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import TinyModels

from engines.contract.errors import ServerError
from engines.model_directory import MANIFEST
from serving.triton import installation as installation_module
from serving.triton import server, supervision
from serving.triton.doors import largest_file
from serving.triton.installation import Installation, best_runtime, check_shared_memory, run_copied_program
from serving.triton.log import locked, reason_of_failure, rotate, size_of, text_since
from serving.triton.ports import free_ports, is_listening, is_loopback, url_of
from serving.triton.served_models import ServedModels
from serving.triton.server import TritonServer
from serving.triton.supervision import serve


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = rf"http port {port} of 127\.0\.0\.1: got Address already in use, .*choose another with --http-port"
        with pytest.raises(ServerError, match=sentence):
            free_ports("127.0.0.1", {"grpc": 0, "http": port})


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServerError, match=r"address '192\.0\.2\.1': got none that belongs to this machine"):
        free_ports("192.0.2.1", {"grpc": 0})


@pytest.mark.parametrize(
    "address", ["", "no.such.host.invalid", "[::1]", "300.1.1.1", "x" * 300, "a\0b", "é..x", "::g"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ServerError, match="got none that belongs to this machine, expected an address of this machine"):
        free_ports(address, {"grpc": 0})


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_number_of_a_port_is_refused(port: int) -> None:
    with pytest.raises(
        ServerError, match=rf"grpc port {port} of 127.0.0.1: got no number of a port, expected one from"
    ):
        free_ports("127.0.0.1", {"grpc": port})


@pytest.mark.parametrize(
    ("address", "url"),
    [("127.0.0.2", "127.0.0.2:7"), ("0.0.0.0", "127.0.0.1:7"), ("::", "[::1]:7"), ("::1", "[::1]:7"), ("ab", "ab:7")],
)
def test_clients_are_told_where_a_server_is(address: str, url: str) -> None:
    assert url_of(address, 7) == url


def test_port_zero_becomes_a_free_port_for_each_service() -> None:
    ports = free_ports("127.0.0.1", {"grpc": 0, "http": 0, "metrics": 0})
    assert len(set(ports.values())) == 3
    assert not any(is_listening("127.0.0.1", port) for port in ports.values())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback_addresses_are_known(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="got no folder with model configurations, expected a model repository"):
        TritonServer(tmp_path, log=tmp_path / "log").start()


def test_a_cache_that_cannot_be_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_installation", lambda scratch: installation(embedded=True))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.pbtxt").touch()
    (tmp_path / "cache").touch()
    with pytest.raises(ServerError, match=r"cache: got File exists, expected a folder.*choose another with --cache"):
        TritonServer(tmp_path, log=tmp_path / "log", cache=tmp_path / "cache").start()
    assert not (tmp_path / "log").exists()


LOADING = """\
E1122 01:25:51.582955 6867 backend_model.cc:692] "ERROR: Failed to create instance: ModelDirectoryError: one.\\n\\nAt:"
E1122 01:25:51.583089 6867 model_lifecycle.cc:642] "failed to load 'isf' version 1: Internal: ModelDirectoryError: \
one: got a, expected b; do c.\\n\\nAt:\\n  /somewhere/model_directory.py(144): _check_file\\n"
E1122 01:25:51.583177 6867 model_repository_manager.cc:703] "Invalid argument: ensemble 'toonify' depends on 'isf'"
error: creating server: Internal - failed to load all models
"""
DEPENDING = """\
E1122 01:25:54.750 7173 model_repository_manager.cc:703] "Invalid argument: ensemble toonify contains models that are \
not available or ambiguous: isf"
error: creating server: Internal - failed to load all models
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (LOADING, "failed to load 'isf': one: got a, expected b; do c"),
        (DEPENDING, "ensemble toonify contains models that are not available or ambiguous: isf"),
        ("error: creating server: Internal - failed to stat file /x\n", "failed to stat file /x"),
        ("bin: error while loading shared libraries: libx.so: cannot open\n", "libx.so: cannot open"),
        ("/a b/tritonserver: unrecognized option '--foo'\nUsage: tritonserver\n", "unrecognized option '--foo'"),
        ("tritonserver: option '--lo' is ambiguous\n", "option '--lo' is ambiguous"),
        ('Usage: x\nBad option: "--log-verbose".\nInvalid option value. Got x\n', 'Bad option: "--log-verbose"'),
        ("I1122 nothing wrong\n", None),
    ],
)
def test_the_first_cause_is_taken_out_of_the_log(log: str, reason: str | None) -> None:
    assert reason_of_failure(log) == reason


def installation(*, embedded: bool) -> Installation:
    return Installation(Path("tritonserver"), (), {}, embedded)


@pytest.mark.parametrize(
    ("plans", "engine", "runtime"),
    [
        (2, "openvino", "tensorrt"),
        (1, "openvino", "onnxruntime"),
        (0, "openvino", "onnxruntime"),
        (0, "torch", "cpu"),
        (0, "tensorrt", "cpu"),
    ],
)
def test_a_gpu_runs_plans_where_every_model_has_one_and_else_the_engine_that_was_asked_for(
    plans: int, engine: str, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, model in enumerate(("encoder", "generator_a")):
        for name in ("configs/cpu.pbtxt", "1/manifest.json", *(["1/model.plan"] if number < plans else [])):
            (tmp_path / model / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / model / name).write_text(json.dumps({"engine": engine}))
        if engine == "tensorrt":  # plans of one batch size each, which Triton's own backend cannot batch
            (tmp_path / model / "1/generator.b8.plan").touch()
    assert best_runtime(tmp_path, installation(embedded=True)) == "cpu"
    monkeypatch.setattr("serving.triton.installation.has_gpu", lambda: True)
    assert best_runtime(tmp_path, installation(embedded=False)) == runtime


def test_the_embedded_server_is_kept_from_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_installation", lambda scratch: installation(embedded=True))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.pbtxt").touch()
    with pytest.raises(ServerError, match=r"address 0\.0\.0\.0: got an address that other machines can reach"):
        TritonServer(tmp_path, log=tmp_path / "log", address="0.0.0.0").start()


def repository_in(folder: Path) -> Path:
    (folder / "repository/model").mkdir(parents=True)
    (folder / "repository/model/config.pbtxt").touch()
    return folder / "repository"


def test_a_server_that_fails_again_is_restarted_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ServerError("ensemble 'x'", got="an error", expected="a picture", remedy="see the log")
    pauses: list[float] = []

    def start(self: TritonServer) -> None:
        if 1 <= len(pauses) < 9:
            raise failure

    def watch(self: TritonServer, interval: float) -> ServerError:
        if pauses:
            raise KeyboardInterrupt
        return failure

    monkeypatch.setattr(TritonServer, "start", start)
    monkeypatch.setattr(TritonServer, "watch", watch)
    monkeypatch.setattr(supervision.time, "sleep", pauses.append)
    phrases: list[str] = []
    serve(repository_in(tmp_path), progress=phrases.append)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert "restarting in 60 s: ensemble 'x': got an error, expected a picture; see the log." in phrases


def test_a_file_of_the_repository_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_installation", lambda scratch: installation(embedded=True))
    repository = repository_in(tmp_path)
    (repository / "model/labels.txt").symlink_to("nowhere")
    with pytest.raises(ServerError, match=r"model/labels\.txt: got No such file or directory, expected a repository"):
        TritonServer(repository, log=tmp_path / "log", grpc_port=0, metrics_port=0).start()
    assert not (tmp_path / "log").exists()


def failing_with(number: int) -> Callable[..., Any]:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, "a message of Python", "/a/file")

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOMEM, errno.EAGAIN, errno.EMFILE])
@pytest.mark.parametrize("step", ["find_installation", "ServedModels", "process_group"])
def test_what_a_machine_lacks_for_a_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    monkeypatch.setattr(server, "find_installation", lambda scratch: installation(embedded=True))
    monkeypatch.setattr(server, step, failing_with(number))
    expected = rf"Triton server at /a/file: got {re.escape(os.strerror(number))}, expected memory and room"
    with pytest.raises(ServerError, match=expected):
        TritonServer(repository_in(tmp_path), log=tmp_path / "log", grpc_port=0, metrics_port=0).start()


def test_a_full_disk_before_a_restart_and_behind_the_output_does_not_end_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ServerError("ensemble 'x'", got="an error", expected="a picture", remedy="see the log")
    watched = [failure]
    checks = iter([lambda: None, failing_with(errno.ENOSPC), lambda: None])

    def watch(self: TritonServer, interval: float) -> ServerError:
        if not watched:
            raise KeyboardInterrupt
        return watched.pop()

    monkeypatch.setattr(TritonServer, "start", lambda self: None)
    monkeypatch.setattr(TritonServer, "watch", watch)
    monkeypatch.setattr(supervision.time, "sleep", lambda seconds: None)
    serve(repository_in(tmp_path), check=lambda: next(checks)(), progress=failing_with(errno.ENOSPC))
    assert not watched
    assert next(checks, None) is None


def test_files_may_be_as_large_as_a_batch_of_pictures_needs(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    manifest = tmp_path / "generator/1" / MANIFEST
    manifest.parent.mkdir(parents=True)
    assert largest_file(tmp_path) == 2**27
    plain = (tiny_model_directories.generators["plain"] / MANIFEST).read_text()
    manifest.write_text(re.sub(r'"resolution": \d+', '"resolution": 8192', plain))
    assert largest_file(tmp_path) == 2 * 8 * 8192 * 8192 * 3


def test_a_model_is_withdrawn_also_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = repository_in(tmp_path)
    (repository / "model/1").mkdir()
    (repository / "model/1/model.py").touch()
    models = ServedModels(tmp_path / "served", repository)
    for name in ("os.mkdir", "shutil.copyfile"):
        monkeypatch.setattr(name, failing_with(errno.ENOSPC))
    models.withdraw("model")
    assert not (models.folder / "model").exists()
    models.keep_name("model")
    assert [*models.folder.rglob("*")] == [models.folder / "model"]
    assert (repository / "model/1/model.py").exists()


def test_a_first_start_that_fails_ends_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: TritonServer) -> None:
        raise ServerError("port", got="a taken one", expected="a free one", remedy="choose another")

    monkeypatch.setattr(TritonServer, "start", start)
    with pytest.raises(ServerError, match="port: got a taken one"):
        serve(repository_in(tmp_path))


def test_a_log_in_use_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    repository, log = repository_in(tmp_path), tmp_path / "repository.log"
    log.write_text("of the first server")
    with locked(log), pytest.raises(ServerError, match="got the log of a server that is running"):
        serve(repository)
    assert log.read_text() == "of the first server"


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"log .*file/log: got (File exists|Not a directory), .*choose another"):
        serve(repository_in(tmp_path), log=tmp_path / "file" / "log")


def test_a_log_that_is_gone_or_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_of(tmp_path / "log") == 0
    assert text_since(tmp_path / "log", 0) == ""
    rotate(tmp_path / "log", largest=0)
    (tmp_path / "log").write_text("before, after")
    assert text_since(tmp_path / "log", 8) == "after"
    assert text_since(tmp_path / "log", 99) == "before, after"  # it has been emptied meanwhile
    for name in ("os.truncate", "shutil.copyfile"):
        monkeypatch.setattr(name, failing_with(errno.EROFS))
    rotate(tmp_path / "log", largest=0)
    assert size_of(tmp_path / "log") == 13


def test_a_large_log_is_emptied_and_its_last_contents_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab") as written:
        for number in range(6):
            written.write(b"%d" % number * 10)
            written.flush()
            rotate(log, largest=9)
            assert log.stat().st_size == 0
        written.write(b"short")
        written.flush()
        rotate(log, largest=9)
    assert log.read_text() == "short"
    kept = {path.name: path.read_text()[0] for path in tmp_path.iterdir() if path != log}
    assert kept == {"log.1": "5", "log.2": "4", "log.3": "3"}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("absent", "got no such folder, expected 18 MiB for 9 models"),
        ("unwritable", "got a folder that this user cannot write"),
        ("full", r"got 17 MiB of free space, expected 18 MiB for 9 models; .*--shm-size"),
    ],
)
def test_missing_shared_memory_is_said_before_a_process_starts(
    fault: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation_module, "SHARED_MEMORY", tmp_path)
    check_shared_memory(9)
    if fault == "absent":
        monkeypatch.setattr(installation_module, "SHARED_MEMORY", tmp_path / "shm")
    elif fault == "unwritable":  # by a patch: root may write everywhere
        monkeypatch.setattr("os.access", lambda path, mode: False)
    else:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=17 << 20))
    with pytest.raises(ServerError, match=sentence):
        check_shared_memory(9)


def test_a_copied_program_that_another_child_still_holds_open_is_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    held = program.open("r+b")
    closing = Timer(0.3, held.close)
    closing.start()
    with pytest.raises(OSError, match="Text file busy"):
        subprocess.run([program], check=False)
    assert run_copied_program(program, os.environ).returncode == 1
    assert held.closed
    closing.join()
