"""Speech through a real codec at a low bit rate, in memory: what a codec takes away no filter imitates. FFmpeg's, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import soxr

from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE, Samples


@dataclass(frozen=True)
class Codec:
    """One codec, and the bit rates at which it can be heard."""

    encoder: str
    decoder: str
    rate: int
    """Hz that it is given."""
    sample_format: str
    bit_rates: tuple[int, ...]
    delay: int = 0
    """Samples at 16 kHz by which it comes later and does not say so. MP3 and Opus tell their decoders what to skip."""


CODECS = (
    Codec("libmp3lame", "mp3float", SAMPLE_RATE, "fltp", (16_000, 24_000, 32_000)),
    Codec("libopus", "libopus", SAMPLE_RATE, "s16", (6_000, 9_000, 12_000, 16_000, 24_000)),
    Codec("libopencore_amrnb", "amrnb", 8_000, "s16", (4_750, 5_900, 7_400, 10_200, 12_200), delay=77),
)
"""MP3 as of old podcasts, Opus as of messengers, AMR as of mobile telephones (3GPP TS 26.071; 8 kHz, so nothing stays above 4)."""


def through(samples: Samples, codec: Codec, bit_rate: int) -> Samples:
    """16 kHz samples in -1..1 encoded and decoded again: as many, and each at its time. The same every time; 5 to 13 ms of one core a second.

    Raises:
        SilverError: PyAV was built without the codec.
    """
    import av

    slow = samples if codec.rate == SAMPLE_RATE else soxr.resample(samples, SAMPLE_RATE, codec.rate)
    try:
        encoder = av.AudioCodecContext.create(codec.encoder, "w")
        decoder = av.AudioCodecContext.create(codec.decoder, "r")
    except av.codec.codec.UnknownCodecError as error:
        raise SilverError(f"this PyAV has no {codec.encoder} or {codec.decoder}: install its wheel, or set noise.codec to 0") from error
    for context in (encoder, decoder):
        context.sample_rate, context.layout = codec.rate, "mono"
    encoder.format, encoder.bit_rate, encoder.time_base = av.AudioFormat(codec.sample_format), bit_rate, Fraction(1, codec.rate)
    encoder.open()
    decoder.extradata = encoder.extradata  # how much of the beginning is to be skipped
    packets = [packet for frame in [*_frames(slow, encoder), None] for packet in encoder.encode(frame)]
    heard = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    if not heard:
        return np.zeros_like(samples)
    whole = np.concatenate([frame.to_ndarray().ravel() for frame in heard])
    if whole.dtype == np.int16:
        whole = whole / np.float32(32768)
    found = soxr.resample(whole.astype(np.float32), heard[0].sample_rate, SAMPLE_RATE)[codec.delay : codec.delay + len(samples)]
    return np.pad(found, (0, len(samples) - len(found)))


def _frames(samples: Samples, encoder: Any) -> Iterator[Any]:
    """The samples in frames of the encoder's size, the last one filled up with silence."""
    import av

    filled = np.pad(np.clip(samples, -1, 1), (0, -len(samples) % encoder.frame_size))
    if encoder.format.name == "s16":
        filled = np.round(filled * 32767).astype(np.int16)
    for at in range(0, len(filled), encoder.frame_size):
        frame = av.AudioFrame.from_ndarray(filled[None, at : at + encoder.frame_size], format=encoder.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = encoder.sample_rate, at, encoder.time_base
        yield frame
