"""Choice of the H.264 encoder and of its options for a quality."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from engines.contract.errors import VideoError
from serving.video.libav import av

VideoEncoder = Literal["libx264", "h264_nvenc"]
Codec = Literal["auto"] | VideoEncoder


def chosen_encoder(codec: Codec) -> VideoEncoder:
    """Return ``codec``, or for "auto" NVENC if it works on this machine, else x264.

    Raises:
        VideoError: NVENC is requested but does not work here.
    """
    if codec == "libx264" or (codec == "auto" and not nvenc_works()):
        return "libx264"
    if codec == "h264_nvenc" and not nvenc_works():
        raise VideoError(
            "encoder h264_nvenc",
            got="an encoder that cannot be opened",
            expected="an NVIDIA GPU with NVENC and its driver",
            remedy="choose libx264",
        )
    return "h264_nvenc"


def nvenc_works() -> bool:
    """Return whether NVENC can be opened: the library always includes it, but it needs a GPU with its driver."""
    try:
        context = av.VideoCodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 30)
        context.open()
    except (av.FFmpegError, av.codec.codec.UnknownCodecError):
        return False
    return True


def encoder_options(encoder: VideoEncoder, quality: int) -> dict[str, str]:
    """Return the options for constant quality: 0 to 100 becomes a quantiser of 40 to 10.

    The number of bits halves with about every 6 steps of the quantiser.
    """
    quantiser = str(round(40 - 0.3 * quality))
    if encoder == "h264_nvenc":
        return {"preset": "p5", "rc": "vbr", "cq": quantiser, "b": "0", "bf": "0"}
    # The preset is "veryfast" because the engines need the cores more. There are no B frames because MP4 derives the
    # duration of frames from their decoding order, and would misstate the length of a video with a variable frame rate.
    return {"preset": "veryfast", "crf": quantiser, "bf": "0"}
