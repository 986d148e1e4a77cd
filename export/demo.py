"""The program of ``make demo``: it runs the commands that a user types, then sends requests to a real server over gRPC.

It writes into one folder the face, the pictures, ``contact_sheet.png`` with all of them,
``random_faces.png`` with the same random faces by every generator, a toonified clip, and ``summary.md`` with the
seconds of every stage, the engines and their errors, and the time of a request.
"""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import tritonclient.grpc
import typer
from rich.console import Console

from engines import Manifest, read_manifest
from engines.contract.arrays import Picture
from engines.contract.closing import Closing
from engines.contract.tensors import ISF_ATTRIBUTES
from export.demo_face import demo_code, demo_photograph
from export.demo_models.clips import ClipFrame, talking_head
from export.demo_models.files import DESCRIPTION
from serving.client import ToonifyClient
from serving.command_line import run
from serving.controls import Style
from serving.faces.alignment import align
from serving.faces.images import write_picture
from serving.faces.landmark_files import FileLandmarker
from serving.faces.paste import paste
from serving.served_toonifier import ServedToonifier
from serving.sheet import named_sheet, sheet_of, shrunk
from serving.triton.installation import check_shared_memory, find_installation
from serving.triton.server import TritonServer
from serving.video.frames import Frame
from serving.video.pipeline import toonify_video
from serving.video.reading import VideoReader
from serving.video.session import ToonSession
from serving.video.writing import VideoWriter

R_SWAPS = (16, 32, 64)
EDITED_MODEL = "blend_r16"
CLIP_SECONDS, CLIP_RATE = 2, 12
TIMED_REQUESTS = 20
TILE = 192
SEEDS = 8

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Stopwatch:
    """The seconds that each stage took, in order."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage, and time it."""
        console.print(f"[bold]{len(self.stages) + 1}. {name}[/bold]")
        start = time.perf_counter()
        yield
        self.stages[name] = time.perf_counter() - start

    def command(self, name: str, *arguments: str) -> None:
        """Run a ``toonify-export`` command as a stage."""
        with self.stage(name):
            console.print(f"   $ toonify-export {shlex.join(arguments)}")
            finished = subprocess.run([sys.executable, "-m", "export", *arguments], check=False)
        if finished.returncode:
            raise SystemExit(finished.returncode)  # the command has said why


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one request with one face, seen by the client, and of every model in it, seen by the server."""

    median: float
    fastest: float
    slowest: float
    models: dict[str, float]


def demo(output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("build/demo")) -> None:
    """Blend, export, verify, serve and request pictures: use the whole package once."""
    # The server's requirements are checked before minutes of exports. It runs four Python models besides the engines.
    with tempfile.TemporaryDirectory() as scratch:
        find_installation(Path(scratch))
    check_shared_memory(4 + len(R_SWAPS) + 5)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    watch = Stopwatch()
    console.print(f"The demo models are {DESCRIPTION}.")
    with watch.stage("Render a photograph and a clip, and cut the face out"):
        photograph, points = demo_photograph()
        face, placement = align(photograph, points)
        write_picture(output / "photograph.png", photograph)
        write_picture(output / "face.png", face)
        draw_clip(output)
    names = _export(watch, output / "models")
    repository = output / "model_repository"
    generators = [part for name in names for part in ("--generator", str(output / "models" / name))]
    parts = [*generators]
    for name in ("encoder", "isf", "classifier"):
        parts += [f"--{name}", str(output / "models" / name)]
    watch.command("Put a Triton model repository together", "repository", *parts, "--output", str(repository))
    pictures, latency = _request_pictures(watch, repository, output, names, face)
    for name, picture in pictures.items():
        write_picture(output / f"{name.replace(' ', '_').replace(',', '')}.png", picture)
    write_picture(output / "pasted.png", paste(photograph, pictures[EDITED_MODEL], placement))
    write_picture(output / "contact_sheet.png", _contact_sheet({"the face": face, **pictures}))
    models = [read_manifest(path) for path in sorted((output / "models").iterdir())]
    (output / "summary.md").write_text(_summary(DESCRIPTION, watch, models, latency))
    console.print(f"Done. Look at {output / 'contact_sheet.png'}, {output / 'toon.mp4'} and {output / 'summary.md'}.")


def draw_clip(output: Path) -> None:
    """Write clip.mp4 and its landmarks, clip.json."""
    clip = _DrawnClip(list(talking_head(demo_code(), CLIP_SECONDS, rate=CLIP_RATE)))
    with VideoWriter(output / "clip.mp4", clip, codec="libx264") as writer:
        for frame in clip:
            writer.write(frame)
    landmarks = [
        {"picture": str(number), "faces": [{"points": frame.points.tolist()}]}
        for number, frame in enumerate(clip.frames)
    ]
    (output / "clip.json").write_text(json.dumps(landmarks))


@dataclass(frozen=True)
class _DrawnClip(Closing):
    """A drawn clip as a source of video frames."""

    frames: Sequence[ClipFrame]

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.frames[0].picture.shape[:2]
        return width, height

    @property
    def frame_count(self) -> int:
        return len(self.frames)

    @property
    def duration(self) -> float:
        return len(self.frames) / CLIP_RATE

    def __iter__(self) -> Iterator[Frame]:
        for number, frame in enumerate(self.frames):
            yield Frame(frame.picture, Fraction(number, CLIP_RATE), Fraction(1, CLIP_RATE))


def _export(watch: Stopwatch, models: Path) -> list[str]:
    """Export all models; return the generators' names."""
    swaps = ",".join(map(str, R_SWAPS))
    watch.command("Blend at several r_swap, export, verify", "blend", "--r-swap", swaps, "--output", str(models))
    watch.command(
        "Export the base generator, unblended", "generator", "--name", "base", "--output", str(models / "base")
    )
    watch.command("Export the encoder", "encoder", "--output", str(models / "encoder"))
    watch.command("Export the ISF head", "isf", "--output", str(models / "isf"))
    watch.command("Export the classifier of its attributes", "classifier", "--output", str(models / "classifier"))
    return [*(f"blend_r{r}" for r in R_SWAPS), "base"]


