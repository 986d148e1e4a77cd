"""The reason why a Triton server did not start, extracted from its log."""

from __future__ import annotations

import re

_STATUS_AND_CLASS = r"(?:(?:Internal|Invalid argument|Not found|Unavailable)(?:: | - ))?(?:\w+(?:Error|Exception): )?"
_PATTERNS = (
    # A model's own failure comes first: the models that depend on it fail too, with less informative messages.
    rf"""(?P<model>failed to load '[^']+') version \d+: {_STATUS_AND_CLASS}(?P<why>.+?)(?:\\n.*)?"$""",
    r"""(?P<model>Poll failed for model directory '[^']+'): (?P<why>.+)"$""",
    r"""model_repository_manager\.cc.*"Invalid argument: (?P<why>.+)"$""",
    rf"""^error: (?:creating server: )?{_STATUS_AND_CLASS}(?P<why>.+)$""",
    r"""error while loading shared libraries: (?P<why>.+)$""",
)


def reason_of_failure(log: str) -> str | None:
    """Return the first cause named in a server's log, without tracebacks; None if it names none."""
    for pattern in _PATTERNS:
        match = re.search(pattern, log, re.MULTILINE)
        if match:
            parts = match.groupdict()
            return ": ".join(part for part in (parts.get("model"), parts["why"].rstrip(".")) if part)
    return None
