"""Smaller audio for a shard: Opus in Ogg, and MP3. Lossy, of exactly as many samples when it is decoded to 16 kHz; the same samples give the same bytes with the same PyAV."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt

from stages.audio import SAMPLE_RATE

Codec = Literal["flac", "opus", "mp3"]


@dataclass(frozen=True)
class _Encoder:
    name: str
    container: str
    samples: str  # the format of a sample that it takes
    bit_rate: int
    options: dict[str, str]


_ENCODERS = {  # bitexact: no serial number by chance, no version of a library in the file
    "opus": _Encoder("libopus", "ogg", "s16", 32_000, {"fflags": "+bitexact"}),
    "mp3": _Encoder("libmp3lame", "mp3", "s16p", 64_000, {"fflags": "+bitexact", "id3v2_version": "0"}),
}
"""Sizes and signal-to-noise ratios are in `benchmarks/results.md`."""


def encode_lossy(pcm: npt.NDArray[np.int16], codec: str) -> bytes:
    """Samples at 16 kHz, mono, as a whole file. `codec`: opus or mp3."""
    encoder = _ENCODERS[codec]
    sink = io.BytesIO()
    with av.open(sink, "w", format=encoder.container, options=encoder.options) as output:
        stream: Any = output.add_stream(encoder.name, rate=SAMPLE_RATE, layout="mono", format=encoder.samples)
        stream.bit_rate = encoder.bit_rate
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format=encoder.samples, layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for some in (frame, None):
            output.mux(stream.encode(some))
    return sink.getvalue()
