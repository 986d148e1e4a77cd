"""The file from which an interrupted search is continued: codes, Adam's moments and a few numbers, as safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from engines.contract.atomic import atomic_file
from engines.contract.errors import CheckpointError, ExportError
from export.checkpoints.opening import open_checkpoint
from export.checkpoints.safetensors_files import SafetensorsFile
from export.projection.projector import Projector

FORMAT = "toonify-serve projection 1"

_CODES = ("w", "best", "exp_avg", "exp_avg_sq")
_NUMBERS = ("step", "rate", "best_distance", "plateau_best", "waited")


def write_search(path: Path, projector: Projector, key: str) -> None:
    """Write a search's state after its last step; ``key`` stands for all that it depends on.

    Raises:
        ExportError: the file cannot be written.
    """
    (adam,) = projector.optimizer.state.values()
    tensors = {"w": projector.w.detach(), "best": projector.best, "exp_avg": adam["exp_avg"]}
    tensors["exp_avg_sq"] = adam["exp_avg_sq"]
    numbers = {
        "step": projector.step,
        "rate": projector.optimizer.param_groups[0]["lr"],
        "best_distance": projector.best_distance,
        "plateau_best": float(projector.plateau.best),
        "waited": projector.plateau.num_bad_epochs,
    }
    metadata = {"format": FORMAT, "key": key, "numbers": json.dumps(numbers)}
    contiguous = {name: value.cpu().contiguous() for name, value in tensors.items()}
    with atomic_file(path, force=True) as partial:
        partial.write_bytes(save(contiguous, metadata))


def resume_search(path: Path, projector: Projector, key: str) -> None:
    """Bring a search that has not begun to the state in a file.

    Raises:
        ExportError: there is no such file, it is damaged, or it is of another search.
    """
    tensors, numbers = _content(path, projector, key)
    projector.step = int(numbers["step"])
    projector.best, projector.best_distance = tensors["best"], numbers["best_distance"]
    with torch.no_grad():
        projector.w.copy_(tensors["w"])
    moments = {name: tensors[name] for name in ("exp_avg", "exp_avg_sq")}
    projector.optimizer.state[projector.w] = {"step": torch.tensor(float(projector.step)), **moments}
    projector.optimizer.param_groups[0]["lr"] = numbers["rate"]
    projector.plateau.best, projector.plateau.num_bad_epochs = numbers["plateau_best"], int(numbers["waited"])


def _content(path: Path, projector: Projector, key: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    try:
        content = open_checkpoint(path).content
        assert isinstance(content, SafetensorsFile)
        tensors = {name: torch.from_numpy(content.tensors[name].array()) for name in _CODES}
        stored = json.loads(content.metadata["numbers"])
        numbers = {name: float(stored[name]) for name in _NUMBERS}
        damaged = not (numbers["step"].is_integer() and numbers["waited"].is_integer())
    except (CheckpointError, AssertionError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        raise _refused(path, "no file of an interrupted search") from None
    if content.metadata.get("key") != key:
        raise _refused(path, "the search for another face, or with other models or options")
    start = projector.search.start
    if damaged or any(tensor.shape != start.shape for tensor in tensors.values()):
        raise _refused(path, "a damaged file")
    return {name: tensor.to(start.device) for name, tensor in tensors.items()}, numbers


def _refused(path: Path, got: str) -> ExportError:
    return ExportError(
        str(path),
        got=got,
        expected="the file that this search left behind",
        remedy="give --force in place of --resume to start anew",
    )
