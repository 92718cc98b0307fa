"""Speech in a segment, and words where there is none.

A labeller that invents text puts it into pauses, and an aligner has nowhere else to put it. Silero VAD (github.com/snakers4/silero-vad) hears
the segment once more, from its own start: `segment` knew the windows only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stages.audio import Samples
from stages.voice import BLOCK, WINDOW_MS, Probabilities, Vad

SPEECH = 0.5
"""Probability from which on 32 ms are speech (Silero's default)."""
SILENCE = 0.35
"""Below, speech has ended (Silero's default); in between it may go on."""
SLACK = 0.1
"""Seconds by which aligners miss: speech so near to a word is its own."""


def hear(vad: Vad, samples: Samples) -> Probabilities:
    """Probability of speech in each 32 ms of a segment."""
    return vad.probabilities(samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))


def speech_ratio(probabilities: Probabilities) -> float | None:
    """Share of the segment that is speech, 0..1; None without audio."""
    return float((probabilities >= SPEECH).mean()) if len(probabilities) else None


def text_on_silence(words: Sequence[Mapping[str, Any]], start: float, probabilities: Probabilities) -> float | None:
    """Share of the words with no speech between their start and end, 0..1; None without word times.

    Args:
        words: as in `manifests.schema.WORDS`; times in seconds in the recording.
        start: of the segment, seconds in the recording.
        probabilities: of `hear`.

    >>> import numpy as np
    >>> speech = np.array([0.0] * 40 + [0.9] * 40, np.float32)
    >>> text_on_silence([{"start": 10.1, "end": 10.5}, {"start": 11.5, "end": 11.9}], 10.0, speech)
    0.5
    """
    silent = []
    for word in words:
        begins, ends = (math.nan if word.get(edge) is None else word[edge] for edge in ("start", "end"))
        if math.isfinite(begins) and math.isfinite(ends):
            first = int((begins - start - SLACK) * 1000 / WINDOW_MS)
            last = int((ends - start + SLACK) * 1000 / WINDOW_MS) + 1
            silent.append(float(probabilities[max(first, 0) : max(last, 0)].max(initial=0.0)) < SILENCE)
    return sum(silent) / len(silent) if silent else None
