"""``python -m benchmarks.growth.report``: writes the tables of growth and starts into both READMEs, and the plots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.generated import README, SERVER_README, line, number, with_section
from benchmarks.growth.live_rows import EXPORTED, HARD_SWAP, NEW_FRACTION, TWO_EXPORTED, LiveRow
from benchmarks.growth.results import CAPTIONS, LatestRows, first_answer_ratio, mib_per_blend, plotted, read_latest_rows
from benchmarks.growth.start_rows import StartRow
from benchmarks.latency.report import quality, times
from benchmarks.latency.results import gflops
from benchmarks.latency.rows import LatencyRow
from benchmarks.records import RESULTS_FOLDER
from benchmarks.rounds import ratio_over_rounds


def with_growth(text: str, section: str) -> str:
    """Replace the text between this module's markers by a section."""
    return with_section(text, "benchmarks.growth.report", section)


def tables(latest: LatestRows) -> str:
    """All tables and plots, in Markdown."""
    parts = (
        _resolution(latest.resolution),
        _batch(latest.batch),
        _blends(latest),
        _cache(latest.cached),
        _live(latest.live),
        _live_memory(latest.live),
    )
    failures = [f"- {row.blends} blends, cache {row.cache}: {row.reason}" for row in latest.starts if row.reason]
    plots = [f"![{CAPTIONS[name]}](results/{name}.png)" for name in plotted(latest)]
    sections = ["\n".join(part) for part in parts] + ["\n".join(failures), *_origins(latest), *plots]
    return "\n" + "\n\n".join(filter(None, sections)) + "\n"


def summary(latest: LatestRows) -> str:
    """The findings in a few lines of Markdown, for the main README."""
    parts = (_summary_of_sizes(latest.resolution), _summary_of_blends(latest.blends), _summary_of_cache(latest.cached))
    return "\n" + "\n".join(filter(None, parts)) + "\n"


def _resolution(rows: Sequence[LatencyRow]) -> Iterator[str]:
    if rows:
        yield "**Resolution, batch 1**\n"
        yield "| stage | resolution | ms | p5 to p95 | n | GMAC | GFLOP/s | worst error | PSNR, dB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        rate = f"{gflops(row):.0f}"
        yield line(row.stage, str(row.resolution), *times(row), number(row.gmac), rate, *quality(row))


def _batch(rows: Sequence[LatencyRow]) -> Iterator[str]:
    if rows:
        yield f"**Batch, resolution {rows[0].resolution}**\n"
        yield "| stage | batch | ms of a batch | p5 to p95 | n | ms of a picture | worst error | PSNR, dB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        each = None if row.p50_ms is None else row.p50_ms / row.batch
        yield line(row.stage, str(row.batch), *times(row), number(each), *quality(row))


def _blends(latest: LatestRows) -> Iterator[str]:
    if latest.blends:
        yield "**Blends served together, shared encoder and ISF head**\n"
        yield "| blends | resident, MiB | peak, MiB | processes | ms a picture | first answer, s | all answered, s |"
        yield "|--:|--:|--:|--:|--:|--:|--:|"
    for row in latest.blends:
        memory = f"{row.pss_mib:.0f}", f"{row.peak_mib:.0f}", str(row.processes)
        yield line(str(row.blends), *memory, number(row.p50_ms), number(row.first_s), number(row.ready_s))
    if cost := mib_per_blend(latest.blends):
        yield f"\nEach further blend takes {cost:.0f} MiB."


def _cache(cached: Mapping[str, StartRow]) -> Iterator[str]:
    if cached:
        yield "**Start with one blend, by model cache**\n"
        yield "| cache | first answer, s | every start, s | times without cache | all answered, s | cache, MiB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, row in cached.items():
        ratio = str(first_answer_ratio(row, cached["off"])) if "off" in cached else ""
        sizes = f"{row.cache_mib:.0f}", f"{row.pss_mib:.0f}"
        yield line(name, number(row.first_s), row.firsts_s.replace(" ", ", "), ratio, number(row.ready_s), *sizes)


