"""Windows of real speech in a store, as `segment` leaves them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from manifests.schema import Row, segment_id
from manifests.store import Store
from pipeline.contract import PartContext
from stages.audio import SAMPLE_RATE, Samples, audio_path
from tests.speech import prompts


class Window(NamedTuple):
    samples: Samples
    text: str


def spoken(language: str, count: int, seconds: float, skip: int = 0) -> list[Window]:
    """`count` windows of about `seconds`, each some prompts with half a second of near silence around each."""
    pause = np.random.default_rng(0).normal(0, 1e-4, SAMPLE_RATE // 2).astype(np.float32)
    remaining = iter(prompts(language)[skip:])
    windows = []
    for _ in range(count):
        pieces, texts = [pause], []
        while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
            prompt = next(remaining)
            pieces += [soundfile.read(prompt.path, dtype="float32")[0], pause]
            texts.append(prompt.text)
        windows.append(Window(np.concatenate(pieces), " ".join(texts)))
    return windows


def store_windows(root: Path, windows: Sequence[Samples], language: str | None) -> list[Row]:
    """One recording of these windows, and a row for each."""
    samples = np.concatenate(windows)
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    path = root / audio_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE)
    ends = np.cumsum([len(window) for window in windows]) / SAMPLE_RATE
    return [
        {
            "recording_id": digest[:16],
            "segment_id": segment_id(digest[:16], start, end),
            "audio_path": audio_path(digest),
            "start": start,
            "end": end,
            "duration": end - start,
            "language": language,
            "drop_reason": None,
        }
        for start, end in zip([0.0, *ends.tolist()], ends.tolist(), strict=False)
    ]


def context(root: Path) -> PartContext:
    return PartContext(store=Store(str(root)))
