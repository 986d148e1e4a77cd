"""``python -m benchmarks.growth_report``: the tables of growth and of starts in both READMEs, and their plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generated import line, number, with_section
from benchmarks.report import MAIN_README, README, quality, times
from benchmarks.results import Ratio, gflops, spread
from benchmarks.rows import RESULTS, Row, read_records, read_rows
from benchmarks.start_rows import STARTS, Start

GROWTH = RESULTS.with_name("growth.csv")

CAPTIONS = {
    "growth_resolution": "Milliseconds for one picture against its resolution",
    "growth_batch": "Milliseconds for one picture against the batch it is in",
    "growth_blends": "Memory and start of a server against the blends that it serves",
    "starts": "From the start of a server to its first answer, by model cache",
}
"""Of the plots, by name."""


@dataclass(frozen=True)
class Measured:
    """The rows of the last run of each kind."""

    resolution: Sequence[Row]
    batch: Sequence[Row]
    starts: Sequence[Start]

    @property
    def blends(self) -> list[Start]:
        """Starts without a model cache that succeeded, by the number of blends."""
        return [row for row in self.starts if row.cache == "off" and row.first_s is not None]

    @property
    def cached(self) -> dict[str, Start]:
        """Starts with one blend that succeeded, by the state of the model cache."""
        return {row.cache: row for row in self.starts if row.blends == 1 and row.first_s is not None}


def last_runs(rows: Sequence[Row], starts: Sequence[Start]) -> Measured:
    """Of each kind the rows of the run that was the last to measure any."""

    def last(group: str) -> list[Row]:
        found = [row for row in rows if row.group == group]
        return [row for row in found if row.run == max(other.run for other in found)]

    latest = max((row.run for row in starts), default="")
    return Measured(last("resolution"), last("batch"), [row for row in starts if row.run == latest])


def read_measured() -> Measured:
    """What the committed rows hold."""
    return last_runs(read_rows(GROWTH), read_records(STARTS, Start))


def with_growth(text: str, section: str) -> str:
    """A text with another section between this module's markers."""
    return with_section(text, "benchmarks.growth_report", section)


def tables(found: Measured) -> str:
    """All tables, in Markdown, and their plots."""
    parts = (_resolution(found.resolution), _batch(found.batch), _blends(found), _cache(found.cached))
    failures = [f"- {row.blends} blends, cache {row.cache}: {row.reason}" for row in found.starts if row.reason]
    plots = [f"![{CAPTIONS[name]}](results/{name}.png)" for name in plotted(found)]
    sections = ["\n".join(part) for part in parts] + ["\n".join(failures), *_origins(found), *plots]
    return "\n" + "\n\n".join(filter(None, sections)) + "\n"


def summary(found: Measured) -> str:
    """The main README's few lines."""
    parts = (_summary_of_sizes(found.resolution), _summary_of_blends(found.blends), _summary_of_cache(found.cached))
    return "\n" + "\n".join(filter(None, parts)) + "\n"


def plotted(found: Measured) -> list[str]:
    """Names of the plots for which there are rows."""
    shown: Mapping[str, object] = {
        "growth_resolution": [row for row in found.resolution if row.p50_ms],
        "growth_batch": [row for row in found.batch if row.p50_ms],
        "growth_blends": len(found.blends) > 1,
        "starts": found.cached,
    }
    return [name for name, rows in shown.items() if rows]


def further_blend(blends: Sequence[Start]) -> float | None:
    """MiB that one more blend takes on average; None where fewer than two numbers of blends were measured."""
    sizes = {row.blends: row.pss_mib or 0 for row in blends}
    least, most = min(sizes, default=0), max(sizes, default=0)
    return (sizes[most] - sizes[least]) / (most - least) if most > least else None


def against(start: Start, other: Start) -> Ratio:
    """Times to the first answer over those of another way to start, round by round."""
    return spread([a / b for a, b in zip(start.firsts, other.firsts, strict=False)])


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
    """Write the tables into both READMEs and the plots beside the CSV files."""
    from benchmarks.growth_plots import draw

    found = read_measured()
    for path, section in ((README, tables(found)), (MAIN_README, summary(found))):
        path.write_text(with_growth(path.read_text(), section))
    draw(found, Path(GROWTH.parent))


if __name__ == "__main__":
    main()
