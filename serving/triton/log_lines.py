"""Lines of a log as JSON objects: Triton's, which are parsed, and the package's own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Literal

LogFormat = Literal["text", "json"]
Level = Literal["info", "warning", "error"]

_LEVELS: dict[str, Level] = {"I": "info", "W": "warning", "E": "error"}
_HEAD = re.compile(
    r"(?:(?P<letter>[IWE])(?P<day>\d{4}) (?P<clock>[\d:.]+)|(?P<iso>\S+Z) (?P<iso_letter>[IWE]))"
    r" \d+ (?P<place>[^] ]+)\] (?P<message>.*)",
    re.DOTALL,
)
"""The beginning of Triton's lines, in both forms of its ``--log-format``."""


def json_line(source: Literal["toonify", "triton"], level: Level, message: str, time: datetime, place: str = "") -> str:
    """Return one JSON object; ``place`` is the line of Triton's code."""
    moment = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": moment, "level": level, "source": source, "message": message}
    return json.dumps(line | ({"place": place} if place else {}))


def json_from_triton(line: str, now: datetime | None = None) -> str:
    """Return a line of a server's output as JSON.

    Lines without Triton's head, such as rows of its tables and the output of libraries, are "info" at the time ``now``.
    """
    now = now or datetime.now(UTC)
    head = _HEAD.fullmatch(line)
    time = _time(head, now) if head else None
    if head is None or time is None:
        return json_line("triton", "error" if line.startswith("error: ") else "info", line, now)
    level = _LEVELS[head["letter"] or head["iso_letter"]]
    return json_line("triton", level, _unquoted(head["message"]), time, head["place"])


def _time(head: re.Match[str], now: datetime) -> datetime | None:
    """Return the time of a line, in UTC; Triton's usual form lacks the year."""
    try:
        if head["iso"]:
            return datetime.fromisoformat(head["iso"])
        time = datetime.strptime(f"{now.year}{head['day']} {head['clock']}+0000", "%Y%m%d %H:%M:%S.%f%z")
        return time if time < now + timedelta(days=1) else time.replace(year=now.year - 1)
    except ValueError:
        return None


def _unquoted(message: str) -> str:
    """Return a message as it was before Triton put it into one line."""
    try:
        text = json.loads(message)
    except ValueError:
        return message
    return text if isinstance(text, str) else message
