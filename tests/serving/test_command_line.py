"""What both commands do at their end: exit codes, signals, full disks, file names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from rich.console import Console

from serving.command_line import common_options, shows_bars, stages

COMMAND = """
import sys, time
from pathlib import Path
import typer
from engines.contract.atomic import atomic_directory, atomic_file
from serving.command_line import run

app = typer.Typer()

@app.command()
def main(output: Path, wait: float = 0) -> None:
    with atomic_directory(output.with_suffix(".folder")) as folder, atomic_file(output) as file:
        (folder / "part").write_text("half")
        file.write_text("half")
        Path("ready").touch()
        time.sleep(wait)
    typer.echo(output)

run(app)
"""


def start(folder: Path, *arguments: str | bytes, nohup: bool = False) -> subprocess.Popen[bytes]:
    """Start a command that writes ``folder/output`` and ``folder/output.folder`` and prints the first one."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ignore,
    )


def wait_until_ready(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_unfinished(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, "output", "--wait", "60") as process:
        wait_until_ready(tmp_path)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    with start(tmp_path, "output", "--wait", "1", nohup=True) as process:
        wait_until_ready(tmp_path)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"output\n")


def test_a_file_name_that_is_not_utf_8_is_printed_as_it_is(tmp_path: Path) -> None:
    with start(tmp_path, b"\xff\xfe.png") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"\xff\xfe.png\n", b"")


def test_an_error_about_a_file_name_that_is_not_utf_8_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with start(tmp_path, b"\xff.png") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith(b"error: \\udcff.png: got an output that is already there")
    assert err.count(b"\n") == 1


def run_into(output: str, folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", COMMAND, "output"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with Path(output).open("wb") as file:
        ended = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.PIPE, text=True)
    return ended.returncode, ended.stderr


def test_standard_output_on_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    code, err = run_into("/dev/full", tmp_path)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: standard output: got 'No space left on device' while it was written, expected room")


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    with start(tmp_path, "output", "--wait", "1") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["serving.start", "export.start"])
def test_ctrl_c_during_the_imports_is_no_traceback(tmp_path: Path, command: str) -> None:
    # The module that interrupts stands in for one of the many that a command imports.
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    program = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += f"from {command} import main\nmain()\n"
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert (ended.returncode, ended.stderr) == (130, b"")


@pytest.mark.parametrize("module", ["serving.start", "export.start"])
def test_an_entry_point_imports_nothing_but_itself(module: str) -> None:
    program = f"import {module}, sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"typer", "rich", "numpy", "cv2"} & {*loaded}


@pytest.mark.parametrize(("option", "shown"), [((), True), (("-q",), False), (("-v",), True)])
def test_quiet_commands_show_no_bars_on_a_terminal(option: tuple[str, ...], shown: bool) -> None:
    app = typer.Typer()
    app.callback()(common_options)
    bars = []

    @app.command()
    def work() -> None:
        bars.append([shows_bars(Console(force_terminal=terminal)) for terminal in (True, False)])

    app([*option, "work"], standalone_mode=False)
    assert bars == [[shown, False]]


@pytest.mark.parametrize(
    ("option", "shown"), [((), ["  one", "  two"]), (("-q",), []), (("-v",), ["  one (", "  two ("])]
)
def test_stages_are_told_as_much_as_wanted(
    option: tuple[str, ...], shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    app.callback()(common_options)

    @app.command()
    def work() -> None:
        with stages() as report:
            report("one")
            report("two")

    app([*option, "work"], standalone_mode=False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(shown)
    assert all(line.startswith(start) for line, start in zip(lines, shown, strict=True))


CLOSED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from serving.start import start

class Module:
    @staticmethod
    def main():
        print("to nobody")
        print("to nobody, about a name that is not UTF-8: \\udcff", file=sys.stderr)
        sys.stdout.flush()
        file = Path("file").open("wb")
        Path("number").write_text(str(file.fileno()))

sys.modules["module"] = Module
start("module")
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_command_does_its_work_where_standard_streams_are_closed(closed: tuple[int, ...], tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", CLOSED, root], cwd=tmp_path, preexec_fn=close, check=False)
    assert done.returncode == 0
    assert int((tmp_path / "number").read_text()) > 2
