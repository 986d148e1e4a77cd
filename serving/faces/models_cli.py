"""``toonify models``: the published files by which faces are found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from engines.contract.errors import AlignmentError
from serving.command_line import print_table, shows_bars
from serving.faces.model_files import MODEL_FILES, ModelFile, model_folder, obtained, present

models = typer.Typer(
    help="The published files by which faces are found: list them, download them, tell where they lie.",
    no_args_is_help=True,
)


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the files, their licences, and whether this machine has them."""
    here = {model.name: _is_here(model) for model in MODEL_FILES}
    if as_json:
        typer.echo(json.dumps([{**asdict(model), "here": here[model.name]} for model in MODEL_FILES], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "bytes", "licence", "what it does", "here"):
        table.add_column(heading, overflow="fold")
    for model in MODEL_FILES:
        answer = "yes" if here[model.name] else "no"
        table.add_row(model.name, str(model.size), model.licence, model.use, answer)
    print_table(table)


def _is_here(model: ModelFile) -> bool:
    try:
        present(model)
    except AlignmentError:
        return False
    return True


@models.command()
def get() -> None:
    """Download the files that this machine lacks, 4 MB, and check their SHA-256."""
    for model in MODEL_FILES:
        typer.echo(with_progress(model))


@models.command()
def where() -> None:
    """Print the folder of the files; TOONIFY_MODELS names another one."""
    typer.echo(model_folder())


def with_progress(model: ModelFile) -> Path:
    """Return the path of a file, which is downloaded first unless it is there, with progress on stderr.

    Raises:
        AlignmentError: see ``obtained``.
    """
    console = Console(stderr=True)
    if not shows_bars(console):
        return obtained(model)
    with Bars(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console) as bars:
        return obtained(model, progress=_Bar(bars, bars.add_task(f"downloading {model.name}", total=None)))


@dataclass
class _Bar:
    """A bar in the form that pooch asks for."""

    bars: Bars
    task: TaskID
    total: int = 0

    def update(self, count: int) -> None:
        self.bars.update(self.task, advance=count, total=self.total or None)

    def reset(self) -> None:
        self.bars.reset(self.task)

    def close(self) -> None:
        self.bars.stop()
