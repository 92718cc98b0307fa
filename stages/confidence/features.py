"""What the confidence of a segment is estimated from: numbers that mean the same in every language, all from columns of the row.

Word error is the sum of errors of words, so most of them are means over the words of a segment; a minimum or a product would fall with
its length alone. A feature that cannot be had (an aligner without a CTC model, one labeller only) is NaN: the calibration puts its
average there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from manifests.schema import Row

FLOOR = 1e-3
"""Least probability whose logarithm is taken: below, the words are wrong all the same."""
DOUBTFUL = 0.5


def features(row: Row) -> dict[str, float]:
    """Every feature of `FEATURES`, NaN where it cannot be had."""
    return {name: float(value) if (value := function(row)) is not None else math.nan for name, function in FEATURES.items()}


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _label_scores(row: Row) -> list[float]:
    """The first labeller's probability of each word."""
    labels = row.get("labels") or []
    return _known(labels[0].get("scores") or []) if labels else []


def _label_probability(row: Row) -> float | None:
    scores = _label_scores(row)
    return float(np.mean(scores)) if scores else None


def _label_log_probability(row: Row) -> float | None:
    scores = _label_scores(row)
    return float(np.mean(np.log(np.maximum(scores, FLOOR)))) if scores else None


def _doubtful_words(row: Row) -> float | None:
    scores = _label_scores(row)
    return float(np.mean([score < DOUBTFUL for score in scores])) if scores else None


def _ctc_log_probability(row: Row) -> float | None:
    scores = _known([word["score"] for word in row.get("words") or [] if word.get("heard") is not None])
    return float(np.mean(np.log(np.maximum(scores, FLOOR)))) if scores else None


def _word_distances(row: Row) -> list[float]:
    """Of each word, errors a character between what was looked for and what the CTC model would have written; 1 at most."""
    words = [word for word in row.get("words") or [] if word.get("heard") is not None and word.get("spelled")]
    return [
        min(1.0, Levenshtein.distance(spelled, word["heard"]) / len(spelled))
        for word in words
        if (spelled := word["spelled"].replace("*", ""))
    ]


def _ctc_error(row: Row) -> float | None:
    words = [word for word in row.get("words") or [] if word.get("heard") is not None and word.get("spelled") is not None]
    spelled = "".join(word["spelled"].replace("*", "") for word in words)
    return min(1.0, Levenshtein.distance(spelled, "".join(word["heard"] for word in words)) / len(spelled)) if spelled else None


def _ctc_wrong_words(row: Row) -> float | None:
    distances = _word_distances(row)
    return float(np.mean([distance > 0.5 for distance in distances])) if distances else None


def _disagreement(row: Row) -> float | None:
    return None if row.get("agreement") is None else 1.0 - row["agreement"]


def _log_perplexity(row: Row) -> float | None:
    value = row.get("perplexity")
    return math.log(value) if value else None


FEATURES: Mapping[str, Callable[[Row], float | None]] = {
    "label_probability": _label_probability,
    "label_log_probability": _label_log_probability,
    "doubtful_words": _doubtful_words,
    "window_log_probability": lambda row: row.get("avg_logprob"),
    "ctc_log_probability": _ctc_log_probability,
    "ctc_error": _ctc_error,
    "ctc_wrong_words": _ctc_wrong_words,
    "disagreement": _disagreement,
    "log_perplexity": _log_perplexity,
}
