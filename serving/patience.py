"""Waiting, in a run over many files, for servers that stop answering.

No file is to fail because a server is restarted, replaced or overloaded when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic

from engines.contract.errors import AnswerError, ServerError

NO_SERVER = 75
"""Exit code of a run that ends because no server answers: EX_TEMPFAIL of sysexits.h, "try again later"."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_UNANSWERED_IN_A_ROW = 3
_LONGEST_SLEEP = 0.2
_MOST_TRIES = 3
"""Tries of a job that a server answers with a failure."""


class Patience:
    """Decides whether and when the jobs of one run are tried again; threads may share it.

    A job without an answer is tried again after growing pauses, for as long as it is less than ``seconds`` since the
    servers stopped answering. Before the first answer no job is tried again, since an address may be wrong. Several
    jobs in a row without an answer exhaust the patience; a single one may itself be the reason.

    A server that answers with a failure is there. Such a job is tried again only a few times, and not at all after
    another one that failed so; it exhausts nothing, since the next one may be answered.

    Args:
        seconds: how long to wait.
        first_pause: the pause before the second try of a job, in seconds.
    """

    def __init__(self, seconds: float = 300.0, first_pause: float = _FIRST_PAUSE) -> None:
        self._seconds, self._first_pause = seconds, first_pause
        self._answered_once = False
        self._lost: float | None = None
        self._in_a_row = 0
        self._answers_well = True

    @property
    def exhausted(self) -> bool:
        """True if no further job is to be started."""
        return self._in_a_row >= _UNANSWERED_IN_A_ROW

    @property
    def exit_code(self) -> int:
        """The exit code of a run of which not everything is done."""
        return NO_SERVER if self._in_a_row else 1

    def answered(self) -> None:
        """Note that a job was done."""
        self._answered_once, self._answers_well = True, True
        self._lost, self._in_a_row = None, 0

    def failed(self, error: ServerError) -> None:
        """Note that a job stays without an answer, or gets a failure as one."""
        if isinstance(error, AnswerError):
            self._answers_well = False
            self._lost, self._in_a_row = None, 0
        else:
            self._in_a_row += 1

    def pause_after(self, tries: int, error: ServerError) -> float | None:
        """Return the seconds until a job is to be tried again that failed ``tries`` times; None if it is not."""
        if not self._answered_once:
            return None
        if isinstance(error, AnswerError):
            return self._first_pause if self._answers_well and tries < _MOST_TRIES else None
        self._lost = monotonic() if self._lost is None else self._lost
        if monotonic() - self._lost >= self._seconds:
            return None
        return min(self._first_pause * 2.0 ** (tries - 1), _LONGEST_PAUSE)

    @staticmethod
    def wait(seconds: float, ended: Event, cancelled: Callable[[], bool]) -> bool:
        """Wait; return whether the time has passed before the run ended or was cancelled."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if cancelled() or ended.wait(min(left, _LONGEST_SLEEP)):
                return False
        return True
