from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.contract.errors import AlignmentError, RequestError, ToonifyError
from serving.faces.picture_files import PICTURES
from serving.jobs import Job, Shard, files_in, jobs_of, run_jobs

JOBS = [Job(Path(f"in/{number}.png"), Path(f"out/{number}.png")) for number in range(12)]


class Recorder:
    def __init__(self, stop_after: int = 1000) -> None:
        self.events: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def _add(self, event: str, target: Path) -> None:
        self.events.append((event, target.stem))
        if len(self.events) == self.stop_after:
            raise KeyboardInterrupt

    def skipped(self, target: Path) -> None:
        self._add("skipped", target)

    def started(self, target: Path) -> None: ...

    def finished(self, target: Path, result: int) -> None:
        self._add(f"finished {result}", target)

    def failed(self, target: Path, error: ToonifyError) -> None:
        self._add("failed", target)


@given(st.integers(0, 40), st.integers(1, 9))
def test_the_shares_of_all_machines_are_the_whole_and_nearly_equal(jobs: int, machines: int) -> None:
    given_jobs = [Job(Path(f"{number}"), Path(f"{number}")) for number in range(jobs)]
    shares = [Shard(number, machines).of(given_jobs) for number in range(1, machines + 1)]
    assert sorted(job.source.name for share in shares for job in share) == sorted(job.source.name for job in given_jobs)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/ 2", "1.0/2"])
def test_a_share_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text.replace(".", r"\.") + "$"):
        Shard.parsed(text)


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
            raise AlignmentError("face", got="none", expected="one", remedy="look")
        return int(source.stem)

    recorder = Recorder()
    assert not run_jobs(JOBS, run, recorder, skip_existing=False, in_flight=in_flight)
    expected = [("failed" if i in (3, 7) else f"finished {i}", str(i)) for i in range(12)]
    assert recorder.events == expected
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


def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RequestError, match="got Permission denied, expected a folder"):
        files_in([tmp_path], PICTURES)


def test_outputs_have_suffixes_that_can_be_written() -> None:
    files = [Path(name) for name in ("a.JPEG", "b.avif", "c.heic", "d", "e.tar.webp")]
    targets = [job.target.name for job in jobs_of(files, Path("out"), PICTURES, in_folder=True)]
    assert targets == ["a.JPEG", "b.png", "c.png", "d.png", "e.tar.webp"]
    with pytest.raises(RequestError, match=r"a\.png: got two pictures of that name"):
        jobs_of([Path("a.heic"), Path("b/a.avif")], Path("out"), PICTURES, in_folder=True)
