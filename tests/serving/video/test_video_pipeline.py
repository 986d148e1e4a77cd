"""The threaded pipeline: it loses no frame and leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest
from toon_fakes import RATE, FakeSink, FakeSource, FakeToonifier, drawn, face_at, frames_of, landmarks, room

from engines.contract.errors import RequestError, ServerError, VideoError
from serving.controls import Style
from serving.video.frames import Frame
from serving.video.pipeline import VideoProgress, toonify_video
from serving.video.session import ToonSession
from serving.workers import Workers

FACES = [(face_at(110 + 2 * i, 120, 80),) for i in range(40)]
FRAMES = frames_of([drawn(face, room()) for (face,) in FACES])


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def session(toonifier: FakeToonifier | None = None, **options: Any) -> ToonSession:
    return ToonSession(toonifier or FakeToonifier(), landmarks(*FACES), **{"smoothing": "file", **options})


@pytest.mark.parametrize("smoothing", ["live", "file", "off"])
@pytest.mark.parametrize(("batch", "in_flight"), [(1, 1), (4, 2), (7, 3), (64, 2)])
@pytest.mark.parametrize("codes", [True, False], ids=["smooth codes", "raw codes"])
def test_a_file_gives_the_frames_that_its_session_gives(
    smoothing: Any, batch: int, in_flight: int, codes: bool
) -> None:
    options: dict[str, Any] = {"smoothing": smoothing} | ({} if codes else {"codes": None})
    alone = session(**options)
    expected = [alone.push(frame.pixels, frame.pts) for frame in FRAMES] + alone.flush()
    sink = FakeSink()
    report = toonify_video(FakeSource(FRAMES), sink, session(**options), batch=batch, in_flight=in_flight)
    assert report.frames == report.faces == len(FRAMES)
    assert sink.outcome == "whole"
    for ours, theirs in zip(sink.frames, filter(None, expected), strict=True):
        assert ours.pts == theirs.pts
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)


def test_times_and_durations_of_a_variable_frame_rate_are_kept() -> None:
    times = [Fraction(n, 1000) for n in (0, 33, 100, 101, 5000)]
    frames = [Frame(FRAMES[0].pixels, time, Fraction(i)) for i, time in enumerate(times)]
    sink = FakeSink()
    toonify_video(FakeSource(frames), sink, session())
    assert [(frame.pts, frame.duration) for frame in sink.frames] == [(t, Fraction(i)) for i, t in enumerate(times)]


def test_frames_are_toonified_in_batches() -> None:
    toonifier = FakeToonifier()
    toonify_video(FakeSource(FRAMES), FakeSink(), session(toonifier), batch=8)
    assert sorted(toonifier.calls) == [("encode", 8)] * 5 + [("render", 8)] * 5


def test_several_requests_are_in_flight_and_the_order_is_kept() -> None:
    meeting = threading.Barrier(3, timeout=30)  # passed only if three calls run at the same time
    sink = FakeSink()
    toonifier = FakeToonifier(before=meeting.wait)
    toonify_video(FakeSource(FRAMES[:36]), sink, session(toonifier, codes=None), batch=4, in_flight=3)
    assert [frame.pts for frame in sink.frames] == [frame.pts for frame in FRAMES[:36]]


def test_an_empty_source_gives_an_empty_target() -> None:
    sink = FakeSink()
    report = toonify_video(FakeSource([]), sink, session())
    assert (report.frames, sink.frames, sink.outcome) == (0, [], "whole")


def test_few_frames_are_alive_at_a_time() -> None:
    source, sink = FakeSource(lambda: (Frame(FRAMES[0].pixels, Fraction(i, RATE)) for i in range(400))), FakeSink()
    ahead: list[int] = []

    def look(frame: Frame) -> None:
        sleep(0.0005)
        ahead.append(source.frames_read - len(ahead))

    sink.before = look
    toonify_video(source, sink, session(), batch=2, in_flight=2)
    # The bound is the sum of queues of 4, 4 and 4, nine frames of look-ahead, and twice at most five batches of two.
    assert max(ahead) <= 48


def test_progress_says_how_far_the_run_is() -> None:
    seen: list[VideoProgress] = []
    report = toonify_video(FakeSource(FRAMES, frame_count=40), FakeSink(), session(), progress=seen.append)
    assert [state.frames for state in seen] == [*range(1, 41)]
    assert seen[9].remaining == pytest.approx(30 * seen[9].seconds / 10)
    assert seen[-1].remaining == 0
    assert report.fps > 0
    assert report.stages.keys() == {"decode", "detect", "align", "encode", "render", "paste", "write"}
    assert not report.cancelled


def test_a_source_that_does_not_know_its_length_has_no_time_to_go() -> None:
    seen: list[VideoProgress] = []
    toonify_video(FakeSource(FRAMES[:2]), FakeSink(), session(), progress=seen.append)
    assert seen[0].remaining is None


def broken(*_: object) -> Any:
    raise VideoError("stage", got="a fault", expected="none", remedy="mend it")


def source_that_breaks() -> Iterator[Frame]:
    yield from FRAMES[:20]
    broken()


BREAKS: dict[str, dict[str, Any]] = {
    "decode": {"source": FakeSource(source_that_breaks)},
    "detect": {"session": ToonSession(FakeToonifier(), broken)},
    "infer": {"session": session(FakeToonifier(before=broken))},
    "paste": {"session": session(composer=broken)},
    "write": {"target": FakeSink(before=broken)},
    "progress": {"progress": broken},
}


@pytest.mark.parametrize("broken_part", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("live", [False, True], ids=["file", "live"])
def test_an_error_of_any_stage_ends_the_run_and_leaves_no_output(broken_part: dict[str, Any], live: bool) -> None:
    parts = {"source": FakeSource(FRAMES), "target": FakeSink(), "session": session(), **broken_part}
    with pytest.raises(VideoError, match="stage: got a fault"):
        toonify_video(live=live, **parts)
    assert parts["target"].outcome == "aborted"
    assert parts["source"].closed == 1
    parts["target"].outcome = "open"
    parts["source"].closed = 0


def test_a_session_can_be_used_again_after_an_error() -> None:
    errors = [ServerError("server", got="none", expected="one", remedy="start it")]

    def fail_once() -> None:
        if errors:
            raise errors.pop()

    stream = session(FakeToonifier(before=fail_once))
    with pytest.raises(ServerError):
        toonify_video(FakeSource(FRAMES), FakeSink(), stream)
    sink = FakeSink()
    toonify_video(FakeSource(FRAMES), sink, stream)
    assert [frame.pts for frame in sink.frames] == [frame.pts for frame in FRAMES]


def test_a_cancelled_file_leaves_no_output() -> None:
    cancel, sink = Event(), FakeSink()

    def stop(state: VideoProgress) -> None:
        if state.frames == 5:
            cancel.set()

    report = toonify_video(FakeSource(FRAMES), sink, session(), progress=stop, cancel=cancel)
    assert report.cancelled
    assert report.frames == 5
    assert sink.outcome == "aborted"


def test_a_cancelled_camera_keeps_what_was_shown() -> None:
    cancel, sink = Event(), FakeSink()

    def camera() -> Iterator[Frame]:
        for i in range(10**6):
            yield Frame(FRAMES[0].pixels, Fraction(i, RATE))

    report = toonify_video(
        FakeSource(camera),
        sink,
        session(smoothing="live"),
        live=True,
        progress=lambda state: cancel.set() if state.frames == 5 else None,
        cancel=cancel,
    )
    assert not report.cancelled
    assert report.frames == len(sink.frames) >= 5
    assert sink.outcome == "whole"


@pytest.mark.parametrize("smoothing", ["live", "file"])
def test_a_camera_never_waits_and_shows_the_newest(smoothing: Any) -> None:
    camera = FakeSource([Frame(FRAMES[0].pixels, Fraction(i, RATE)) for i in range(100)])
    sink = FakeSink(before=lambda frame: sleep(0.002))
    report = toonify_video(camera, sink, session(smoothing=smoothing), live=True, in_flight=1)
    times = [frame.pts for frame in sink.frames]
    assert times == sorted({*times})
    assert times[-1] == Fraction(99, RATE)
    assert report.frames + report.dropped == 100


def test_a_live_run_has_few_frames_on_their_way() -> None:
    inside: set[Fraction] = set()
    most: list[int] = []

    def find(photo: Any, name: str = "") -> Any:
        inside.add(Fraction(name))
        most.append(len(inside))
        return FACES[0]

    stream = ToonSession(FakeToonifier(before=lambda: sleep(0.001)), find)
    sink = FakeSink(before=lambda frame: inside.pop())
    toonify_video(FakeSource(FRAMES), sink, stream, live=True, in_flight=1)
    assert max(most) <= 3


def test_the_style_may_change_while_a_run_goes_on() -> None:
    stream = session(smoothing="off")
    sink = FakeSink()

    def restyle(state: VideoProgress) -> None:
        stream.style = Style(seed=200)

    toonify_video(FakeSource(FRAMES), sink, stream, batch=1, in_flight=1, progress=restyle)
    seeds = [frame.pixels[120, 110 + 2 * i, 1] for i, frame in enumerate(sink.frames)]
    assert seeds == sorted(seeds)
    assert (seeds[0], seeds[-1]) == (0, 200)


@pytest.mark.parametrize("options", [{"batch": 0}, {"in_flight": 0}])
def test_numbers_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    sink = FakeSink()
    with pytest.raises(RequestError, match=r"video run: got batches of ., . in flight, expected 1 or more of both"):
        toonify_video(FakeSource(FRAMES), sink, session(), **options)
    assert sink.outcome == "open"


def test_workers_end_while_others_wait_for_them() -> None:
    with Workers(2) as workers:
        numbers = workers.prefetched(iter(int, 1), 3)  # an endless iterator
        squares = workers.mapped(lambda n: n**2, numbers)
        assert next(workers.prefetched(squares, 1)) == 0
