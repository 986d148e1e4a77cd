"""Why a Triton server did not start, in its own words."""

from __future__ import annotations

import re

_STATUS_AND_CLASS = r"(?:(?:Internal|Invalid argument|Not found|Unavailable)(?:: | - ))?(?:\w+(?:Error|Exception): )?"
_PATTERNS = (
    # A model's own failure comes first: what depends on it then fails too, and says less.
    rf"""(?P<model>failed to load '[^']+') version \d+: {_STATUS_AND_CLASS}(?P<why>.+?)(?:\\n.*)?"$""",
    r"""(?P<model>Poll failed for model directory '[^']+'): (?P<why>.+)"$""",
    r"""model_repository_manager\.cc.*"Invalid argument: (?P<why>.+)"$""",
    rf"""^error: (?:creating server: )?{_STATUS_AND_CLASS}(?P<why>.+)$""",
    r"""error while loading shared libraries: (?P<why>.+)$""",
)


def reason_of_failure(log: str) -> str | None:
    """The first cause that the log of a server names, without tracebacks; None if it names none."""
    for pattern in _PATTERNS:
        match = re.search(pattern, log, re.MULTILINE)
        if match:
            parts = match.groupdict()
            return ": ".join(part for part in (parts.get("model"), parts["why"].rstrip(".")) if part)
    return None
