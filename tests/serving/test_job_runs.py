from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from engines.contract.errors import AlignmentError, AnswerError, ExportError, ServerError, ToonifyError
from serving.job_runs import run_jobs
from serving.jobs import Job
from serving.patience import NO_SERVER, Patience

JOBS = [Job(Path(f"in/{number}.png"), Path(f"out/{number}.png")) for number in range(12)]
NO_FACE = AlignmentError("face", got="none", expected="one", remedy="look")
AWAY = ServerError("server", got="no answer", expected="one", remedy="start it")

FAILURE = AnswerError("server", got="INTERNAL: no", expected="an answer", remedy="see its log")


class Recorder:
    def __init__(self, stop_after: int = 1000) -> None:
        self.events: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def _add(self, event: str, what: str) -> None:
        self.events.append((event, what))
        if len(self.events) == self.stop_after:
            raise KeyboardInterrupt

    def skipped(self, target: Path) -> None:
        self._add("skipped", target.stem)

    def started(self, target: Path) -> None: ...

    def finished(self, target: Path, result: int) -> None:
        self._add(f"finished {result}", target.stem)

    def failed(self, target: Path, error: ToonifyError) -> None:
        self._add("failed", target.stem)

    def waiting(self, target: Path, error: ToonifyError) -> None:
        self._add("waiting", target.stem)

    def stopped(self, left: int) -> None:
        self._add("stopped", str(left))


class Servers:
    """Answers, except where a test says otherwise; counts the tries of each job."""

    def __init__(self, away: dict[str, int] | None = None, error: ServerError = AWAY) -> None:
        self.away, self.error = away or {}, error
        self.tries: dict[str, int] = {}

    def __call__(self, source: Path, target: Path) -> int:
        tries = self.tries[source.stem] = self.tries.get(source.stem, 0) + 1
        if tries <= self.away.get(source.stem, 0):
            raise self.error
        return int(source.stem)


def finished(*numbers: int) -> list[tuple[str, str]]:
    return [(f"finished {number}", str(number)) for number in numbers]


def failed(*numbers: int) -> list[tuple[str, str]]:
    return [("failed", str(number)) for number in numbers]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_jobs_are_reported_in_their_order_and_no_more_run_than_are_allowed(in_flight: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def run(source: Path, target: Path) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01 * (int(source.stem) % 3))
        with lock:
            running -= 1
        if source.stem in ("3", "7"):
            raise NO_FACE
        return int(source.stem)

    recorder = Recorder()
    assert not run_jobs(JOBS, run, recorder, skip_existing=False, in_flight=in_flight)
    assert recorder.events == [*finished(0, 1, 2), *failed(3), *finished(4, 5, 6), *failed(7), *finished(8, 9, 10, 11)]
    assert most <= in_flight


def test_an_interrupted_run_ends_after_the_jobs_in_flight() -> None:
    begun: list[str] = []

    def run(source: Path, target: Path) -> int:
        begun.append(source.stem)
        time.sleep(0.01)
        return 0

    with pytest.raises(KeyboardInterrupt):
        run_jobs(JOBS, run, Recorder(stop_after=2), skip_existing=False, in_flight=2)
    assert len(begun) < len(JOBS)
    after = len(begun)
    time.sleep(0.1)
    assert len(begun) == after


