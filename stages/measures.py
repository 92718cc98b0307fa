"""Error rates of what was written against what was said, with bootstrap intervals; arrays have one entry a segment.

`words` are words of the reference, `errors` substitutions, deletions and insertions, so errors / words is the word error rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Units = tuple[str, Array]
"""What the bootstrap draws is called, and the number of the unit that each segment belongs to, shape (segments,)."""

DRAWS = 1000
"""Bootstrap draws: the ends of a 95 % interval are then known to a few hundredths of its width (Efron and Tibshirani 1993, chapter 14)."""
CLUSTERS = 10
"""Recordings from which on they, and not their segments, are what the bootstrap draws: of fewer it draws nearly the same sample again."""


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
    return error_rate([item.words for item in errors], [item.errors for item in errors], _recordings(errors))


def cer(errors: Sequence[SegmentErrors]) -> ErrorRate:
    """The character error rate of some segments."""
    return error_rate([item.characters for item in errors], [item.character_errors for item in errors], _recordings(errors))


def _recordings(errors: Sequence[SegmentErrors]) -> Units:
    return units({"recordings": [item.recording for item in errors]}, "segments")


def units(groups: Mapping[str, Sequence[str | None]], otherwise: str) -> Units:
    """What a bootstrap draws: the first of the groupings (one name a segment) that is known for all segments and has at least `CLUSTERS` groups;
    else the segments themselves, which are called `otherwise`.

    Segments of one speaker or recording share a voice and noise, so to draw these anew is what gives a true interval, a wider one (Bisani
    and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation").
    """
    count = 0
    for called, names in groups.items():
        count = len(names)
        if all(name is not None for name in names) and len(set(names)) >= CLUSTERS:
            return called, np.unique(np.asarray(names), return_inverse=True)[1]
    return otherwise, np.arange(count)


def summed(values: Sequence[int] | Array, numbers: Array) -> Array:
    """Sum of each unit, shape (units,)."""
    return np.bincount(numbers, np.asarray(values, np.float64)).astype(np.float64)


def error_rate(words: Sequence[int] | Array, errors: Sequence[int] | Array, drawn: Units | None = None) -> ErrorRate:
    """Errors a word with a percentile bootstrap interval; the same numbers each time. Without `drawn` it draws segments."""
    called, numbers = drawn or ("segments", np.arange(len(words)))
    said, wrong = summed(words, numbers), summed(errors, numbers)
    if not said.sum():
        return ErrorRate(0, int(wrong.sum()), 0.0, 0.0, called)
    low, high = bootstrap([(said, wrong)], lambda sums: sums[0][1] / np.maximum(1, sums[0][0]))
    if not wrong.any():
        high = at_most(said)
    return ErrorRate(int(said.sum()), int(wrong.sum()), low, high, called)


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
