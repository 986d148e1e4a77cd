"""The steps of a GPU run about single kernels: the GPU's limits, tests, timings, variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.errors import SubjectError
from benchmarks.gpu.cases import KernelCases
from benchmarks.gpu.course import Course
from benchmarks.gpu.kernels import KernelTimer
from benchmarks.gpu.launch_costs import W_DIM
from benchmarks.gpu.parallel import in_parallel
from benchmarks.gpu.rows import CaseRow, KernelRow
from benchmarks.gpu.variants import AS_IS, CONVOLUTION_VARIANTS, ROW_VARIANTS, TILE_VARIANTS, KernelVariant
from benchmarks.gpu.workloads import KernelWorkload, kernel_workloads, style_workloads
from benchmarks.rounds import percentiles

CASE_TIMEOUT = 60.0
"""Seconds for a kernel's compilation and its first run; Triton compiles a large one in some seconds."""


UNTIMED = (32,)
"""Resolutions whose layers are not timed: a library's small convolutions, which the profile of a replay shows."""

QUICK_CHANNELS = {4: 8, 8: 8}
"""The layers of a quick run, which are small enough for Triton's interpreter."""


@dataclass(frozen=True)
class KernelCase:
    """A kernel on a layer at one batch size, in a variant."""

    workload: KernelWorkload
    batch: int = 1
    variant: KernelVariant = AS_IS

    def __str__(self) -> str:
        return f"{self.workload}, batch {self.batch}{', ' * (self.variant != AS_IS)}{self.variant}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a row's key, in the key's order."""
        layer = self.workload
        sizes = {"channels_in": layer.channels_in, "channels_out": layer.channels_out, "size": layer.size}
        return {"kernel": layer.kernel, **sizes, "batch": self.batch, "variant": str(self.variant)}

    def is_timed(self, course: Course) -> bool:
        """Whether the case has a row."""
        return course.results.has(KernelRow, *self.columns.values())


def limits(course: Course) -> None:
    """Measure the GPU's two limits: copying and multiplying matrices."""
    # A copy of 1 GiB, a product of 1.1 TFLOP; tiny ones on a processor.
    count, side = (1 << 16, 64) if course.options.quick else (1 << 29, 8192)
    costs = {"copy": (count, 4.0 * count, 0.0), "product": (side, 6.0 * side**2, 2.0 * side**3)}
    with course.worker(partial(KernelTimer, course.options.device)) as worker:
        for name, (size, moved, operations) in costs.items():
            case = KernelCase(KernelWorkload(name, 0, 0, size))
            if not case.is_timed(course):
                times = course.ask(worker, name, size, course.options.seconds, timeout=CASE_TIMEOUT)
                _add_times(course, case, times, (moved, operations))


def cases(course: Course) -> str:
    """Run every case of the kernels' tests, several at once, since most of the time they are compiled."""
    remote = partial(KernelCases, course.options.device)
    with course.worker(remote) as worker:
        names = course.ask(worker, "names", timeout=CASE_TIMEOUT)

    def keep(item: tuple[str], answer: str | SubjectError) -> None:
        (case,) = item
        course.results.add(CaseRow, case=case, status="failed" if answer else "ok", reason=str(answer))
        if isinstance(answer, SubjectError):
            course.results.add_error(case, answer)

    missing = [(name,) for name in names if not course.results.has(CaseRow, name)]
    in_parallel(course, remote, "failure", missing, keep, timeout=CASE_TIMEOUT)
    return ""


def timings(course: Course) -> str:
    """Time the kernels of the generator's layers."""
    channels = QUICK_CHANNELS if course.options.quick else course.options.models.scale.channels
    cases = []
    for batch in _batches(course):
        workloads = [*style_workloads(channels, W_DIM), *kernel_workloads(channels, 4, batch=batch)]
        if course.options.quick:
            workloads += kernel_workloads(QUICK_CHANNELS, 8, fused_from=8)
        cases += [KernelCase(layer, batch) for layer in workloads if layer.size not in UNTIMED]
    _time(course, cases)
    return ""


def variants(course: Course) -> None:
    """Time variants of the fused kernels."""
    for copies in (None, "ca", "cg"):
        _time(course, [case for case in _variants(course) if case.variant.copies == copies])


def _variants(course: Course) -> Iterator[KernelCase]:
    """The fused kernels of the two highest resolutions in every variant; in a quick run, few of them."""
    quick = course.options.quick
    channels = QUICK_CHANNELS if quick else course.options.models.scale.channels
    lowest = 8 if quick else max(channels) // 2
    for layer in kernel_workloads(channels, lowest, fused_from=lowest):
        chosen = CONVOLUTION_VARIANTS + (TILE_VARIANTS if layer.kernel == "conv_rgb" else ()) + ROW_VARIANTS
        for variant in chosen[::8] if quick else chosen:
            yield from (KernelCase(layer, batch, variant) for batch in _batches(course))


def _batches(course: Course) -> tuple[int, ...]:
    return (1,) if course.options.quick else (1, 8)


def _time(course: Course, cases: Sequence[KernelCase]) -> None:
    """Time kernels one after the other; all have one kind of copies, since they share a cache of compiled kernels."""
    missing = [case for case in cases if not case.is_timed(course)]
    if not missing:
        return
    timer = partial(KernelTimer, course.options.device, missing[0].variant.copies)
    compiled = {(case.workload, case.variant) for case in missing}
    if course.options.processes > 1:  # what does not compile fails again below, and is a row then
        in_parallel(course, timer, "compile", compiled, lambda *_: None, timeout=CASE_TIMEOUT)
    with ExitStack() as stack:
        worker = stack.enter_context(course.worker(timer))
        for case in missing:
            try:
                seconds = course.options.seconds / 2
                times = course.ask(
                    worker, "kernel", case.workload, case.variant, case.batch, seconds, timeout=CASE_TIMEOUT
                )
            except SubjectError as error:
                course.results.add(KernelRow, **case.columns, status="failed", reason=str(error))
                course.results.add_error(str(case), error)
                # After a fault in a kernel a process cannot use the GPU.
                worker = stack.enter_context(course.worker(timer))
            else:
                _add_times(course, case, times, case.workload.costs(case.batch))


def _add_times(course: Course, case: KernelCase, times: Sequence[float], costs: tuple[float, float]) -> None:
    """Add a row with the times, and with their fraction of the limits where these are measured."""
    moved, operations = costs
    p5, p50, p95 = percentiles(times)
    course.results.add(
        KernelRow,
        **case.columns,
        status="ok",
        n=len(times),
        p5_ms=p5,
        p50_ms=p50,
        p95_ms=p95,
        mbyte=moved / 1e6,
        gflop=operations / 1e9,
        **_bound(course, case.workload, p50, moved / 1e6, operations / 1e9),
    )


def _bound(course: Course, workload: KernelWorkload, median_ms: float, mbyte: float, gflop: float) -> dict[str, Any]:
    measured = {row.kernel: row for row in course.results.rows(KernelRow) if row.p5_ms}
    if workload.kernel in ("copy", "product") or not {"copy", "product"} <= measured.keys():
        return {}
    copy, product = measured["copy"], measured["product"]
    least_ms = {
        "memory": mbyte * (copy.p5_ms or 0) / (copy.mbyte or 1),
        "arithmetic": gflop * (product.p5_ms or 0) / (product.gflop or 1),
    }
    bound = max(least_ms, key=lambda name: least_ms[name])
    return {"bound": bound, "fraction": least_ms[bound] / median_ms}
