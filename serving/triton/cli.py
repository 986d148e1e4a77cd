"""``toonify serve``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.contract.errors import RequestError, ToonifyError
from serving.command_line import is_quiet, stages
from serving.quiet_grpc import quiet_grpc
from serving.triton.log_lines import LogFormat
from serving.triton.restarts import Progress
from serving.triton.runtime import Runtime

if TYPE_CHECKING:
    from serving.triton.outputs import Log

_STANDARD_OUTPUT = "-"


def serve(
    repository: Annotated[Path, typer.Option(help="Output of toonify-export repository.")] = Path(
        "build/model_repository"
    ),
    address: Annotated[str, typer.Option(help="Address to listen on; other machines reach any but loopback.")] = (
        "127.0.0.1"
    ),
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="For pictures; 0 takes any free port.")] = 8001,
    http: Annotated[
        bool, typer.Option("--http", help="Open HTTP too; then any web page in a local browser can send pictures.")
    ] = False,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="With --http.")] = 8000,
    metrics: Annotated[bool, typer.Option(help="Tell Prometheus counts and times.")] = True,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="For Prometheus.")] = 8002,
    metrics_address: Annotated[
        str | None, typer.Option(help="Where Prometheus asks, if not at --address.", show_default=False)
    ] = None,
    allow_shared_memory: Annotated[
        bool,
        typer.Option(
            "--allow-shared-memory",
            help="Let clients pass pictures through /dev/shm; any of them can then read, overwrite and crash what other"
            " programs of this user keep there.",
        ),
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(metavar="PATH|-", help="The server's log, by default REPOSITORY.log; - is standard output."),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="json: each line of the log, and of this command, is a JSON object.")
    ] = "text",
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which compiled models are kept for the next start; large.", envvar="TOONIFY_CACHE"
        ),
    ] = None,
    trusted_key: Annotated[
        Path | None,
        typer.Option(help="Public key: refuse a repository that its owner has not signed (toonify-export sign)."),
    ] = None,
    runtime: Annotated[
        Runtime | None,
        typer.Option(
            help="What runs the models, by default the best for this machine; all but cpu need NVIDIA's container.",
            envvar="TOONIFY_RUNTIME",
        ),
    ] = None,
    canary: Annotated[
        float, typer.Option(min=0, help="Seconds between requests that show whether a model hangs; 0 for none.")
    ] = 30.0,
    trace: Annotated[
        str | None, typer.Option(metavar="URL", help="OpenTelemetry collector: http://HOST:PORT/v1/traces.")
    ] = None,
    trace_rate: Annotated[
        int,
        typer.Option(
            min=0, help="With --trace: one in so many requests, besides those whose client sends traceparent."
        ),
    ] = 1,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- TRITON OPTIONS", help="Further ones, as --log-verbose=1.")
    ] = None,
) -> None:
    """Serve a model repository with Triton Inference Server until Ctrl-C or SIGTERM."""
    with quiet_grpc():  # imported late: the other commands need no server
        from serving.signing import check_signature
        from serving.triton.arguments import Trace
        from serving.triton.contents import check_contents
        from serving.triton.supervision import serve as serve_repository

    with _log(log, log_format, repository) as (own_log, tell):
        if metrics_address is not None and not metrics:
            raise RequestError(
                "--metrics-address", got="it with --no-metrics", expected="one of the two", remedy="leave one out"
            )

        def check() -> None:
            if trusted_key:
                tell(f"checking the signature of {repository}")
                check_signature(repository, trusted_key)
            check_contents(repository)

        serve_repository(
            repository,
            check=check,
            address=address,
            grpc_port=grpc_port,
            http_port=http_port if http else None,
            metrics_port=metrics_port if metrics else None,
            metrics_address=metrics_address,
            allow_shared_memory=allow_shared_memory,
            log=own_log,
            runtime=runtime,
            cache=cache,
            trace=None if trace is None else Trace(trace, trace_rate),
            arguments=arguments or (),
            progress=tell,
            canary_interval=canary,
        )


@contextmanager
def _log(log: str | None, log_format: LogFormat, repository: Path) -> Iterator[tuple[Path | Log | None, Progress]]:
    """Yield where the server's lines go, and what tells users what is done."""
    if log != _STANDARD_OUTPUT and log_format == "text":
        with stages() as stage:
            yield (None if log is None else Path(log)), stage
        return
    from serving.triton.outputs import JsonFileLog, Lines, RelayedLog
    from serving.triton.supervision import default_log

    if log == _STANDARD_OUTPUT:  # everything is there, so that lines of the server and of this command stay in order
        lines = Lines(sys.stdout.fileno(), log_format)
        place: Log = RelayedLog("the log on standard output", lines.pass_on)
    else:
        lines = Lines(sys.stderr.fileno(), log_format)
        place = JsonFileLog(default_log(repository) if log is None else Path(log))
    try:
        yield place, (lambda phrase: None) if is_quiet() else lines.tell
    except ToonifyError as error:
        lines.tell(str(error), "error")
        raise typer.Exit(1) from None
