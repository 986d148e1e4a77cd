"""``python -m benchmarks.edge``: what an edge adds to the time of a request.

The same requests go to a server in turn directly, through an edge, and through an edge with TLS. The rows are in
``results/edge.csv``, and a table of the last run is in the README of ``serving/deploy``.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks import machine
from benchmarks.chaos.served import serving
from benchmarks.chaos.stand_ins import write_stand_ins
from benchmarks.errors import SubjectError
from benchmarks.generated import DEPLOY_README, line, number, with_section
from benchmarks.latency.command import console, run_command
from benchmarks.records import RESULTS_FOLDER, append_records, last_run, read_records
from benchmarks.rounds import alternating, medians_from_text, percentiles, text_of_medians
from serving.client.channel import channel_arguments
from serving.client.tls import tls_credentials
from serving.deploy.edge import Edge, Tls
from serving.deploy.envoy import Envoy
from serving.triton.ports import free_ports

RESULTS = RESULTS_FOLDER / "edge.csv"
DIRECT, PLAIN, ENCRYPTED = "direct", "edge", "edge with TLS"


@dataclass(frozen=True)
class EdgeRow:
    """One request on one way: times in milliseconds, and the median of each round."""

    run: str
    commit: str
    device: str
    request: str
    way: str
    n: int
    p50_ms: float
    p95_ms: float
    medians_ms: str


def _live(client: InferenceServerClient) -> object:
    return client.is_server_live()


def _pictures(count: int) -> Callable[[InferenceServerClient], object]:
    face = InferInput("face", [count, 256, 256, 3], "UINT8")
    face.set_data_from_numpy(np.zeros((count, 256, 256, 3), np.uint8))
    return lambda client: client.infer("toonify", [face])


REQUESTS: dict[str, Callable[[InferenceServerClient], object]] = {
    "empty (ServerLive)": _live,
    "one face, 192 KiB": _pictures(1),
    "eight faces, 1.5 MiB": _pictures(8),
}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which the ways take turns.")] = 12,
    calls: Annotated[int, typer.Option(min=1, help="Requests of each kind on each way in a round.")] = 100,
    results: Annotated[Path, typer.Option(help="The CSV file.")] = RESULTS,
) -> None:
    """Measure what an edge adds to the time of a request."""
    common: dict[str, Any] = {"run": machine.now(), "commit": machine.commit(), "device": machine.device()}
    with tempfile.TemporaryDirectory(prefix="edge-") as folder, _ways(Path(folder)) as ways:
        times = _measured(ways, rounds, calls)
    rows = [_row(common, request, way, taken) for (request, way), taken in times.items()]
    append_records(results, EdgeRow, rows)
    console.print(table(rows), markup=False)
    if results == RESULTS:
        text = with_section(DEPLOY_README.read_text(), "benchmarks.edge", table(read_records(RESULTS, EdgeRow)))
        DEPLOY_README.write_text(text)


def _measured(
    ways: Mapping[str, InferenceServerClient], rounds: int, calls: int
) -> dict[tuple[str, str], list[list[float]]]:
    """Return the times of each request on each way, in milliseconds, for each round."""
    cases = [*product(REQUESTS, ways)]
    times: dict[tuple[str, str], list[list[float]]] = {case: [] for case in cases}
    for request, way in cases:
        _timed(REQUESTS[request], ways[way], 20)  # connections, and buffers of the server
    for _, (request, way) in alternating(cases, rounds):
        times[request, way].append(_timed(REQUESTS[request], ways[way], calls))
    return times


def _timed(
    request: Callable[[InferenceServerClient], object], client: InferenceServerClient, calls: int
) -> list[float]:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        request(client)
        times.append(1000 * (time.perf_counter() - start))
    return times


@contextmanager
def _ways(folder: Path) -> Iterator[dict[str, InferenceServerClient]]:
    """Yield a client for each way to one server of stand-ins."""
    write_stand_ins(folder / "repository", seconds=0)
    tls = _certificate(folder)
    with ExitStack() as stack:
        served = stack.enter_context(serving(folder / "repository", folder, log=folder / "log", interval=1000))
        ports = free_ports("127.0.0.1", {PLAIN: 0, ENCRYPTED: 0})
        for way, own in ((PLAIN, None), (ENCRYPTED, tls)):
            stack.enter_context(Envoy(Edge((served.url,), port=ports[way], tls=own), folder / "edge.log"))
        urls = {DIRECT: served.url, PLAIN: f"127.0.0.1:{ports[PLAIN]}", ENCRYPTED: f"127.0.0.1:{ports[ENCRYPTED]}"}
        yield {
            way: stack.enter_context(
                InferenceServerClient(
                    url,
                    creds=tls_credentials(tls.certificate) if way == ENCRYPTED else None,
                    channel_args=channel_arguments(),
                )
            )
            for way, url in urls.items()
        }


def _certificate(folder: Path) -> Tls:
    """Make a certificate for this machine that signs itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise SubjectError("no openssl on PATH, which makes the edge's certificate")
    certificate, key = folder / "edge.pem", folder / "edge.key"
    what = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=edge", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, *what, *name, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return Tls(certificate, key)


def _row(common: dict[str, Any], request: str, way: str, rounds: Sequence[Sequence[float]]) -> EdgeRow:
    _, p50, p95 = percentiles([time for taken in rounds for time in taken])
    n = sum(map(len, rounds))
    return EdgeRow(**common, request=request, way=way, n=n, p50_ms=p50, p95_ms=p95, medians_ms=text_of_medians(rounds))


def table(rows: Sequence[EdgeRow]) -> str:
    """The table of the last run, in Markdown; nothing without a run."""
    if not rows:
        return ""
    last = {(row.request, row.way): row for row in last_run(rows)}
    lines = [
        "| request | direct, ms | through an edge, ms more | with TLS, ms more |",
        "|---|--:|--:|--:|",
        *(
            line(
                request,
                number(last[request, DIRECT].p50_ms),
                *(_added(last, request, way) for way in (PLAIN, ENCRYPTED)),
            )
            for request in REQUESTS
        ),
    ]
    origin = f"Run {rows[-1].run}, commit {rows[-1].commit}; {rows[-1].device}."
    return "\n" + "\n".join((*lines, "", origin)) + "\n"


def _added(rows: Mapping[tuple[str, str], EdgeRow], request: str, way: str) -> str:
    """The difference to the direct way, taken round by round."""
    direct, other = (medians_from_text(rows[request, each].medians_ms) for each in (DIRECT, way))
    added = [b - a for a, b in zip(direct, other, strict=True)]
    return f"{statistics.median(added):.2f} ({min(added):.2f} to {max(added):.2f})"


if __name__ == "__main__":
    run_command(main)
