"""The sound of videos: it is copied where possible, and always in sync with the pictures."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import STEADY, Sound, audio_packets, lengths, write_video

from engines.contract.errors import VideoError
from serving.video.reading import VideoReader
from serving.video.soundtrack import Audio
from serving.video.writing import VideoWriter

AAC_FRAME = 1024 / 48000


def copy(
    source: Path, target: Path, *, start: float | None = None, end: float | None = None, audio: Audio = "copy"
) -> Path:
    with VideoReader(source, start=start, end=end) as reader, VideoWriter(target, reader, audio=audio) as writer:
        for frame in reader:
            writer.write(frame)
    return target


def codecs(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams.audio]


def loud_parts(path: Path) -> tuple[float, float]:
    """Return the seconds at which the sound begins and ceases to be louder than silence."""
    with av.open(str(path)) as container:
        times, levels = [], []
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(float)).reshape(-1)[:: frame.layout.nb_channels]
            wave = wave[: frame.samples] if frame.format.is_planar else wave
            times.append(float(frame.pts * frame.time_base) + np.arange(len(wave)) / frame.rate)
            levels.append(wave)
    level = np.concatenate(levels)
    loud = np.concatenate(times)[level > level.max() / 4]
    return float(loud[0]), float(loud[-1])


@pytest.mark.parametrize(
    ("codec", "source", "target"),
    [
        ("aac", ".mp4", ".mp4"),
        ("aac", ".mp4", ".mov"),
        ("aac", ".mp4", ".mkv"),
        ("aac", ".mkv", ".mp4"),
        ("libmp3lame", ".mkv", ".mp4"),
        ("libopus", ".mkv", ".mkv"),
        ("pcm_s16le", ".mkv", ".mkv"),
        ("pcm_s16le", ".mkv", ".mov"),
    ],
)
def test_packets_are_copied_byte_for_byte(tmp_path: Path, codec: str, source: str, target: str) -> None:
    before = write_video(tmp_path / f"a{source}", sounds=[Sound(codec)])
    after = copy(before, tmp_path / f"b{target}")
    assert [data for data, _ in audio_packets(after)] == [data for data, _ in audio_packets(before)]
    shifts = [float(b[1] - a[1]) for a, b in zip(audio_packets(before), audio_packets(after), strict=True)]
    np.testing.assert_allclose(shifts, 0, atol=1e-3)  # Matroska counts milliseconds
    picture, sound = lengths(after)
    assert picture == pytest.approx(1.6)
    assert sound == pytest.approx(1.6, abs=AAC_FRAME + 0.02)  # includes what the MP3 encoder adds


@pytest.mark.parametrize("codec", ["libopus", "pcm_s16le", "flac"])
def test_what_mp4_players_do_not_play_becomes_aac(tmp_path: Path, codec: str) -> None:
    after = copy(write_video(tmp_path / "a.mkv", sounds=[Sound(codec)]), tmp_path / "b.mp4")
    assert codecs(after) == ["aac"]
    assert lengths(after) == pytest.approx((1.6, 1.6), abs=2e-3)
    assert loud_parts(after) == pytest.approx((0, 1.6), abs=5e-3)


def test_aac_that_came_without_a_header_of_its_own_is_copied_into_mp4(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.ts", sounds=[Sound("aac")])
    after = copy(before, tmp_path / "b.mp4")
    assert codecs(after) == ["aac"]
    assert loud_parts(after) == pytest.approx(loud_parts(before), abs=2e-3)


@pytest.mark.parametrize("codec", ["aac", "libopus", "pcm_s16le"])
@pytest.mark.parametrize("start", [0.0, 0.25])
def test_sound_that_starts_later_than_the_pictures_still_does(tmp_path: Path, codec: str, start: float) -> None:
    before = write_video(tmp_path / "a.mkv", sounds=[Sound(codec, seconds=1.0, start=start)])
    for suffix in (".mp4", ".mkv"):
        after = copy(before, tmp_path / f"b{suffix}")
        assert loud_parts(after) == pytest.approx(loud_parts(before), abs=5e-3)


def test_a_gap_in_sound_that_is_encoded_becomes_silence(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.mkv", sounds=[Sound("pcm_s16le", gap=(0.4, 0.9))])
    after = copy(before, tmp_path / "b.mp4")
    assert loud_parts(after) == pytest.approx((0, 1.6), abs=5e-3)
    assert lengths(after)[1] == pytest.approx(1.6, abs=2e-3)


def test_all_tracks_come_along(tmp_path: Path) -> None:
    sounds = [Sound("aac"), Sound("libopus"), Sound("pcm_s16le", rate=16000)]
    before = write_video(tmp_path / "a.mkv", sounds=sounds)
    assert codecs(copy(before, tmp_path / "b.mp4")) == ["aac", "aac", "aac"]
    assert codecs(copy(before, tmp_path / "b.mkv")) == ["aac", "opus", "pcm_s16le"]


def test_sound_can_be_encoded_always_or_left_out(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.mkv", sounds=[Sound("libopus")])
    assert codecs(copy(before, tmp_path / "b.mkv", audio="aac")) == ["aac"]
    assert codecs(copy(before, tmp_path / "c.mkv", audio="none")) == []


def test_a_video_without_sound_stays_without(tmp_path: Path) -> None:
    assert codecs(copy(write_video(tmp_path / "a.mp4"), tmp_path / "b.mp4")) == []


def test_sound_that_is_longer_than_the_pictures_is_kept(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.mp4", STEADY[:10], sounds=[Sound("aac", 1.6)])
    assert lengths(copy(before, tmp_path / "b.mp4")) == pytest.approx((0.4, 1.6), abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("source", "codec"),
    [
        (".mkv", "aac"),
        (".mkv", "libopus"),
        (".mkv", "pcm_s16le"),
        (".mov", "aac"),
        (".mov", "pcm_s16le"),
        (".ts", "aac"),
    ],
)
def test_a_part_has_its_part_of_the_sound(tmp_path: Path, source: str, codec: str, suffix: str) -> None:
    times = tuple(range(0, 6000, 40))
    before = write_video(tmp_path / f"a{source}", times, sounds=[Sound(codec, 2.0, start=3.5)])
    after = copy(before, tmp_path / f"b{suffix}", start=3.0, end=5.0)
    # The tone sounds from 3.5 s to 5.5 s, which is from 0.5 s to the end of the part, to within one packet.
    assert loud_parts(after) == pytest.approx((0.5, 2.0), abs=AAC_FRAME + 5e-3)
    picture, sound = lengths(after)
    assert sound == pytest.approx(picture, abs=AAC_FRAME + 5e-3)


def test_sound_in_a_damaged_packet_is_left_out_and_the_rest_stays_in_time(tmp_path: Path) -> None:
    before = write_video(tmp_path / "a.mkv", sounds=[Sound("flac")])
    data = bytearray(before.read_bytes())
    packet = audio_packets(before)[8][0]
    place = bytes(data).index(packet)
    data[place : place + len(packet)] = bytes(len(packet))
    before.write_bytes(data)
    after = copy(before, tmp_path / "b.mp4")
    assert loud_parts(after) == pytest.approx((0, 1.6), abs=5e-3)


def test_a_source_that_goes_away_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", sounds=[Sound("aac")])
    with VideoReader(source) as reader:
        source.unlink()
        with pytest.raises(VideoError, match=r"a\.mp4: got No such file or directory"):
            VideoWriter(tmp_path / "b.mp4", reader).__enter__()
    assert [*tmp_path.iterdir()] == []
