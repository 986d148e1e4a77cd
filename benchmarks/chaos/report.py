"""``python -m benchmarks.chaos.report``: writes the table of faults into the README of ``serving/triton``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.chaos.rows import CHAOS, ChaosRow
from benchmarks.generated import SERVER_README, line, number, with_section
from benchmarks.records import last_run, read_records


def table(rows: Sequence[ChaosRow]) -> str:
    """The table of the last run, in Markdown."""
    last = last_run(rows)
    return "\n" + "\n".join((*_lines(last), "", *_origin(last))) + "\n"


def _lines(rows: Sequence[ChaosRow]) -> Iterator[str]:
    yield "| fault | tries | noticed after, s | served after, s | answered | refused | lost | MiB before, after |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        memory = "" if row.mib_before is None else f"{row.mib_before:.0f}, {row.mib_after or 0:.0f}"
        seconds = number(row.noticed_s), number(row.served_s)
        yield line(row.fault, str(row.tries), *seconds, str(row.answered), str(row.refused), str(row.lost), memory)


def _origin(rows: Sequence[ChaosRow]) -> Iterator[str]:
    if rows:
        commits = ", ".join(dict.fromkeys(row.commit for row in rows))
        yield f"Run {rows[0].run}, commit {commits}; {rows[0].served}; {rows[0].device}."


def main() -> None:
    """Write the table of the last run."""
    rows = read_records(CHAOS, ChaosRow)
    SERVER_README.write_text(with_section(SERVER_README.read_text(), "benchmarks.chaos.report", table(rows)))


if __name__ == "__main__":
    main()