def test_a_bug_in_a_job_ends_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        run_jobs(JOBS, lambda *_: 1 // 0, Recorder(), skip_existing=False, in_flight=2)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_servers_that_come_back_cost_no_job(in_flight: int) -> None:
    recorder, servers = Recorder(), Servers({"5": 3, "11": 1})
    patience = Patience(first_pause=0.001)
    assert run_jobs(JOBS, servers, recorder, skip_existing=False, in_flight=in_flight, patience=patience)
    assert [event for event in recorder.events if event[0] != "waiting"] == finished(*range(12))
    assert sorted(event for event in recorder.events if event[0] == "waiting") == [("waiting", "11"), ("waiting", "5")]
    assert servers.tries == {**dict.fromkeys(map(str, range(12)), 1), "5": 4, "11": 2}


def test_servers_that_stay_away_end_the_run_which_says_what_is_left() -> None:
    recorder, patience = Recorder(), Patience(seconds=0.05, first_pause=0.01)
    servers = Servers({str(number): 1000 for number in range(2, 12)})
    assert not run_jobs(JOBS, servers, recorder, skip_existing=False, patience=patience)
    assert recorder.events == [*finished(0, 1), ("waiting", "2"), *failed(2, 3, 4), ("stopped", "7")]
    assert servers.tries["2"] > 2
    assert servers.tries["3"] == servers.tries["4"] == 1
    assert patience.exit_code == NO_SERVER == 75


def test_servers_that_never_answered_end_the_run_at_once() -> None:
    recorder, patience = Recorder(), Patience()
    servers = Servers({str(number): 1000 for number in range(12)})
    assert not run_jobs(JOBS, servers, recorder, skip_existing=False, patience=patience)
    assert recorder.events == [*failed(0, 1, 2), ("stopped", "9")]
    assert patience.exit_code == NO_SERVER


def test_a_job_to_which_servers_never_answer_costs_no_other_one() -> None:
    recorder, patience = Recorder(), Patience(seconds=0.02, first_pause=0.01)
    assert not run_jobs(JOBS, Servers({"0": 1000, "4": 1000}), recorder, skip_existing=False, patience=patience)
    expected = [*failed(0), *finished(1, 2, 3), ("waiting", "4"), *failed(4), *finished(*range(5, 12))]
    assert recorder.events == expected
    assert patience.exit_code == 1


def test_the_last_jobs_without_an_answer_say_that_servers_are_away() -> None:
    patience = Patience(seconds=0, first_pause=0)
    assert not run_jobs(JOBS[:2], Servers({"1": 1000}), Recorder(), skip_existing=False, patience=patience)
    assert patience.exit_code == NO_SERVER


def test_pauses_grow_up_to_a_longest_one() -> None:
    patience = Patience()
    assert patience.pause_after(1, AWAY) is None
    patience.answered()
    assert [patience.pause_after(tries, AWAY) for tries in range(1, 7)] == [1, 2, 4, 8, 15, 15]


def test_a_file_at_which_a_model_fails_is_not_waited_for() -> None:
    recorder, patience = Recorder(), Patience(first_pause=0.001)
    servers = Servers({"0": 1000, **dict.fromkeys(["3", "4", "5", "6", "9"], 1000), "8": 2}, FAILURE)
    assert not run_jobs(JOBS, servers, recorder, skip_existing=False, patience=patience)
    expected = [*failed(0), *finished(1, 2), *failed(3, 4, 5, 6), *finished(7, 8), *failed(9), *finished(10, 11)]
    assert [event for event in recorder.events if event[0] != "waiting"] == expected
    assert servers.tries == {**dict.fromkeys(map(str, range(12)), 1), "3": 3, "8": 3, "9": 3}
    assert patience.exit_code == 1


def test_a_server_that_fails_at_every_file_is_not_away() -> None:
    recorder, patience = Recorder(), Patience()
    servers = Servers(dict.fromkeys(map(str, range(12)), 1000), FAILURE)
    assert not run_jobs(JOBS, servers, recorder, skip_existing=False, patience=patience)
    assert recorder.events == failed(*range(12))
    assert patience.exit_code == 1


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_run_that_waits_for_servers_can_be_interrupted(in_flight: int) -> None:
    class Interrupting(Recorder):
        def waiting(self, target: Path, error: ToonifyError) -> None:
            interrupted.set()

    interrupted = threading.Event()
    recorder, patience = Interrupting(), Patience(first_pause=1000)
    began = time.monotonic()
    arguments = {"skip_existing": False, "in_flight": in_flight, "patience": patience}
    assert not run_jobs(JOBS, Servers({"3": 1}), recorder, cancelled=interrupted.is_set, **arguments)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10
    assert "stopped" not in dict(recorder.events)


def test_threads_that_wait_for_servers_end_with_the_run() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(
            JOBS,
            Servers({"4": 1}),
            Recorder(stop_after=4),
            skip_existing=False,
            in_flight=3,
            patience=Patience(first_pause=1000),
        )
    assert time.monotonic() - began < 10


def test_an_output_that_is_empty_is_made_again(tmp_path: Path) -> None:
    jobs = [Job(Path(f"{number}.png"), tmp_path / f"{number}.png") for number in range(4)]
    jobs[0].target.write_bytes(b"a picture")
    jobs[1].target.touch()
    jobs[2].target.mkdir()
    jobs[3].target.symlink_to(tmp_path / "nowhere")

    def run(source: Path, target: Path) -> int:
        assert not target.exists()
        return int(source.stem)

    recorder = Recorder()
    assert run_jobs(jobs, run, recorder, skip_existing=True)
    assert recorder.events == [("skipped", "0"), *finished(1, 2), ("skipped", "3")]


def test_an_output_that_another_machine_makes_meanwhile_is_skipped_and_a_full_disk_is_none(tmp_path: Path) -> None:
    jobs = [Job(Path(f"{number}.png"), tmp_path / f"{number}.png") for number in range(2)]

    def run(source: Path, target: Path) -> int:
        if source.stem == "0":
            target.write_bytes(b"a picture")
        raise ExportError(str(target), got="another one", expected="none", remedy="look")

    recorder = Recorder()
    assert not run_jobs(jobs, run, recorder, skip_existing=True)
    assert recorder.events == [("skipped", "0"), *failed(1)]
