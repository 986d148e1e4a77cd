"""What becomes of a server's output: JSON lines, lines on standard output, the reason of a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.contract.errors import ServerError
from serving.triton import outputs, server
from serving.triton.installation import Installation
from serving.triton.log_lines import LogFormat, json_from_triton
from serving.triton.outputs import FileLog, JsonFileLog, Lines, Log, RelayedLog
from serving.triton.server import TritonServer

NOW = datetime(2026, 1, 1, 0, 0, 5, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "time", "level", "message", "place"),
    [
        (
            'I0101 00:00:04.582955 6867 server.cc:630] "loaded \\"x\\"\\nand \'y\'"',
            "2026-01-01T00:00:04.582Z",
            "info",
            "loaded \"x\"\nand 'y'",
            "server.cc:630",
        ),
        # The year that has just ended.
        ("W1231 23:59:59.000001 7 a.cc:1] a message", "2025-12-31T23:59:59.000Z", "warning", "a message", "a.cc:1"),
        ("2026-01-01T00:00:03Z E 7 a.cc:1] 12", "2026-01-01T00:00:03.000Z", "error", "12", "a.cc:1"),
        # No head of Triton's, or none that is a time.
        ("| Model | Version |", "2026-01-01T00:00:05.123Z", "info", "| Model | Version |", None),
        ("error: creating server: x", "2026-01-01T00:00:05.123Z", "error", "error: creating server: x", None),
        ("I9999 00:00:04.5 7 a.cc:1] x", "2026-01-01T00:00:05.123Z", "info", "I9999 00:00:04.5 7 a.cc:1] x", None),
        ("", "2026-01-01T00:00:05.123Z", "info", "", None),
    ],
)
def test_a_line_of_triton_is_taken_apart(line: str, time: str, level: str, message: str, place: str | None) -> None:
    expected = {"time": time, "level": level, "source": "triton", "message": message}
    assert json.loads(json_from_triton(line, NOW)) == expected | ({"place": place} if place else {})


@given(st.text() | st.from_regex(r"[IWE]\d{4} [\d:.]{5,15} 7 a\.cc:1\] .*|\S{0,25}Z [IWE] 7 x:1\] .*", fullmatch=True))
def test_any_line_becomes_one_object(line: str) -> None:
    written = json_from_triton(line, NOW)
    assert "\n" not in written
    assert isinstance(json.loads(written)["message"], str)


def told(log_format: LogFormat, folder: Path, tell: Callable[[Lines], None]) -> str:
    """What is written of what ``tell`` tells."""
    with (folder / "lines").open("wb", buffering=0) as file:
        tell(Lines(file.fileno(), log_format))
    return (folder / "lines").read_text()


def test_own_lines_and_those_of_a_server_stand_in_one_stream(tmp_path: Path) -> None:
    def tell(lines: Lines) -> None:
        lines.tell("serving toonify")
        lines.pass_on(b"I0101 a line of Triton\n")
        lines.tell("it has ended", "error")

    expected = ["toonify: serving toonify", "I0101 a line of Triton", "toonify: error: it has ended"]
    assert told("text", tmp_path, tell).splitlines() == expected


def test_own_lines_have_a_level(tmp_path: Path) -> None:
    def tell(lines: Lines) -> None:
        lines.tell("serving toonify")
        lines.tell("restarting in 1 s: it has ended")
        lines.tell("it does not start", "error")
        lines.pass_on(b"bytes that are no text: \xff\r\n")

    written = [json.loads(line) for line in told("json", tmp_path, tell).splitlines()]
    assert [line["level"] for line in written] == ["info", "warning", "error", "info"]
    assert [line["source"] for line in written] == ["toonify", "toonify", "toonify", "triton"]
    assert written[-1]["message"] == "bytes that are no text: \ufffd"


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    Lines(write, "text").tell("to nobody")
    os.close(write)


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that takes no more, since nobody reads it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    yield read, write
    os.close(read)
    os.close(write)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_READERS_TIME", 0.05)


@pytest.mark.usefixtures("little_patience")
def test_a_reader_that_sleeps_stops_no_server(full_pipe: tuple[int, int]) -> None:
    read, write = full_pipe
    lines = Lines(write, "text")
    log = RelayedLog("standard output", lines.pass_on)
    lines.tell("lost")
    with log.opened() as output:
        write_all(output, b"lost too\n" * 20_000)  # more than the server's own pipe holds
        write_all(output, b"last words")
        assert log.text().endswith("last words")
    os.set_blocking(read, False)
    with suppress(BlockingIOError):
        while os.read(read, 2**20):
            pass
    lines.tell("read again")
    assert os.read(read, 2**20) == b"toonify: read again\n"


@pytest.mark.usefixtures("little_patience")
def test_a_line_that_was_torn_is_ended_before_the_next_one(full_pipe: tuple[int, int]) -> None:
    read, write = full_pipe
    lines = Lines(write, "text")
    os.read(read, 8192)  # there is room for the beginning of a line
    lines.tell("y" * 2**16)
    while os.read(read, 2**20)[-1:] != b"y":
        pass
    lines.tell("next")
    assert os.read(read, 2**20) == b"\ntoonify: next\n"


def test_a_pipe_that_waits_for_its_reader_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for log in (FileLog(tmp_path / "pipe"), JsonFileLog(tmp_path / "pipe")):
        with pytest.raises(ServerError, match=r"got a pipe, expected a file that can be written; .* --log - for"):  # noqa: SIM117
            with log.claimed():
                pass


@pytest.mark.parametrize("kind", ["descriptor", "link"])
def test_what_is_open_already_is_no_log_and_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    (tmp_path / "output").write_text("of others")
    with (tmp_path / "output").open("ab") as output:
        path = Path(f"/dev/fd/{output.fileno()}")
        if kind == "link":
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        for log in (FileLog(path), JsonFileLog(path)):
            with pytest.raises(ServerError, match="got a file that is open already, expected one of its own; choose"):  # noqa: SIM117
                with log.claimed():
                    pass
    assert (tmp_path / "output").read_text() == "of others"


def test_a_link_to_a_file_is_a_log(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("log")
    with FileLog(tmp_path / "link").claimed():
        assert (tmp_path / "log").exists()


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_the_log_of_any_number_of_servers_and_never_read(device: str) -> None:
    log = FileLog(Path(device))
    with log.claimed(), JsonFileLog(Path(device)).claimed():
        assert spoken(log, "to nobody") == ""


def spoken(log: Log, *words: str) -> str:
    """What a log says of a process, after it has written these words and ended without a line's end."""
    code = "import sys; sys.stderr.write(' '.join(sys.argv[1:]))"
    with log.opened() as output:
        subprocess.run([sys.executable, "-S", "-c", code, *words], stdout=output, stderr=output, check=True)
        return log.text()