def _request_pictures(
    watch: Stopwatch, repository: Path, output: Path, names: Sequence[str], face: Picture
) -> tuple[dict[str, Picture], Latency]:
    log = output / "tritonserver.log"
    with watch.stage("Start the Triton server"):
        server = TritonServer(repository, log=log, grpc_port=0, metrics_port=0)
        server.start()
        console.print(f"   process {server.pid} answers at {server.url}; its log is {log}")
    try:
        with watch.stage("Ask for pictures over gRPC"), ToonifyClient(server.url) as client:
            pictures = {name: client.toonify(face, model=f"toonify_{name}")[0] for name in ("base", *names[:-1])}
            for attribute in ISF_ATTRIBUTES:
                for model in ("base", EDITED_MODEL):
                    (picture,) = client.toonify(face, model=f"toonify_{model}", attributes={attribute: 1}, seed=1)
                    pictures[f"{model}, {attribute}"] = picture
        with watch.stage("Draw random faces"), ToonifyClient(server.url) as client:
            write_picture(output / "random_faces.png", _random_faces(client, ["base", *names[:-1]]))
        with watch.stage("Toonify the clip"):
            _toonify_clip(server.url, output)
        with watch.stage(f"Time {TIMED_REQUESTS} requests"):
            latency = _latency(server.url, face)
    finally:
        with watch.stage("Stop the server"):
            server.stop()
    return pictures, latency


def _random_faces(client: ToonifyClient, names: Sequence[str]) -> Picture:
    """Draw the same seeds with every generator, a row for each."""
    rows = [client.sample(range(SEEDS), psi=0.7, model=f"toonify_{name}") for name in names]
    return sheet_of([shrunk(face, TILE) for row in rows for face in row], columns=SEEDS)


def _toonify_clip(url: str, output: Path) -> None:
    source = VideoReader(output / "clip.mp4")
    with ServedToonifier(ToonifyClient(url)) as toonifier:
        landmarker = FileLandmarker(output / "clip.json")
        with ToonSession(toonifier, landmarker, style=Style(model=EDITED_MODEL), smoothing="file") as session:
            report = toonify_video(source, VideoWriter(output / "toon.mp4", source, codec="libx264"), session)
    console.print(f"   {report.frames} frames at {report.fps:.1f} a second")


def _latency(url: str, face: Picture) -> Latency:
    with ToonifyClient(url) as client:
        before = _compute_milliseconds(url)
        times = []
        for _ in range(TIMED_REQUESTS):
            start = time.perf_counter()
            client.toonify(face, attributes={"age": 1})
            times.append(1e3 * (time.perf_counter() - start))
        after = _compute_milliseconds(url)
    models = {name: (after[name] - before[name]) / TIMED_REQUESTS for name in after if after[name] > before[name]}
    return Latency(statistics.median(times), min(times), max(times), models)


def _compute_milliseconds(url: str) -> dict[str, float]:
    """Return the milliseconds that each model has computed since the server started, as the server counts them."""
    with tritonclient.grpc.InferenceServerClient(url) as client:
        response: Any = client.get_inference_statistics()
    return {model.name: model.inference_stats.compute_infer.ns / 1e6 for model in response.model_stats}


def _contact_sheet(pictures: dict[str, Picture]) -> Picture:
    """Arrange the face and the unedited pictures in the first row, and the edits below it."""
    tiles = {name: shrunk(picture, TILE) for name, picture in pictures.items()}
    return named_sheet(tiles, columns=len(R_SWAPS) + 2)


def _summary(description: str, watch: Stopwatch, models: Sequence[Manifest], latency: Latency) -> str:
    lines = ["# Summary of the demo", "", f"The demo models are {description}.", "", "| stage | seconds |", "|---|--:|"]
    lines += [f"| {name} | {seconds:.1f} |" for name, seconds in watch.stages.items()]
    lines += ["", "| model | engine | worst error | mean error | PSNR, dB |", "|---|---|--:|--:|--:|"]
    for m in models:
        error = m.verification
        psnr = "equal" if error.psnr is None else f"{error.psnr:.1f}"
        lines.append(f"| {m.name} | {m.engine} {m.precision} | {error.worst:.3g} | {error.mean:.3g} | {psnr} |")
    lines += [
        "",
        "Errors are against PyTorch in float32: a picture's in levels of 0..255, a code's in the code's own unit.",
        "",
    ]
    lines += [
        f"A request with one face, over gRPC: median {latency.median:.1f} ms (fastest {latency.fastest:.1f}, slowest "
        f"{latency.slowest:.1f}, of {TIMED_REQUESTS}). Inside the server:",
        "",
        "| model | ms |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {milliseconds:.1f} |" for name, milliseconds in sorted(latency.models.items())]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    run(app)
