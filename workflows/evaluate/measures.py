"""How well a score knows which labels are wrong. Pure functions over arrays with one entry a segment.

`words` are words of the reference, `errors` substitutions, deletions and insertions, so errors / words is the word error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.measures import Array

KEEP = 0.6


@dataclass(frozen=True)
class Bin:
    """One point of a reliability diagram: mean confidence, share of right words, and words that fell into it."""

    confidence: float
    right: float
    words: int


def reliability(confidence: Sequence[float | None] | Array, words: Sequence[int] | Array, right: Sequence[float] | Array,
                bins: int = 10) -> list[Bin]:  # fmt: skip
    """Segments by confidence, in bins of equal width over 0..1; means are weighted by words. Segments without confidence are left out."""
    scores, weights = _floats(confidence), np.asarray(words, np.float64)
    known = np.isfinite(scores) & (weights > 0)
    scores, weights, rights = np.clip(scores[known], 0, 1), weights[known], np.asarray(right, np.float64)[known]
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    totals = np.bincount(place, weights, bins)
    return [
        Bin(float(conf / total), float(good / total), int(total))
        for total, conf, good in zip(
            totals, np.bincount(place, weights * scores, bins), np.bincount(place, weights * rights, bins), strict=True
        )
        if total
    ]


def expected_calibration_error(confidence: Sequence[float | None] | Array, words: Sequence[int] | Array, right: Sequence[float] | Array,
                               bins: int = 10) -> float | None:  # fmt: skip
    """Mean distance between confidence and share of right words over the bins of `reliability`, weighted by words (Guo et al. 2017).

    None where no segment has a confidence.

    >>> expected_calibration_error([0.9, 0.9, 0.5], [10, 10, 20], [1.0, 0.6, 0.5])
    0.05
    """
    found = reliability(confidence, words, right, bins)
    total = sum(item.words for item in found)
    return round(sum(item.words * abs(item.confidence - item.right) for item in found) / total, 6) if total else None


def risk_coverage(
    scores: Sequence[float | None] | Array, words: Sequence[int] | Array, errors: Sequence[int] | Array
) -> tuple[Array, Array]:
    """Share of words kept and WER of what is kept, best score first, one point for each score there is (equal scores come together).

    Segments without a score come last. Both of shape (n,); the last point is all segments.
    """
    said, wrong, shares = _ranked(scores, words, errors)
    some = said > 0
    return shares[some], wrong[some] / said[some]


def oracle(words: Sequence[int] | Array, errors: Sequence[int] | Array) -> Array:
    """The scores of a perfect ranking: the fewest errors a word first."""
    return np.asarray(-np.asarray(errors, np.float64) / np.maximum(np.asarray(words, np.float64), 1e-9))


def kept_wer(
    scores: Sequence[float | None] | Array, words: Sequence[int] | Array, errors: Sequence[int] | Array, keep: float = KEEP
) -> float:
    """WER of the best `keep` of the words. The segments that share the last score are kept in part, each by the same share."""
    said, wrong, shares = _ranked(scores, words, errors)
    if not len(said) or not said[-1]:
        return float("nan")
    kept: float = np.interp(keep, np.concatenate([[0.0], shares]), np.concatenate([[0.0], wrong]))
    return float(kept / (keep * said[-1]))


def recovered_gain(scores: Sequence[float | None] | Array, words: Sequence[int] | Array, errors: Sequence[int] | Array,
                   keep: float = KEEP) -> float | None:  # fmt: skip
    """How much of what a perfect ranking would win the ranking by `scores` wins, keeping the best `keep` of the words:
    (WER of all - WER kept) / (WER of all - WER that the oracle keeps). 1 is perfect, 0 no better than chance; None if nothing can be won.

    >>> recovered_gain([0.9, 0.8, 0.7, 0.1], [10, 10, 10, 10], [0, 1, 4, 5], keep=0.5)
    1.0
    """
    total, wrong = float(np.sum(words)), float(np.sum(errors))
    if not total:
        return None
    raw, kept, best = wrong / total, kept_wer(scores, words, errors, keep), kept_wer(oracle(words, errors), words, errors, keep)
    return (raw - kept) / (raw - best) if raw - best > 1e-12 else None


def _ranked(
    scores: Sequence[float | None] | Array, words: Sequence[int] | Array, errors: Sequence[int] | Array
) -> tuple[Array, Array, Array]:
    """Words, errors and share of words up to and with each score, best first."""
    known = np.nan_to_num(_floats(scores), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    levels, place = np.unique(-known, return_inverse=True)
    said = np.bincount(place, np.asarray(words, np.float64), len(levels)).cumsum()
    wrong = np.bincount(place, np.asarray(errors, np.float64), len(levels)).cumsum()
    return said, wrong, said / max(said[-1] if len(said) else 0.0, 1e-9)


def _floats(values: Sequence[float | None] | Array) -> Array:
    return np.asarray([np.nan if value is None else float(value) for value in values], np.float64)
