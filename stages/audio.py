"""Reading the audio of a recording from the corpus: 16 kHz mono, from the content-addressed FLAC store."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from manifests.schema import Row
from manifests.store import Store

SAMPLE_RATE = 16_000
"""Hertz, of every recording in the store."""

Samples = npt.NDArray[np.float32]


def mp3(samples: Samples, **encoding: Any) -> bytes:
    """Samples as MP3, for a browser; `encoding` as `soundfile.write` takes it."""
    sink = io.BytesIO()
    soundfile.write(sink, samples, SAMPLE_RATE, format="MP3", **encoding)
    return sink.getvalue()


def mp3_uri(data: bytes) -> str:
    """MP3 as a data URI, for a page that has no server."""
    return "data:audio/mpeg;base64," + base64.b64encode(data).decode()


def audio_path(digest: str) -> str:
    """Where the recording with this sha256 (of its 16-bit samples) lies, relative to the corpus root."""
    return f"audio/{digest[:2]}/{digest}.flac"


def read_audio(store: Store, row: Row) -> Samples:
    """The samples of a row (a recording, or the span of a segment), shape (n,), in -1..1. Never the whole file for a segment.

    Raises:
        FileNotFoundError: the recording is not in the store.
    """
    start, end = round(row["start"] * SAMPLE_RATE), round(row["end"] * SAMPLE_RATE)
    with store.open(row["audio_path"]) as handle, soundfile.SoundFile(handle) as audio:
        audio.seek(min(start, audio.frames))
        samples: Samples = audio.read(end - start, dtype="float32")
    return samples
