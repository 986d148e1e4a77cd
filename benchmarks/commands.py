"""``python -m benchmarks.commands``: how long commands take, beside those of another checkout.

``--before FOLDER`` names the checkout, whose compiled libraries are there; both run in this environment, in turn. Every
run has an empty cache, so that an export chooses its engine anew; ``--load N`` runs beside N processes that keep a core
busy each. The rows are in ``results/commands.csv``, and a table of them is in ``benchmarks/README.md``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks import machine
from benchmarks.errors import SubjectError
from benchmarks.generated import README, line, number, with_section
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
    """One run of a command: wall-clock and processor time in seconds.

    ``version``: "this" or "before". ``load``: the number of busy processes beside it. ``engine``: the chosen engine and
    its precision, where it is an export.
    """

    run: str
    commit: str
    device: str
    command: str
    version: str
    round: int
    seconds: float
    cpu_seconds: float
    load: int = 0
    engine: str = ""


@dataclass(frozen=True)
class Timing:
    """What one run of a command took, in seconds, and the engine that it chose."""

    seconds: float
    cpu_seconds: float
    engine: str


def main(
    before: Annotated[
        Path | None, typer.Option(help="The other checkout; without it only this one is measured.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Runs of each command and version.")] = 5,
    large: Annotated[bool, typer.Option("--large", help="The networks of 1024x1024 instead of the demo's.")] = False,
    only: Annotated[str, typer.Option(help="Only the commands whose name contains this.")] = "",
    load: Annotated[
        int, typer.Option(min=0, help="Number of processes beside it, each of which keeps a core busy.")
    ] = 0,
    results: Annotated[Path, typer.Option(help="The CSV file to which the rows are added.")] = RESULTS,
) -> None:
    """Measure, add the rows and write the table."""
    checkouts = {"this": ROOT} | ({"before": before.absolute()} if before else {})
    commands = {name: arguments for name, arguments in (LARGE if large else SMALL).items() if only in name}
    started, commit, device = machine.now(), machine.commit(), machine.device()
    with TemporaryDirectory() as folder, busy_processes(load):
        if large:
            write_generator_safetensors(generator_weights(FULL), Path(folder) / "generator.safetensors")
            write_encoder(encoder_weights(FULL), Path(folder) / "encoder.pt")
        for command, arguments in commands.items():
            for round_number, version in alternating([*checkouts], rounds):
                sys.stderr.write(f"{command}, {version}, round {round_number + 1}\n")
                timing = timed(checkouts[version], arguments, Path(folder))
                row = CommandRow(
                    *(started, commit, device, command, version, round_number),
                    *(timing.seconds, timing.cpu_seconds, load, timing.engine),
                )
                append_records(results, CommandRow, [row])
    if results == RESULTS:
        README.write_text(
            with_section(README.read_text(), "benchmarks.commands", table(read_records(RESULTS, CommandRow)))
        )


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that do nothing but keep a core busy each, until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def timed(checkout: Path, arguments: Sequence[str], folder: Path) -> Timing:
    """Run a command of a checkout in a folder, whose ``build`` is removed afterwards.

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
    if process.returncode:
        raise SubjectError(f"{' '.join(rest)} of {checkout} ended with {process.returncode}")
    engines = [_engine(manifest) for manifest in folder.glob("build/*/manifest.json")]
    shutil.rmtree(folder / "build", ignore_errors=True)
    return Timing(seconds, usage.ru_utime + usage.ru_stime, ", ".join(sorted(engines)))


def _engine(manifest: Path) -> str:
    fields = json.loads(manifest.read_bytes())
    return f"{fields['engine']} {fields['precision']}"


def table(rows: Sequence[CommandRow]) -> str:
    """The newest run of each command and load as a Markdown table."""
    lines = [
        "| command | seconds | processor seconds | before: seconds | processor seconds | ratio (range over rounds) "
        "| engine chosen |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    newest = {(row.command, row.load): row.run for row in rows}
    for (command, load), started in newest.items():
        measured = [row for row in rows if (row.command, row.load, row.run) == (command, load, started)]
        lines.append(_line(f"{command}, beside {load} busy processes" if load else command, measured))
    runs = {row.run: row for row in rows if row.run in newest.values()}.values()
    origins = [f"Run {row.run}, commit {row.commit}; {row.device}." for row in runs]
    return "\n".join(["", *lines, "", *origins, ""])


def _line(command: str, rows: Sequence[CommandRow]) -> str:
    versions = [{row.round: row for row in rows if row.version == version} for version in ("this", "before")]
    this, before = versions
    ratios = [before[index].seconds / row.seconds for index, row in this.items() if index in before]
    name, comma, what = command.partition(",")
    return line(
        f"`{name}`{comma}{what}",
        *(cell for version in versions for cell in _medians(version)),
        str(ratio_over_rounds(ratios)) if ratios else "",
        _choices(this),
    )


def _choices(rows: Mapping[int, CommandRow]) -> str:
    chosen = Counter(row.engine for row in rows.values() if row.engine)
    return ", ".join(f"{engine}, {count} of {len(rows)}" for engine, count in chosen.most_common())


def _medians(rows: Mapping[int, CommandRow]) -> Iterator[str]:
    for name in ("seconds", "cpu_seconds"):
        yield number(statistics.median(getattr(row, name) for row in rows.values())) if rows else ""


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
