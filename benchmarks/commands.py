"""``python -m benchmarks.commands``: how long commands take, beside those of another checkout.

``--before FOLDER`` names the checkout, whose compiled libraries are there; both run in this environment, in turn. Every
run has an empty cache. The rows are in ``results/commands.csv``, and a table of them is
printed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.generated import line, number
from benchmarks.networks import FULL, encoder_weights, generator_weights
from benchmarks.records import RESULTS_FOLDER, append_records, read_records
from benchmarks.rounds import alternating, ratio_over_rounds
from export.checkpoints import write_encoder, write_generator_safetensors
from export.demo_models.files import DemoFiles
from serving.command_line import run

ROOT = Path(__file__).parents[1]
RESULTS = RESULTS_FOLDER / "commands.csv"

SMALL: dict[str, Sequence[str]] = {
    "toonify --help": ("serving.start", "--help"),
    "toonify-export --help": ("export.start", "--help"),
    "toonify-export inspect, a demo model": ("export.start", "inspect", str(DemoFiles().base)),
    "toonify-export blend, the demo models": ("export.start", "blend", "--r-swap", "16"),
    "toonify-export encoder, the demo model": ("export.start", "encoder"),
}
"""Commands by what they do: the module of their entry point, and their arguments."""

LARGE: dict[str, Sequence[str]] = {
    "toonify-export generator, 1024 config-f": ("export.start", "generator", "--checkpoint", "generator.safetensors"),
    "toonify-export encoder, e4e of 18 rows": ("export.start", "encoder", "--checkpoint", "encoder.pt"),
}


@dataclass(frozen=True)
class CommandRow:
    """One run of a command: wall-clock and processor time in seconds; ``version`` is "this" or "before"."""

    run: str
    commit: str
    device: str
    command: str
    version: str
    round: int
    seconds: float
    cpu_seconds: float


def main(
    before: Annotated[
        Path | None, typer.Option(help="The other checkout; without it only this one is measured.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Runs of each command and version.")] = 5,
    large: Annotated[bool, typer.Option("--large", help="The networks of 1024x1024 instead of the demo's.")] = False,
    results: Annotated[Path, typer.Option(help="The CSV file to which the rows are added.")] = RESULTS,
) -> None:
    """Measure, add the rows and print the table."""
    checkouts = {"this": ROOT} | ({"before": before.absolute()} if before else {})
    started, commit, device = machine.now(), machine.commit(), machine.device()
    with TemporaryDirectory() as folder:
        if large:
            write_generator_safetensors(generator_weights(FULL), Path(folder) / "generator.safetensors")
            write_encoder(encoder_weights(FULL), Path(folder) / "encoder.pt")
        for command, arguments in (LARGE if large else SMALL).items():
            for round_number, version in alternating([*checkouts], rounds):
                sys.stderr.write(f"{command}, {version}, round {round_number + 1}\n")
                seconds, cpu = timed(checkouts[version], arguments, Path(folder))
                row = CommandRow(started, commit, device, command, version, round_number, seconds, cpu)
                append_records(results, CommandRow, [row])
    sys.stdout.write(table(read_records(results, CommandRow)))


def timed(checkout: Path, arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command of a checkout; return its wall-clock and processor time in seconds.

    Raises:
        SubjectError: it failed.
    """
    module, *rest = arguments
    code = f"import sys; sys.argv[0] = 'toonify-export'; from {module} import main; main()"
    with TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": cache}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, *rest], cwd=folder, env=environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(folder / "build", ignore_errors=True)
    if process.returncode:
        raise SubjectError(f"{' '.join(rest)} of {checkout} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def table(rows: Sequence[CommandRow]) -> str:
    """The newest run of each command as a Markdown table."""
    lines = [
        "| command | seconds | processor seconds | before: seconds | processor seconds | ratio (range over rounds) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    newest = {row.command: row.run for row in rows}
    for command, started in newest.items():
        lines.append(_line(command, [row for row in rows if (row.command, row.run) == (command, started)]))
    last = rows[-1]
    return "\n".join(["", *lines, "", f"Run {last.run}, commit {last.commit}; {last.device}.", ""])


def _line(command: str, rows: Sequence[CommandRow]) -> str:
    versions = [{row.round: row for row in rows if row.version == version} for version in ("this", "before")]
    this, before = versions
    ratios = [before[index].seconds / row.seconds for index, row in this.items() if index in before]
    return line(
        f"`{command.partition(',')[0]}`{command[command.find(',') :] if ',' in command else ''}",
        *(cell for version in versions for cell in _medians(version)),
        str(ratio_over_rounds(ratios)) if ratios else "",
    )


def _medians(rows: Mapping[int, CommandRow]) -> Iterator[str]:
    for name in ("seconds", "cpu_seconds"):
        yield number(statistics.median(getattr(row, name) for row in rows.values())) if rows else ""


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
