"""The benchmark cases, in groups whose cases alternate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.latency.microbenchmarks import MICROBENCHMARKS
from benchmarks.networks import BenchmarkModels

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
GENERATOR_ENGINES = tuple(dict.fromkeys(engine for engine, _ in _GENERATORS))
"""The generator's engines. One that a machine lacks has a row with the reason: without a row, the run is older."""

_ISF = ((EAGER, "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
_OTHERS = {"encoder": (*_ISF, ("winograd", "fp32"), ("winograd", "int16")), "isf": _ISF}


@dataclass(frozen=True)
class BenchmarkCase:
    """The case of one row: a stage in an engine, with its batch size and the number of requests in flight.

    Attributes:
        served: whether the served ensemble runs this stage in this engine and precision.
        weight: timed seconds of this case relative to those of a usual one.
        resolution: of a smaller generator; 0 stands for the resolution of the models.
    """

    stage: str
    engine: str
    precision: str
    batch: int = 1
    in_flight: int = 1
    served: bool = False
    weight: float = 1.0
    resolution: int = 0

    @property
    def subject(self) -> BenchmarkCase:
        """The case by which the loaded subject is shared: one server answers every batch and any number in flight."""
        return replace(self, batch=1, in_flight=1) if self.stage == "ensemble" else self

    def __str__(self) -> str:
        flight = f", {self.in_flight} in flight" if self.stage == "ensemble" else ""
        size = f", resolution {self.resolution}" if self.resolution else ""
        return f"{self.stage}, {self.engine}, {self.precision}, batch {self.batch}{flight}{size}"


@dataclass(frozen=True)
class Group:
    """Cases that alternate, so that they can be compared on a machine that other work disturbs."""

    name: str
    cases: tuple[BenchmarkCase, ...]


def groups_for(
    models: BenchmarkModels,
    batches: Sequence[int],
    in_flight: Sequence[int],
    only: Collection[str],
    *,
    compiled: bool = True,
) -> list[Group]:
    """Groups of generators and of stages for each batch size; the microbenchmarks alternate with the first generators.

    The number of requests in flight varies at batch 1 only; larger batches are requested one at a time.
    """
    groups = []
    for batch in batches:
        generators = [case for case in _generators(batch) if compiled or case.engine != COMPILED]
        if batch == batches[0]:
            generators += _microbenchmarks()
        groups.append(Group("generators", tuple(case for case in generators if case.stage in only)))
        if not {"generator", "roof"}.issuperset(only):
            stages = _stages(models, batch, in_flight if batch == 1 else [1], only)
            groups.append(Group("stages", tuple(stages)))
    return [group for group in groups if group.cases]


def resolution_group(models: BenchmarkModels, resolutions: Sequence[int]) -> Group:
    """Generator and pipeline as they are served, at several resolutions."""
    cases = [
        BenchmarkCase(stage, *models.at(resolution).served("generator"), served=True, resolution=resolution)
        for stage in ("generator", "pipeline")
        for resolution in resolutions
    ]
    return Group("resolution", tuple(cases))


def batch_group(models: BenchmarkModels, batches: Sequence[int]) -> Group:
    """Generator and ensemble as they are served, at several batch sizes.

    The group has the ensemble and not the pipeline, since one server answers all sizes: together they fit into memory.
    """
    served = models.served("generator")
    stages = ("generator", "ensemble")
    return Group(
        "batch", tuple(BenchmarkCase(stage, *served, batch, served=True) for stage in stages for batch in batches)
    )


def _generators(batch: int) -> Iterator[BenchmarkCase]:
    for engine, precision in _GENERATORS:
        yield BenchmarkCase("generator", engine, precision, batch)


def _microbenchmarks() -> Iterator[BenchmarkCase]:
    for name, microbenchmark in MICROBENCHMARKS.items():
        for precision in microbenchmark.precisions:
            yield BenchmarkCase("roof", name, precision, weight=0.25)


def _stages(
    models: BenchmarkModels, batch: int, in_flight: Sequence[int], only: Collection[str]
) -> Iterator[BenchmarkCase]:
    for stage, others in _OTHERS.items():
        for engine, precision in others if stage in only else ():
            yield BenchmarkCase(stage, engine, precision, batch, served=models.served(stage) == (engine, precision))
    if "generator" in only:
        yield BenchmarkCase("generator", *models.served("generator"), batch, served=True)
    if "pipeline" in only:
        yield BenchmarkCase("pipeline", *models.served("generator"), batch, served=True)
    for count in in_flight if "ensemble" in only else ():
        yield BenchmarkCase("ensemble", *models.served("generator"), batch, count, served=True)
