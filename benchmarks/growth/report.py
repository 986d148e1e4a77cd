"""``python -m benchmarks.growth.report``: tables of growth and of starts, their plots, and a summary for operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.generated import README, SERVER_README, line, number, with_section
from benchmarks.growth.results import CAPTIONS, Measured, against, further_blend, plotted, read_measured
from benchmarks.growth.start_rows import Start
from benchmarks.latency.report import quality, times
from benchmarks.latency.results import gflops
from benchmarks.latency.rows import Row
from benchmarks.records import RESULTS_FOLDER


def with_growth(text: str, section: str) -> str:
    """A text with another section between this module's markers."""
    return with_section(text, "benchmarks.growth.report", section)


def tables(found: Measured) -> str:
    """All tables, in Markdown, and their plots."""
    parts = (_resolution(found.resolution), _batch(found.batch), _blends(found), _cache(found.cached))
    failures = [f"- {row.blends} blends, cache {row.cache}: {row.reason}" for row in found.starts if row.reason]
    plots = [f"![{CAPTIONS[name]}](results/{name}.png)" for name in plotted(found)]
    sections = ["\n".join(part) for part in parts] + ["\n".join(failures), *_origins(found), *plots]
    return "\n" + "\n\n".join(filter(None, sections)) + "\n"


def summary(found: Measured) -> str:
    """A few lines for the page about running a server."""
    parts = (_summary_of_sizes(found.resolution), _summary_of_blends(found.blends), _summary_of_cache(found.cached))
    return "\n" + "\n".join(filter(None, parts)) + "\n"


def _resolution(rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield "**Resolution, batch 1**\n"
        yield "| stage | resolution | ms | p5 to p95 | n | GMAC | GFLOP/s | worst error | PSNR, dB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        rate = f"{gflops(row):.0f}"
        yield line(row.stage, str(row.resolution), *times(row), number(row.gmac), rate, *quality(row))


def _batch(rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield f"**Batch, resolution {rows[0].resolution}**\n"
        yield "| stage | batch | ms of a batch | p5 to p95 | n | ms of a picture | worst error | PSNR, dB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        each = None if row.p50_ms is None else row.p50_ms / row.batch
        yield line(row.stage, str(row.batch), *times(row), number(each), *quality(row))


def _blends(found: Measured) -> Iterator[str]:
    if found.blends:
        yield "**Blends served together, shared encoder and ISF head**\n"
        yield "| blends | resident, MiB | peak, MiB | processes | ms a picture | first answer, s | all answered, s |"
        yield "|--:|--:|--:|--:|--:|--:|--:|"
    for row in found.blends:
        memory = f"{row.pss_mib:.0f}", f"{row.peak_mib:.0f}", str(row.processes)
        yield line(str(row.blends), *memory, number(row.p50_ms), number(row.first_s), number(row.ready_s))
    if cost := further_blend(found.blends):
        yield f"\nEach further blend takes {cost:.0f} MiB."


def _cache(cached: Mapping[str, Start]) -> Iterator[str]:
    if cached:
        yield "**Start with one blend, by model cache**\n"
        yield "| cache | first answer, s | every start, s | times without cache | all answered, s | cache, MiB | MiB |"
        yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, row in cached.items():
        ratio = str(against(row, cached["off"])) if "off" in cached else ""
        sizes = f"{row.cache_mib:.0f}", f"{row.pss_mib:.0f}"
        yield line(name, number(row.first_s), row.firsts_s.replace(" ", ", "), ratio, number(row.ready_s), *sizes)


def _origins(found: Measured) -> list[str]:
    kinds: dict[str, Sequence[Row | Start]] = {
        "Resolution": found.resolution,
        "Batch": found.batch,
        "Blends and starts": found.starts,
    }
    return [
        f"{name}: run {rows[0].run}, commit {rows[0].commit}; {rows[0].device}; {rows[0].versions}."
        for name, rows in kinds.items()
        if rows
    ]


def _summary_of_sizes(rows: Sequence[Row]) -> str:
    shown = [f"{row.p50_ms:.0f} ms at {row.resolution}" for row in rows if row.stage == "pipeline" and row.p50_ms]
    return f"- A picture by the whole pipeline: {', '.join(shown)}." if shown else ""


def _summary_of_blends(blends: Sequence[Start]) -> str:
    cost = further_blend(blends)
    return (
        f"- A server of one blend holds {blends[0].pss_mib:.0f} MiB, each further blend {cost:.0f} MiB more."
        if cost
        else ""
    )


def _summary_of_cache(cached: Mapping[str, Start]) -> str:
    if not {"off", "filled"} <= cached.keys():
        return ""
    off, filled = cached["off"], cached["filled"]
    if not filled.cache_mib:
        return f"- First answer {number(off.first_s)} s after the server's start; these engines have nothing to cache."
    return (
        f"- First answer {number(off.first_s)} s after the server's start; with `toonify serve --cache DIR`\n"
        f"  {number(filled.first_s)} s, {against(filled, off)} times as long, for {filled.cache_mib:.0f} MiB of disk."
    )


def main() -> None:
    """Write the tables and their summary into both pages, and the plots beside the CSV files."""
    from benchmarks.growth.plots import draw

    found = read_measured()
    for path, section in ((README, tables(found)), (SERVER_README, summary(found))):
        path.write_text(with_growth(path.read_text(), section))
    draw(found, RESULTS_FOLDER)


if __name__ == "__main__":
    main()
