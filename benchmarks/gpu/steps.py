"""The steps of a GPU run, the most informative first."""

from __future__ import annotations

from functools import partial

from benchmarks.errors import SubjectError
from benchmarks.gpu import kernel_steps
from benchmarks.gpu.course import Course, Step
from benchmarks.gpu.groups import LOAD_TIMEOUT, TIMING_TIMEOUT, Group
from benchmarks.gpu.preparation import Preparation, reason_without_onnxruntime
from benchmarks.gpu.rows import OURS, PORT, ProfileRow
from benchmarks.gpu.subjects import (
    COMPILED,
    EAGER,
    GRAPH_ALONE,
    GRAPH_FUSED_FROM,
    ONNX_CUDA,
    RemoteSubject,
    Subject,
)

PREPARATION_TIMEOUT = 240.0
COMPILATION_TIMEOUT = 360.0
"""Seconds for torch.compile, which tries many forms of every kernel."""

GENERATOR = Subject("generator", OURS, "fp16")
REPLAYED = Subject("generator", GRAPH_ALONE, "fp16")
HALF_PORT = Subject("generator", PORT, "fp16")
ENSEMBLE = Subject("ensemble", OURS, "fp16")


def facts(course: Course) -> str:
    """The driver's facts, then the limits of memory and arithmetic."""
    with course.worker(partial(Preparation, course.options.models, course.options.prepared)) as worker:
        note: str = course.ask(worker, "facts", timeout=LOAD_TIMEOUT)
    kernel_steps.limits(course)
    return note


def generator(course: Course) -> str:
    """The engine at batch 1 and 8."""
    note = prepare(course, "generator")
    Group("generator", [GENERATOR], batches(course)).measure(course)
    return note


def replays(course: Course) -> str:
    """The engine's CUDA graphs alone, and which kernels they run."""
    prepare(course, "generator")
    Group("replays", [REPLAYED], batches(course)).measure(course)
    options, sizes = course.options, batches(course)
    with course.worker(partial(RemoteSubject, REPLAYED, options.models, options.device, sizes)) as worker:
        course.ask(worker, "load", timeout=LOAD_TIMEOUT)
        for batch in sizes:
            kernels = course.ask(worker, "profile", batch, timeout=TIMING_TIMEOUT)
            for kernel, calls, total in kernels:
                course.results.add(
                    ProfileRow, status="ok", stage="generator", batch=batch, kernel=kernel, calls=calls, total_us=total
                )
    return ""


def variants(course: Course) -> str:
    """Where the fused kernels begin, and variants of them."""
    prepare(course, "generator")
    starts = (32,) if course.options.quick else (256, 512, 1024, 2048)
    subjects = [Subject("generator", f"{GRAPH_FUSED_FROM}{start}", "fp16") for start in starts]
    Group("variants", subjects, batches(course)).measure(course)
    kernel_steps.variants(course)
    return ""


def baselines(course: Course) -> str:
    """What a user would run instead of the generator's engine."""
    prepare(course, "generator")
    subjects = [GENERATOR, HALF_PORT, Subject("generator", EAGER, "fp16")]
    Group("generators", subjects, batches(course)).measure(course)
    return ""


def stages(course: Course) -> str:
    """The encoder, the ISF head, the pipeline, and a server where one can run."""
    prepare(course, "generator", "encoder", "isf")
    subjects = [Subject("encoder", OURS, "fp16"), Subject("encoder", EAGER, "fp16"), Subject("isf", OURS, "fp32")]
    subjects += [Subject("isf", EAGER, "fp32"), Subject("pipeline", OURS, "fp16")]
    Group("stages", subjects, batches(course)).measure(course)
    unavailable = {ENSEMBLE: reason} if (reason := _repository(course)) else {}
    Group("ensemble", [ENSEMBLE], batches(course), unavailable).measure(course)
    return ""


def precisions(course: Course) -> str:
    """The generator in ONNX Runtime, and the port in float32."""
    prepare(course, "generator")
    onnx_cuda = Subject("generator", ONNX_CUDA, "tf32")
    unavailable = {onnx_cuda: reason} if (reason := reason_without_onnxruntime()) else {}
    subjects = [GENERATOR, onnx_cuda, *(Subject("generator", PORT, precision) for precision in ("tf32", "fp32"))]
    Group("float32", subjects, batches(course)[:1], unavailable).measure(course)
    return ""


def compiled(course: Course) -> str:
    """The fastest form that PyTorch has, whose compilation may take minutes."""
    prepare(course, "generator")
    subject = Subject("generator", COMPILED, "fp16")
    unavailable = {subject: "not in a quick run"} if course.options.quick else {}
    group = Group("compiled", [GENERATOR, HALF_PORT, subject], [1], unavailable, COMPILATION_TIMEOUT)
    group.measure(course)
    return ""


STEPS = (
    Step("facts", "the machine, and the limits of its memory and arithmetic", facts, 40),
    Step("generator", "this package's engine, compared with the reference and timed", generator, 150),
    Step("replays", "its CUDA graphs alone, and the kernels that they run", replays, 70),
    Step("kernel cases", "the kernels' tests against float64", kernel_steps.cases, 120),
    Step("kernels", "the kernels beside the limits", kernel_steps.timings, 100),
    Step("variants", "variants of the kernels, and where they begin", variants, 150),
    Step("baselines", "PyTorch in float16", baselines, 90),
    Step("stages", "encoder, ISF head, pipeline and server", stages, 180),
    Step("precisions", "ONNX Runtime, and PyTorch in float32", precisions, 120),
    Step("compiled", "torch.compile", compiled, 400),
)
FIRST_LOOK = STEPS[:4]


def batches(course: Course) -> tuple[int, ...]:
    """The batch sizes of a run."""
    return (1, 2) if course.options.quick else (1, 8)


def prepare(course: Course, *networks: str) -> str:
    """Bring references and exported networks into place, unless they are there; returns what was done.

    Raises:
        SubjectError: they cannot be had.
    """
    models = course.options.models
    missing = [network for network in networks if not models.onnx(network).exists()]
    if models.reference_file.exists() and not missing:
        return ""
    course.report(f"references, and exporting {', '.join(missing)}")
    with course.worker(partial(Preparation, models, course.options.prepared)) as worker:
        note: str = course.ask(worker, "references", timeout=PREPARATION_TIMEOUT)
        for network in missing:
            course.ask(worker, "export", network, timeout=PREPARATION_TIMEOUT)
    return note


def _repository(course: Course) -> str:
    """Write what a server serves; returns the reason where none can be measured, else ""."""
    options = course.options
    with course.worker(partial(Preparation, options.models, options.prepared)) as worker:
        try:
            return str(course.ask(worker, "repository", options.device, timeout=PREPARATION_TIMEOUT))
        except SubjectError as error:
            course.results.add_error("the server's repository", error)
            return str(error)
