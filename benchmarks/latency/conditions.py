"""What is measured: every condition, in groups whose conditions alternate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.latency.roof import ROOFS
from benchmarks.networks import Models

STAGES = ("generator", "encoder", "isf", "pipeline", "ensemble", "roof")

PORT = "port eager"
PORT_ONNX = "port's export in onnxruntime"
EAGER = "eager channels_last"
COMPILED = "torch.compile channels_last"

_GENERATORS = (
    (PORT, "fp32"),
    (EAGER, "fp32"),
    (EAGER, "bf16"),
    (COMPILED, "fp32"),
    (COMPILED, "bf16"),
    (PORT_ONNX, "fp32"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("winograd", "fp32"),
    ("winograd", "int16"),
)
_ISF = ((EAGER, "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
_OTHERS = {"encoder": (*_ISF, ("winograd", "fp32"), ("winograd", "int16")), "isf": _ISF}


@dataclass(frozen=True)
class Condition:
    """One row to be; ``weight`` is its share of the time that the others get."""

    stage: str
    engine: str
    precision: str
    batch: int = 1
    in_flight: int = 1
    served: bool = False
    weight: float = 1.0
    resolution: int = 0
    """Of smaller pictures than the other conditions'; 0 where it is the same."""

    @property
    def subject(self) -> Condition:
        """What is loaded for it: the same server answers any batch and any number of requests in flight."""
        return replace(self, batch=1, in_flight=1) if self.stage == "ensemble" else self

    def __str__(self) -> str:
        flight = f", {self.in_flight} in flight" if self.stage == "ensemble" else ""
        size = f", resolution {self.resolution}" if self.resolution else ""
        return f"{self.stage}, {self.engine}, {self.precision}, batch {self.batch}{flight}{size}"


@dataclass(frozen=True)
class Group:
    """Conditions that alternate, so that they can be compared on a machine that others disturb."""

    name: str
    conditions: tuple[Condition, ...]


def groups_for(
    models: Models, batches: Sequence[int], in_flight: Sequence[int], only: Collection[str], *, compiled: bool = True
) -> list[Group]:
    """For each batch, the generators and the stages; the machine's roofs alternate with the first generators.

    Requests in flight are varied at batch 1 only; larger batches are asked one at a time.
    """
    groups = []
    for batch in batches:
        generators = [c for c in _generators(batch) if compiled or c.engine != COMPILED]
        if batch == batches[0]:
            generators += _roofs()
        groups.append(Group("generators", tuple(c for c in generators if c.stage in only)))
        if not {"generator", "roof"}.issuperset(only):
            stages = _stages(models, batch, in_flight if batch == 1 else [1], only)
            groups.append(Group("stages", tuple(stages)))
    return [group for group in groups if group.conditions]


def resolution_group(models: Models, resolutions: Sequence[int]) -> Group:
    """What is served, by the size of the pictures."""
    conditions = [
        Condition(stage, *models.at(resolution).served("generator"), served=True, resolution=resolution)
        for stage in ("generator", "pipeline")
        for resolution in resolutions
    ]
    return Group("resolution", tuple(conditions))


def batch_group(models: Models, batches: Sequence[int]) -> Group:
    """What is served, by the size of the batch.

    The ensemble and not the pipeline: one server answers all sizes, so that they fit into memory together.
    """
    served = models.served("generator")
    stages = ("generator", "ensemble")
    return Group("batch", tuple(Condition(stage, *served, batch, served=True) for stage in stages for batch in batches))


def _generators(batch: int) -> Iterator[Condition]:
    for engine, precision in _GENERATORS:
        yield Condition("generator", engine, precision, batch)


def _roofs() -> Iterator[Condition]:
    for name, roof in ROOFS.items():
        for precision in roof.precisions:
            yield Condition("roof", name, precision, weight=0.25)


def _stages(models: Models, batch: int, in_flight: Sequence[int], only: Collection[str]) -> Iterator[Condition]:
    for stage, others in _OTHERS.items():
        for engine, precision in others if stage in only else ():
            yield Condition(stage, engine, precision, batch, served=models.served(stage) == (engine, precision))
    if "generator" in only:
        yield Condition("generator", *models.served("generator"), batch, served=True)
    if "pipeline" in only:
        yield Condition("pipeline", *models.served("generator"), batch, served=True)
    for count in in_flight if "ensemble" in only else ():
        yield Condition("ensemble", *models.served("generator"), batch, count, served=True)
