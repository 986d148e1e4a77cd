"""``toonify sample``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from engines.contract.arrays import Picture, Pictures
from engines.contract.atomic import check_output
from engines.contract.errors import RequestError
from serving.client.defaults import DEFAULT_MODEL, DEFAULT_TIMEOUT
from serving.command_line import stages
from serving.connection import Connection, connection_from_options
from serving.controls import GeneratorControls
from serving.faces.images import check_suffix, write_picture
from serving.options import Alpha, Force, Headers, Model, Psi, RSwap, Timeout, TlsCa, TlsCert, TlsKey, Transfer, Url
from serving.reporting import LineReporter
from serving.sheet import MAX_IN_SHEET, sheet_of, shrunk

MAX_SEEDS = 1_000_000
"""Largest number of faces in a folder."""

TOGETHER = 8
"""Number of pictures that are drawn with one request."""

Draw = Callable[[Sequence[int]], Pictures]


def sample(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A sheet, such as sheet.png; or a folder, for a file for each seed.")
    ],
    seeds: Annotated[
        str, typer.Option(metavar="A:B|N[,N...]", help="From A to B - 1, or single ones; each is a face.")
    ] = "0:24",
    psi: Psi = None,
    r_swap: RSwap = None,
    alpha: Alpha = None,
    transfer: Transfer = None,
    url: Url = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    header: Headers = None,
    model: Model = None,
    generator: Annotated[
        Path | None, typer.Option(help="Model directory of a generator, to work without a server.")
    ] = None,
    columns: Annotated[int | None, typer.Option(min=1, help="Pictures in a row of the sheet.")] = None,
    tile: Annotated[int, typer.Option(min=16, help="Largest side of a picture in the sheet, in pixels.")] = 256,
    timeout: Timeout = DEFAULT_TIMEOUT,
    force: Force = False,
) -> None:
    """Draw random faces: uncurated, one for each seed, in a sheet or in files of their own.

    With one seed the output is its picture, unshrunk. In a folder, files that are there already are skipped.
    """
    numbers = seeds_from_option(seeds)
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    _check(server, model, generator)
    in_folder = output.is_dir() or not output.suffix
    if not in_folder:
        if len(numbers) > MAX_IN_SHEET:
            raise typer.BadParameter(f"a sheet holds {MAX_IN_SHEET}; name a folder as output", param_hint="--seeds")
        check_suffix(output)
        check_output(output, force=force)
    controls = GeneratorControls(psi=psi, r_swap=r_swap, alpha=alpha, transfer=transfer)
    with _drawing(server, model, generator, timeout, controls) as draw:
        if in_folder:
            _write_files(draw, numbers, output, force=force)
            return
        if len(numbers) == 1:
            ((_, picture),) = _drawn(draw, numbers)
        else:
            picture = sheet_of([shrunk(picture, tile) for _, picture in _drawn(draw, numbers)], columns)
        write_picture(output, picture, force=force)
        typer.echo(output)


def seeds_from_option(text: str) -> list[int]:
    """Parse "A:B", which excludes B, or seeds with commas between them.

    Raises:
        BadParameter: the text has another form, or names no seed or more than ``MAX_SEEDS``.
    """
    parts = text.split(":") if ":" in text else text.split(",")
    if not all(part.strip().isdecimal() and len(part) < 19 for part in parts) or (":" in text and len(parts) != 2):
        raise typer.BadParameter(f"{text!r} is not A:B or whole numbers with commas", param_hint="--seeds")
    numbers = [int(part) for part in parts]
    chosen = range(*numbers) if ":" in text else numbers
    if not 0 < len(chosen) <= MAX_SEEDS:
        raise typer.BadParameter(f"{len(chosen)} seeds; give 1 to {MAX_SEEDS}", param_hint="--seeds")
    return [*chosen]


def _check(server: Connection, model: str | None, generator: Path | None) -> None:
    if generator and (server.explicit or model):
        raise RequestError(
            "models",
            got=f"{'--url' if server.explicit else '--model'} and a model directory",
            expected="a server, or --generator alone",
            remedy="leave one out",
        )


@contextmanager
def _drawing(
    server: Connection, model: str | None, generator: Path | None, timeout: float, controls: GeneratorControls
) -> Iterator[Draw]:
    """Yield the function that draws pictures of seeds."""
    if generator:
        from serving.sampler import EngineSampler  # imported late: a client needs no engine

        with EngineSampler(generator) as sampler:
            yield partial(sampler.sample, **controls)
    else:
        with server.client(timeout) as client:
            yield partial(client.sample, model=model or DEFAULT_MODEL, **controls)


def _drawn(draw: Draw, seeds: Sequence[int]) -> Iterator[tuple[int, Picture]]:
    with stages() as report:
        for start in range(0, len(seeds), TOGETHER):
            some = seeds[start : start + TOGETHER]
            report(f"drawing faces {start + 1} to {start + len(some)} of {len(seeds)}")
            yield from zip(some, draw(some), strict=True)


def _write_files(draw: Draw, seeds: Sequence[int], folder: Path, *, force: bool) -> None:
    reporter = LineReporter[None]()
    targets = {seed: folder / f"seed{seed:04d}.png" for seed in seeds}
    there = {seed for seed, target in targets.items() if target.exists() and not force}
    for seed in sorted(there):
        reporter.skipped(targets[seed])
    for seed, picture in _drawn(draw, [seed for seed in targets if seed not in there]):
        write_picture(targets[seed], picture, force=force)
        reporter.finished(targets[seed], None)