def _live(rows: Sequence[LiveRow]) -> Iterator[str]:
    if rows:
        yield "**A live model beside exported blends**\n"
        yield "| case | resolution | engine | ms | p5 to p95 | n | pictures/s | times the exported blend | held, MiB |"
        yield "|---|--:|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        about = row.case, str(row.resolution), f"{row.engine} {row.precision}"
        exported = next(one for one in rows if (one.batch, one.resolution) == (row.batch, row.resolution))
        if row.p50_ms is None:
            yield line(*about, f"{row.status}: {row.reason}".replace("|", "/"), "", "", "", "", "")
            continue
        ratio = ratio_over_rounds([a / b for a, b in zip(row.rounds, exported.rounds, strict=False)] or [math.nan])
        spread, rate = f"{number(row.p5_ms)} to {number(row.p95_ms)}", number(1000 * row.batch / row.p50_ms)
        yield line(*about, number(row.p50_ms), spread, str(row.n), rate, str(ratio), number(row.held_mib))


def _live_memory(rows: Sequence[LiveRow]) -> Iterator[str]:
    """Compare what a live model holds with any number of exported blends, of which two are measured."""
    held = {row.case: row.held_mib for row in reversed(rows)}  # the largest pictures come first
    one, two, hard, new = (held.get(case) for case in (EXPORTED, TWO_EXPORTED, HARD_SWAP, NEW_FRACTION))
    if one and two and hard and new:
        counts = (1, 2, 4, 8)
        exported = [f"{one + (count - 1) * (two - one):.0f}" for count in counts]
        yield "**MiB of a live model beside exported blends**; those of more than two by the cost of the second\n"
        yield line("blends", *map(str, counts))
        yield "|---|--:|--:|--:|--:|"
        yield line("exported", *exported)
        yield line("live, hard swaps", *[f"{hard:.0f}"] * len(counts))
        yield line("live, with the fractions that it keeps", *[f"{new:.0f}"] * len(counts))


def _origins(latest: LatestRows) -> list[str]:
    kinds: dict[str, Sequence[LatencyRow | StartRow | LiveRow]] = {
        "Resolution": latest.resolution,
        "Batch": latest.batch,
        "Blends and starts": latest.starts,
        "Live": latest.live,
    }
    return [
        f"{name}: run {rows[0].run}, commit {rows[0].commit}; {rows[0].device}; {rows[0].versions}."
        for name, rows in kinds.items()
        if rows
    ]


def _summary_of_sizes(rows: Sequence[LatencyRow]) -> str:
    shown = [f"{row.p50_ms:.0f} ms at {row.resolution}" for row in rows if row.stage == "pipeline" and row.p50_ms]
    return f"- A picture by the whole pipeline: {', '.join(shown)}." if shown else ""


def _summary_of_blends(blends: Sequence[StartRow]) -> str:
    cost = mib_per_blend(blends)
    return (
        f"- A server of one blend holds {blends[0].pss_mib:.0f} MiB, each further blend {cost:.0f} MiB more."
        if cost
        else ""
    )


def _summary_of_cache(cached: Mapping[str, StartRow]) -> str:
    if not {"off", "filled"} <= cached.keys():
        return ""
    off, filled = cached["off"], cached["filled"]
    if not filled.cache_mib:
        return f"- First answer {number(off.first_s)} s after the server's start; these engines have nothing to cache."
    ratio = first_answer_ratio(filled, off)
    return (
        f"- First answer {number(off.first_s)} s after the server's start; with `toonify serve --cache DIR`\n"
        f"  {number(filled.first_s)} s, {ratio} times as long, for {filled.cache_mib:.0f} MiB of disk."
    )


def main() -> None:
    """Write the tables into both READMEs, and the plots beside the CSV files."""
    from benchmarks.growth.plots import draw

    latest = read_latest_rows()
    for path, section in ((README, tables(latest)), (SERVER_README, summary(latest))):
        path.write_text(with_growth(path.read_text(), section))
    draw(latest, RESULTS_FOLDER)


if __name__ == "__main__":
    main()
