"""By how much the characters of a trained network start late: a CTC network is sure of a character only when it has heard some of it.

Measured on synthetic speech of the training languages, whose word starts espeak-ng tells exactly.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from stages.align.head import Head
from stages.align.spelling import spell
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import aligned_words
from stages.audio import SAMPLE_RATE, Samples
from stages.words import written_words
from workflows.head.corpora import sentences
from workflows.head.data import encode
from workflows.head.voices import espeak_words

VOICES = {"en": "en-us", "de": "de", "es": "es", "fr": "fr", "it": "it", "nl": "nl"}
WINDOWS = 3
"""Of each voice."""


class _Said(NamedTuple):
    word: str
    start: float  # seconds in the window
    first: bool  # of its sentence


def measure(head: Head) -> float:
    """Seconds, the median over words inside sentences."""
    late: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for language in VOICES:
            for number in range(WINDOWS):
                samples, said = _window(language, number)
                path = Path(name, f"{language}{number}.flac")
                soundfile.write(path, samples, SAMPLE_RATE)
                frames = round(len(samples) / SAMPLE_RATE / head.stride)
                log_probs = head.log_probs([encode(path)], 1)[0][:frames]
                spelled = [spell(word.word, language, head.vocabulary) for word in said]
                found = aligned_words(log_probs, spelled, head.blank, head.vocabulary[" "], Torchaudio.path)
                late += [spans.word.start * head.stride - word.start for spans, word in zip(found, said, strict=True) if not word.first]
    return round(float(np.median(late)), 3)


def _window(language: str, number: int) -> tuple[Samples, list[_Said]]:
    """Up to 29 s of sentences in espeak-ng's voices."""
    chance = random.Random(f"{language} {number}")  # noqa: S311 - a reproducible choice
    lines = list(sentences(language))
    chance.shuffle(lines)
    pieces = [np.zeros(SAMPLE_RATE // 2, np.float32)]
    said: list[_Said] = []
    for text in lines:
        words = written_words(text)
        samples, starts = espeak_words(text, VOICES[language], chance)
        at = sum(map(len, pieces)) / SAMPLE_RATE
        if at + len(samples) / SAMPLE_RATE > 29:
            break
        if len(starts) == len(words):  # it takes some words together
            said += [_Said(word, at + start, index == 0) for index, (word, start) in enumerate(zip(words, starts, strict=True))]
            pieces += [samples, np.zeros(SAMPLE_RATE // 2, np.float32)]
    return np.concatenate(pieces), said
