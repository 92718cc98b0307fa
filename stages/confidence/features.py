"""What the confidence of a segment is estimated from: four numbers that mean the same in every language and for every length.

They were chosen among some forty by how much of a perfect ranking they win on corpora that were left out (benchmarks/labels.py): what the
labeller thinks of its words, and what a CTC model that heard the same audio thinks of them. Each alone is weak. The labeller does not
know what it left out, and the CTC model, smaller, is often wrong about single words; together they know far more.

A feature that cannot be had (an aligner without a CTC model) is NaN: the calibration puts its average there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from manifests.schema import Row
from stages.score.ctc import WILDCARD
from stages.score.labeller import label_confidence

MISHEARD = 0.34
"""Errors a character from which on the CTC model wrote another word: one wrong character in three."""


def features(row: Row) -> dict[str, float]:
    """Every feature of `FEATURES`, NaN where it cannot be had."""
    return {name: function(row) for name, function in FEATURES.items()}


def label_probability(row: Row) -> float:
    """Mean probability of the words, by the labeller whose text was chosen (or by the first, where it is a vote)."""
    mean, _least = label_confidence(row.get("labels") or [], row.get("label_origin"))
    return math.nan if mean is None else mean


def ctc_probability(row: Row) -> float:
    """Mean over the words of the probability that the CTC model gives them where they are aligned."""
    return _mean(word["score"] for word in _words(row))


def misheard_words(row: Row) -> float:
    """Share of the words in whose place the CTC model would have written another one."""
    spelled = [(text, word["heard"]) for word in _words(row) if (text := word["spelled"].replace(WILDCARD, ""))]
    return _mean(float(Levenshtein.distance(text, heard) / len(text) >= MISHEARD) for text, heard in spelled)


def unwritten(row: Row) -> float:
    """Logarithm of characters heard by the CTC model over characters written: above 0 where the labeller left something out."""
    words = _words(row)
    heard, spelled = sum(len(word["heard"]) for word in words), sum(len(word["spelled"].replace(WILDCARD, "")) for word in words)
    return math.log((heard + 1) / (spelled + 1)) if words and spelled else math.nan


def _words(row: Row) -> list[dict[str, Any]]:
    """The words that a CTC model heard."""
    return [word for word in row.get("words") or [] if word.get("heard") is not None and word.get("spelled") is not None]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


FEATURES: Mapping[str, Callable[[Row], float]] = {
    "label_probability": label_probability,
    "ctc_probability": ctc_probability,
    "misheard_words": misheard_words,
    "unwritten": unwritten,
}
