"""How wrong labels are, and how well a score knows it. Pure functions over arrays with one entry a segment.

`words` are words of the reference, `errors` substitutions, deletions and insertions, so errors / words is the word error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DRAWS = 1000
"""Bootstrap draws: the ends of a 95 % interval are then known to a few hundredths of its width (Efron and Tibshirani 1993, chapter 14)."""
CLUSTERS = 10
"""Recordings from which on they, and not their segments, are what the bootstrap draws: of fewer it draws nearly the same sample again."""
KEEP = 0.6


@dataclass(frozen=True)
class SegmentErrors:
    """Of one segment: words of the reference, words of the label, and errors; the same in characters (spaces count).

    `recording` is what it was cut out of: errors of one recording are not independent of each other.
    """

    segment_id: str
    recording: str
    language: str
    words: int
    label_words: int
    errors: int
    characters: int = 0
    character_errors: int = 0

    @property
    def right(self) -> float:
        """Share of right words in 0..1, see `right_share`."""
        return float(right_share([self.words], [self.label_words], [self.errors])[0])


@dataclass(frozen=True)
class ErrorRate:
    """Errors a word with a 95 % interval, and what the bootstrap drew: whole recordings, or segments where there are too few of those."""

    words: int
    errors: int
    low: float
    high: float
    drawn: str = "segments"

    @property
    def wer(self) -> float:
        """Errors a word; infinite if nothing was said where something was written."""
        return self.errors / self.words if self.words else float("inf") if self.errors else 0.0

    def __str__(self) -> str:
        return f"WER {self.wer:.3f} (95 % {self.low:.3f} to {self.high:.3f}, {self.errors} errors in {self.words} words)"


def wer(errors: Sequence[SegmentErrors]) -> ErrorRate:
    """The word error rate of some segments."""
    return error_rate([item.words for item in errors], [item.errors for item in errors], [item.recording for item in errors])


def cer(errors: Sequence[SegmentErrors]) -> ErrorRate:
    """The character error rate of some segments."""
    return error_rate([item.characters for item in errors], [item.character_errors for item in errors], [item.recording for item in errors])


def error_rate(words: Sequence[int] | Array, errors: Sequence[int] | Array, recordings: Sequence[str] | None = None) -> ErrorRate:
    """Errors a word with a percentile bootstrap interval; the same numbers each time.

    Segments of one recording share its speaker and its noise, so the interval is that of drawing recordings anew (a cluster bootstrap,
    Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation"): wider, and true.
    """
    said: Array = np.asarray(words, np.float64)
    wrong: Array = np.asarray(errors, np.float64)
    drawn = "segments"
    if recordings is not None and len(names := np.unique(np.asarray(recordings), return_inverse=True)[1]) and names.max() + 1 >= CLUSTERS:
        drawn = "recordings"
        said, wrong = np.bincount(names, said).astype(np.float64), np.bincount(names, wrong).astype(np.float64)
    if not said.sum():
        return ErrorRate(0, int(wrong.sum()), 0.0, 0.0, drawn)
    low, high = bootstrap([(said, wrong)], lambda sums: sums[0][1] / np.maximum(1, sums[0][0]))
    if not wrong.any():
        high = at_most(said)
    return ErrorRate(int(said.sum()), int(wrong.sum()), low, high, drawn)


def bootstrap(strata: Sequence[tuple[Array, ...]], statistic: Any, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a statistic of sums.

    Each stratum is a tuple of arrays with one entry a unit; units are drawn anew inside it. `statistic` maps a list (one entry a stratum)
    of arrays of shape (columns, draws), the sums of each draw, to the statistic of each draw, shape (draws,).
    """
    chance = np.random.default_rng(seed)
    sums = [_resampled(np.stack(columns), chance) for columns in strata]
    drawn = np.asarray(statistic(sums), np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return 0.0, 0.0
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def at_most(weights: Sequence[float] | Array) -> float:
    """Upper end of a 95 % interval of a share that was 0 in all units of a sample, of which a bootstrap says 0 to 0.

    The largest share that leaves none with a probability of 2.5 % (Clopper and Pearson 1934), for as many units as the weights are worth
    (Kish 1965: sum squared by sum of squares). Of errors it takes each unit as right or wholly wrong, so it is rather too wide.

    >>> round(at_most([1] * 300), 4)
    0.0122
    """
    of: Array = np.asarray(weights, np.float64)
    worth = of.sum() ** 2 / max(float((of**2).sum()), 1e-9)
    return float(1 - 0.025 ** (1 / worth)) if worth else 1.0


def _resampled(columns: Array, chance: np.random.Generator) -> Array:
    """Sums of `DRAWS` resamples, shape (columns, draws); memory is bounded."""
    units = columns.shape[1]
    step = max(1, 2_000_000 // max(1, units))
    blocks = []
    for first in range(0, DRAWS, step):
        drawn = chance.integers(0, units, (min(step, DRAWS - first), units))
        blocks.append(np.stack([column[drawn].sum(1) for column in columns]))
    return np.concatenate(blocks, axis=1)


def right_share(words: Sequence[int] | Array, label_words: Sequence[int] | Array, errors: Sequence[int] | Array) -> Array:
    """Share of right words of each segment: 1 - errors / the longer of reference and label, in 0..1. What `confidence` is to foretell.

    By the longer of the two, so that a label of ten words where nothing was said is wholly wrong and one with a word too many mostly right;
    the WER of such segments is infinite and 1 / n.

    >>> right_share([4, 0, 2, 0], [4, 10, 3, 0], [1, 10, 1, 0]).round(2)
    array([0.75, 0.  , 0.67, 1.  ])
    """
    longer = np.maximum(np.maximum(words, label_words), 1)
    return np.clip(1 - np.asarray(errors) / longer, 0.0, 1.0)


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
