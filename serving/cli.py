"""``toonify``: its commands, among them those that start a server and that report what this machine lacks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from serving.client.defaults import DEFAULT_MODEL
from serving.command_line import common_options, print_table, run
from serving.connection import connection_from_options
from serving.deploy.cli import edge
from serving.faces.cli import faces
from serving.faces.models_cli import models
from serving.image_cli import image
from serving.options import Headers, TlsCa, TlsCert, TlsKey, Url
from serving.quiet_grpc import quiet_grpc
from serving.sample_cli import sample
from serving.studio.cli import studio
from serving.triton.cli import serve
from serving.video.cam_cli import cam
from serving.video.cli import video

app = typer.Typer(
    help="Serve models that toonify faces, and use them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(common_options)

app.command()(serve)
app.command()(image)
app.command()(sample)
app.command()(video)
app.command()(cam)
app.command()(studio)
app.command()(faces)
app.command()(edge)
app.add_typer(models, name="models")


@app.command()
def doctor(
    url: Url = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    header: Headers = None,
    model: Annotated[str, typer.Option(help="Name of a served model.")] = DEFAULT_MODEL,
    repository: Annotated[Path | None, typer.Option(help="A model repository; its files are checked.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Report what this machine has and what it lacks; exit with 1 if it cannot make a picture."""
    with quiet_grpc():
        from serving.doctor import findings
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    report = findings(server, model, repository)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in report], indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("what", "found", "what to do"):
            table.add_column(heading, overflow="fold")  # truncated commands could not be copied
        for finding in report:
            table.add_row(finding.subject, finding.found, finding.remedy)
        print_table(table)
    if any(finding.missing and finding.essential for finding in report):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)
