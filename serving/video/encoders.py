"""Which encoder writes H.264, and how a quality becomes its options."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from engines.contract.errors import VideoError
from serving.video.libav import av

VideoEncoder = Literal["libx264", "h264_nvenc"]
Codec = Literal["auto"] | VideoEncoder


def chosen_encoder(codec: Codec) -> VideoEncoder:
    """``codec``, or for "auto" NVENC where it works on this machine, else x264.

    Raises:
        VideoError: the encoder that was asked for does not work here.
    """
    if codec == "libx264" or (codec == "auto" and not nvenc_works()):
        return "libx264"
    if codec == "h264_nvenc" and not nvenc_works():
        raise VideoError(
            "encoder h264_nvenc",
            got="an encoder that does not open",
            expected="an NVIDIA GPU with NVENC and its driver",
            remedy="choose libx264",
        )
    return "h264_nvenc"


def nvenc_works() -> bool:
    """Whether NVENC opens on this machine: the library has it everywhere, only a GPU with its driver makes it work."""
    try:
        context = av.VideoCodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 30)
        context.open()
    except (av.FFmpegError, av.codec.codec.UnknownCodecError):
        return False
    return True


def encoder_options(encoder: VideoEncoder, quality: int) -> dict[str, str]:
    """Constant quality: 0 to 100 becomes a quantiser of 40 to 10, which halves the bits every 6 steps or so."""
    quantiser = str(round(40 - 0.3 * quality))
    if encoder == "h264_nvenc":
        return {"preset": "p5", "rc": "vbr", "cq": quantiser, "b": "0", "bf": "0"}
    # "veryfast", since the engines need the cores more. No B frames: MP4 derives how long frames are shown from their
    # order of decoding, and so would misstate the length of a video of variable rate.
    return {"preset": "veryfast", "crf": quantiser, "bf": "0"}
