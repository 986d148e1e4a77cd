"""The part of a command's files that one machine works on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from serving.jobs import Job

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_MOST_DIGITS = 18
"""Digits of the largest number: Python refuses to read thousands."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of the jobs of a command; ``number`` counts from 1.

    Only the name of a job's output decides whose it is, neither the other jobs nor what is done already. Machines that
    start at different times therefore never do the same job, and leave none out, even if files come and go meanwhile.
    The parts are about equal.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parsed(cls, text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """Parse "I/N", with I from 1 to N or the name of an environment variable whose value is from 0 to N - 1.

        Raises:
            ValueError: the text has another form, or the variable is missing or has another value; its message says so.
        """
        number, _, count = text.partition("/")
        if not (_is_whole(count) and int(count) > 0):
            raise ValueError(f"{text!r} is not I/N with I from 1 to N")
        if _VARIABLE.fullmatch(number):
            return cls(_index(number, int(count), environment) + 1, int(count))
        if not (_is_whole(number) and 1 <= int(number) <= int(count)):
            raise ValueError(f"{text!r} is not I/N with I from 1 to N")
        return cls(int(number), int(count))

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this part."""
        return [job for job in jobs if self._has(job.target.name)]

    def _has(self, name: str) -> bool:
        # Python's own hash of a text differs from process to process.
        digest = sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


def _index(variable: str, count: int, environment: Mapping[str, str]) -> int:
    value = environment.get(variable)
    if value is None:
        raise ValueError(
            f"the environment variable {variable} is not set; it has to hold a number from 0 to {count - 1}"
        )
    if not (_is_whole(value) and int(value) < count):
        raise ValueError(f"the environment variable {variable} is {value!r}, not a number from 0 to {count - 1}")
    return int(value)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
