"""Repositories of tiny models to serve."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny_models import TinyModels

from engines.matching import MAPPING
from serving.triton.repository import write_repository

SLOW_MODEL = """\
import time

from serving.triton.adapters import {adapter}


class TritonPythonModel({adapter}):
    def execute(self, requests):
        time.sleep({seconds})
        return super().execute(requests)
"""


def small_repository(models: TinyModels, folder: Path, *, edits: bool = False) -> Path:
    """A repository with one generator and no mapping network, of which a server starts quickly.

    With ``edits`` it has an ISF head and a classifier too.
    """
    shutil.copytree(models.generators["plain"], folder / "plain", ignore=shutil.ignore_patterns(MAPPING))
    isf, classifier = (models.isf, models.classifier) if edits else (None, None)
    generators = [folder / "plain"]
    write_repository(
        folder / "repository", encoder=models.encoder, generators=generators, isf=isf, classifier=classifier
    )
    return folder / "repository"


def make_slow(repository: Path, model: str = "generator_plain", *, seconds: float = 0.3) -> None:
    """Make each batch of a model take this long, so that requests queue up."""
    path = repository / model / "1" / "model.py"
    adapter = "ConditionModel" if model == "condition" else "EngineModel"
    path.unlink()  # it may be a link to a file that others use
    path.write_text(SLOW_MODEL.format(adapter=adapter, seconds=seconds))