@pytest.mark.parametrize("kind", ["file", "standard output", "JSON"])
def test_the_last_words_of_a_server_are_known_when_it_has_ended(kind: str, tmp_path: Path) -> None:
    passed: list[bytes] = []
    logs: dict[str, Log] = {
        "file": FileLog(tmp_path / "log"),
        "standard output": RelayedLog("standard output", passed.append),
        "JSON": JsonFileLog(tmp_path / "log"),
    }
    log = logs[kind]
    with log.claimed():
        assert spoken(log, "of the", "first") == "of the first"
        assert spoken(log, "second") == "second"
        log.tidy()
    content = b" ".join(passed).decode() if kind == "standard output" else (tmp_path / "log").read_text()
    if kind == "JSON":
        content = "".join(json.loads(line)["message"] for line in content.splitlines())
    assert content.replace(" ", "") == "ofthefirstsecond"


def test_only_the_end_of_a_long_output_is_kept() -> None:
    log = RelayedLog("standard output", lambda line: None)
    with log.opened() as output:
        write_all(output, b"x" * 70_000 + b"\n" + b"y" * 2**20)
        assert log.text() == "y" * 2**20


def write_all(output: BinaryIO, content: bytes) -> None:
    while content:
        content = content[output.write(content) :]


def test_a_json_log_belongs_to_one_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with JsonFileLog(log).claimed():
        for second in (JsonFileLog(log), FileLog(log)):
            with pytest.raises(ServerError, match="got the log of a server that is running"), second.claimed():
                pass


def test_where_no_log_can_be_written_standard_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"choose another with --log, or --log - for"):  # noqa: SIM117
        with JsonFileLog(tmp_path / "file/log").claimed():
            pass


@pytest.mark.parametrize("kind", ["file", "standard output"])
def test_a_start_that_fails_is_explained_from_wherever_the_log_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho 'error: creating server: Internal - failed to stat file /x' >&2\nexit 1\n")
    program.chmod(0o755)
    own = Installation(program, (), {**os.environ}, embedded=False)
    monkeypatch.setattr(server, "find_installation", lambda scratch: own)
    (tmp_path / "repository/model").mkdir(parents=True)
    (tmp_path / "repository/model/config.pbtxt").touch()
    log = FileLog(tmp_path / "log") if kind == "file" else RelayedLog("the log", lambda line: None)
    ports = {"grpc_port": 0, "metrics_port": 0}
    with pytest.raises(ServerError, match=r"Triton server: got failed to stat file /x, expected .*; see .*log\."):
        TritonServer(tmp_path / "repository", log=log, **ports).start()
