"""``python -m benchmarks.chaos.fleet_report``: the table of a fleet's faults, in the README of ``serving/deploy``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.chaos.fleet_rows import FLEET, FleetRow
from benchmarks.generated import DEPLOY_README, line, number, with_section
from benchmarks.records import last_run, read_records


def table(rows: Sequence[FleetRow]) -> str:
    """The table of the last run, in Markdown; nothing without a run."""
    if not rows:
        return ""
    last = last_run(rows)
    return "\n" + "\n".join((*_lines(last), "", *_origin(last))) + "\n"


def _lines(rows: Sequence[FleetRow]) -> Iterator[str]:
    yield (
        "| fault | servers | tries | failed calls | as before after, s | p95 before, ms | p95 during, ms "
        "| times as long | longest call, ms |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        times = number(row.recovered_s), number(row.p95_before_ms), number(row.p95_during_ms)
        ratio = number(row.p95_during_ms / row.p95_before_ms)
        failed = f"{row.failed} of {row.calls}"
        yield line(row.fault, str(row.replicas), str(row.tries), failed, *times, ratio, number(row.longest_ms))


def _origin(rows: Sequence[FleetRow]) -> Iterator[str]:
    yield f"Run {rows[0].run}, commit {rows[0].commit}; {rows[0].device}."


def main() -> None:
    """Write the table of the last run."""
    rows = read_records(FLEET, FleetRow)
    DEPLOY_README.write_text(with_section(DEPLOY_README.read_text(), "benchmarks.chaos.fleet_report", table(rows)))


if __name__ == "__main__":
    main()
