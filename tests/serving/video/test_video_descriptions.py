"""What a written video keeps of its source beside pictures and sound: languages, titles, flags, subtitles, chapters."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import SIZE, STEADY, Sound, numbered, write_video

from serving.video.reading import VideoReader
from serving.video.writing import VideoWriter

DEFAULT, FORCED, COMMENT = (getattr(av.stream.Disposition, name) for name in ("default", "forced", "comment"))
MILLISECOND = Fraction(1, 1000)


def film(path: Path, subtitles: str = "subrip") -> Path:
    """Four seconds with two sound tracks, subtitles, two chapters and tags."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=25, width=SIZE[0], height=SIZE[1], options={"g": "10", "bf": "0"})
        picture.metadata.update(language="ita", title="Camera 1")
        sounds = [output.add_stream("aac", rate=48000, layout="mono") for _ in range(2)]
        text = output.add_mux_stream(subtitles, time_base=MILLISECOND)
        descriptions = [("deu", "Kommentar", COMMENT), ("eng", "Main", DEFAULT | FORCED), ("fra", "Texte", FORCED)]
        for stream, (language, title, flags) in zip([*sounds, text], descriptions, strict=True):
            stream.metadata.update(language=language, title=title)
            stream.disposition = flags
        output.metadata.update(title="My film", artist="Somebody", colour="blue")
        output.set_chapters([chapter(1, 0, 1500), chapter(2, 1500, 4000)])
        output.start_encoding()
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts = number
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        for stream in sounds:
            for first in range(0, 4 * 48000, 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.sample_rate, silence.pts, silence.time_base = 48000, first, Fraction(1, 48000)
                output.mux(stream.encode(silence))
            output.mux(stream.encode(None))
        for begin, end in ((500, 1300), (1800, 2600), (3000, 3900)):
            line = f"from {begin}".encode()
            packet = av.Packet(len(line).to_bytes(2, "big") + line if subtitles == "mov_text" else line)
            packet.pts, packet.dts, packet.duration, packet.time_base = begin, begin, end - begin, MILLISECOND
            packet.stream = text
            output.mux_one(packet)
    return path


def chapter(number: int, begin: int, end: int) -> av.container.Chapter:
    return {"id": number, "start": begin, "end": end, "time_base": MILLISECOND, "metadata": {"title": f"No {number}"}}


def copied(source: Path, target: Path, **part: float) -> list[str]:
    with VideoReader(source, **part) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            writer.write(frame)
    return [*writer.notes]


def described(path: Path) -> list[tuple[str, str | None, str | None, int]]:
    """Kind, language, title and flags of every stream."""
    with av.open(str(path)) as container:
        return [
            (
                stream.type,
                stream.language,
                stream.metadata.get("title") or stream.metadata.get("name"),
                stream.disposition,
            )
            for stream in container.streams
            if stream.type in ("video", "audio", "subtitle")
        ]


def chapters(path: Path) -> list[tuple[str, float, float]]:
    with av.open(str(path)) as container:
        return [
            (part["metadata"]["title"], float(part["start"] * tick), float(part["end"] * tick))
            for part in container.chapters()
            for tick in [part["time_base"] or 0]
        ]


def lines(path: Path) -> list[tuple[str, float, float]]:
    """Text, begin and end of every subtitle."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        header = 2 if stream.codec_context.name == "mov_text" else 0
        return [
            (bytes(packet)[header:].decode(), float(begin), float(begin + (packet.duration or 0) * packet.time_base))
            for packet in container.demux(stream)
            if packet.size > 2
            for begin in [(packet.pts or 0) * packet.time_base]
        ]


@pytest.mark.parametrize(
    ("source", "subtitles", "target"),
    [
        (".mkv", "subrip", ".mkv"),
        (".mp4", "mov_text", ".mp4"),
        (".mp4", "mov_text", ".mov"),
        (".mov", "mov_text", ".mp4"),
        (".mkv", "subrip", ".mp4"),
        (".mkv", "subrip", ".mov"),
        (".mp4", "mov_text", ".mkv"),
    ],
)
def test_tracks_keep_languages_titles_and_flags(tmp_path: Path, source: str, subtitles: str, target: str) -> None:
    before, after = film(tmp_path / f"a{source}", subtitles), tmp_path / f"b{target}"
    notes = copied(before, after)
    tracks = described(after)
    assert [track[:3] for track in tracks] == [
        ("video", "ita", "Camera 1"),
        ("audio", "und" if source == ".mov" else "ger" if target == ".mov" else "deu", "Kommentar"),
        ("audio", "eng", "Main"),
        ("subtitle", "fra", "Texte"),
    ]
    assert tracks[2][3] & DEFAULT
    assert not tracks[1][3] & DEFAULT
    if ".mov" not in (source, target):
        assert tracks[2][3] & FORCED
    assert chapters(after) == [("No 1", 0, 1.5), ("No 2", 1.5, 4)]
    assert lines(after) == lines(before)
    assert notes == ([] if source != ".mkv" or target == ".mkv" else ["tags COLOUR"])


@pytest.mark.parametrize("target", [".mkv", ".mp4"])
@pytest.mark.parametrize(("source", "subtitles"), [(".mkv", "subrip"), (".mp4", "mov_text")])
def test_a_part_has_its_part_of_subtitles_and_chapters(
    tmp_path: Path, source: str, subtitles: str, target: str
) -> None:
    after = tmp_path / f"b{target}"
    copied(film(tmp_path / f"a{source}", subtitles), after, start=1.0, end=2.0)
    assert chapters(after) == [("No 1", 0, 0.5), ("No 2", 0.5, 1.0)]
    assert [(text, round(begin, 2)) for text, begin, _ in lines(after)] == [("from 500", 0.0), ("from 1800", 0.8)]
    assert lines(after)[0][2] == pytest.approx(0.3, abs=2e-3)


def test_subtitles_that_are_pictures_are_named_where_they_do_not_fit(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", "hdmv_pgs_subtitle")
    assert copied(source, tmp_path / "b.mp4") == ["tags COLOUR", "subtitles 1 (fra, hdmv_pgs_subtitle)"]
    assert copied(source, tmp_path / "b.mkv") == []
    assert lines(tmp_path / "b.mkv") == lines(source)


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
def test_tags_are_kept_and_those_that_cannot_be_are_named(tmp_path: Path, target: str) -> None:
    notes = copied(film(tmp_path / "a.mkv"), tmp_path / f"b{target}")
    with av.open(str(tmp_path / f"b{target}")) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert (tags["title"], tags["artist"]) == ("My film", "Somebody")
    assert tags.get("colour") == ("blue" if target == ".mkv" else None)
    assert notes == ([] if target == ".mkv" else ["tags COLOUR"])


def test_what_has_no_place_in_the_output_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=25, width=96, height=64)
        second = output.add_stream("libx264", rate=25, width=96, height=64)
        output.add_attachment("font.ttf", "application/x-truetype-font", b"letters")
        for stream in (picture, second):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(1), "rgb24")))
            output.mux(stream.encode(None))
    assert copied(path, tmp_path / "b.mp4") == ["pictures 2 (h264)", "attachment 1 (font.ttf)"]
    assert copied(path, tmp_path / "b.mkv") == ["pictures 2 (h264)"]
    with av.open(str(tmp_path / "b.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.data) == ("font.ttf", b"letters")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pictures_that_were_turned_upright_are_not_turned_again(tmp_path: Path, suffix: str) -> None:
    copied(write_video(tmp_path / "a.mp4", STEADY[:3], rotation=90), tmp_path / f"b{suffix}")
    with VideoReader(tmp_path / f"b{suffix}") as reader:
        assert reader.size == SIZE[::-1]
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        assert all(frame.rotation == 0 for frame in container.decode(video=0))


def test_subtitles_stay_when_sound_is_left_out(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv")
    with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mkv", reader, audio="none") as writer:
        for frame in reader:
            writer.write(frame)
    assert [track[0] for track in described(tmp_path / "b.mkv")] == ["video", "subtitle"]
    assert writer.notes == []


def test_sound_of_several_tracks_keeps_its_order(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.mkv", sounds=[Sound("aac"), Sound("flac"), Sound("libmp3lame")])
    assert copied(before, tmp_path / "b.mp4") == []
    with av.open(str(tmp_path / "b.mp4")) as container:
        names = [stream.codec_context.codec.canonical_name for stream in container.streams.audio]
    assert names == ["aac", "aac", "mp3"]
