"""The demo models, exported for the video benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from export.blending import blend, schedule_from_options
from export.build import build_encoder, build_generator
from export.checkpoints import read_generator
from export.demo_models.files import DemoFiles
from export.targets import ExportOptions
from serving.toonifier import EngineToonifier

R_SWAP = 64


def demo_toonifier(folder: Path, report: Callable[[str], None]) -> EngineToonifier:
    """Export the blend of both generators and the encoder into ``folder``, and load them; the caller closes them."""
    demo = DemoFiles()
    pair = [read_generator(path) for path in (demo.base, demo.transfer)]
    blended = blend(pair, schedule_from_options(pair[0].resolution, r_swap=R_SWAP))
    sources = [(role, weights.source) for role, weights in zip(("base", "transfer"), pair, strict=True)]
    build_generator(blended.weights, sources, _output(folder, "generator"), report)
    build_encoder(demo.read_encoder(), _output(folder, "encoder"), report)
    return EngineToonifier(folder / "encoder", [folder / "generator"])


def _output(folder: Path, name: str) -> ExportOptions:
    # The engine is OpenVINO and not "auto", as a choice by time could differ from run to run.
    return ExportOptions(folder / name, name, engine="openvino")
