"""Toonifies the pictures of a folder on a Ray cluster; none is lost with a process or a machine that fails.

    pip install ray
    python -m serving.deploy.examples.ray_pictures photographs toons --url triton:8001 --actors 16
    python -m serving.deploy.examples.ray_pictures photographs toons --encoder E --generator G --isf I --actors 16

It runs on any machine of the cluster; all of them have this package, and see both folders under the same paths.
``RAY_ADDRESS`` names the cluster; without it and without a cluster here, Ray starts one on this machine alone.

Ray is no dependency of this package. ``toonify image --shard`` shares files without it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayTaskError

from engines.contract.errors import EngineError, ToonifyError
from serving.back_end import BackEnd
from serving.connection import connection_from_options
from serving.controls import Edit
from serving.face_finder import face_finder
from serving.faces.images import read_picture, write_picture
from serving.faces.left_alone import ToonifyFaces
from serving.faces.photograph import toonified_crop, toonified_photograph
from serving.faces.picture_files import PICTURES
from serving.job_runs import run_jobs
from serving.jobs import files_in, jobs_of
from serving.patience import Patience
from serving.reporting import LineReporter

MAX_DEATHS = 3
"""How many processes may die over one picture, which then is the likely reason."""


class PictureWorker:
    """A Ray actor that toonifies one picture at a time, in a process of its own on any machine."""

    def __init__(self, back_end: BackEnd, align: str) -> None:
        self._back_end, self._find = back_end, face_finder(align)
        self._toonify: ToonifyFaces | None = None

    def toonify(self, source: Path, target: Path) -> None:
        """Write the picture, whole or not at all."""
        if target.exists():  # an actor was lost after it had written it, and before it could say so
            return
        if self._toonify is None:  # made with the first picture, since Ray would not tell this package's own errors
            style = self._back_end.style(Edit({}, {}), seed=0, strength=1.0, psi=1.0)
            self._toonify = partial(self._back_end.toonifier().toonify, style=style)
        photo, name = read_picture(source), str(source)
        found = self._find(photo, source.name)
        if found is None:
            picture = toonified_crop(photo, self._toonify, name=name)
        else:
            picture = toonified_photograph(photo, found, self._toonify, name=name)
        write_picture(target, picture)


class WorkerPool:
    """Ray actors; within the ``with`` block, others replace those that are lost as soon as there are resources."""

    def __init__(self, count: int, back_end: BackEnd, align: str) -> None:
        self._new = partial(ray.remote(num_cpus=1)(PictureWorker).remote, back_end, align)
        self._idle: Queue[Any] = Queue()
        self._closed = False
        for _ in range(count):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of Ray ends the actors. Replacing one then would start Ray anew.
        self._closed = True

    def toonify(self, source: Path, target: Path) -> None:
        """Have an actor toonify a picture, and another one if the first is lost.

        Raises:
            ToonifyError: the picture cannot be toonified, no server answers, or several processes died over it.
        """
        for _ in range(MAX_DEATHS):
            actor = self._idle.get()
            try:
                ray.get(actor.toonify.remote(source, target))
            except RayActorError:
                self._start()
            except RayTaskError as error:  # its cause is this package's own error about the picture or the server
                self._idle.put(actor)
                raise error.cause if isinstance(error.cause, ToonifyError) else error from None
            else:
                self._idle.put(actor)
                return
        raise EngineError(
            str(source),
            got=f"{MAX_DEATHS} processes that died while they worked on it",
            expected="a picture",
            remedy="see Ray's logs, and give each actor more memory",
        )

    def _start(self) -> None:
        actor = self._new()
        actor.__ray_ready__.remote().future().add_done_callback(partial(self._started, actor))

    def _started(self, actor: Any, ready: Future[object]) -> None:
        if ready.exception() is None:
            self._idle.put(actor)
        elif not self._closed:  # it was lost before it was ready
            self._start()


def toonify_folder(source: Path, output: Path, back_end: BackEnd, *, actors: int, align: str = "auto") -> int:
    """Toonify the pictures whose output does not exist; return the exit code that ``toonify image`` would have."""
    jobs = jobs_of(files_in([source.resolve()], PICTURES), output.resolve(), PICTURES, in_folder=True)
    patience, lines = Patience(), LineReporter[None]()
    with WorkerPool(actors, back_end, align) as pool:
        done = run_jobs(jobs, pool.toonify, lines, skip_existing=True, in_flight=actors, patience=patience)
    return 0 if done else patience.exit_code


def main() -> int:
    """Read the command line, and toonify."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("source", type=Path, help="folder of pictures")
    options.add_argument("output", type=Path, help="folder for their toons")
    options.add_argument("--actors", type=int, default=2, help="processes in the whole cluster, each with a processor")
    options.add_argument("--align", default="auto", help="as of toonify image")
    options.add_argument("--url", action="append", help="a server's address, also several times")
    for kind in ("encoder", "generator", "isf"):
        options.add_argument(f"--{kind}", type=Path, help="model directory, to work without a server")
    given = options.parse_args()
    ray.init(logging_level=logging.WARNING)
    try:
        server = connection_from_options(given.url, None, None, None, None)
        generators = [given.generator] if given.generator else []
        back_end = BackEnd(server, None, given.encoder, generators, given.isf)
        return toonify_folder(given.source, given.output, back_end, actors=given.actors, align=given.align)
    except ToonifyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        ray.shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
