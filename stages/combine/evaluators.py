"""Evaluators: what speaks for each of the labels of a window.

An evaluator gives every label of every row a number, the higher the better, or None where it cannot say. Their scales differ and are never
added up: `best` compares ranks (Borda 1781).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jiwer

from manifests.schema import Row
from pipeline.contract import PartContext, is_live
from stages.score.agreement import comparable, similarity
from stages.score.ctc import WILDCARD
from stages.score.labeller import label_confidence
from stages.score.repetition import repetition

if TYPE_CHECKING:
    from stages.align import Align

Scores = list[list[float | None]]
"""Of each row, the scores of its labels."""
Evaluator = Callable[[Sequence[Row], PartContext], Scores]


def agreement(rows: Sequence[Row], _context: PartContext) -> Scores:
    """How far the other labels of the row say the same: the mean of 1 - WER against each."""
    return [_agreement([comparable(label["text"] or "", row["language"]) for label in row["labels"]], row["language"]) for row in rows]


def _agreement(texts: Sequence[str], language: str | None) -> list[float | None]:
    others = [[similarity(other, text, language) for j, other in enumerate(texts) if j != i] for i, text in enumerate(texts)]
    return [statistics.fmean(each) if each else None for each in others]


def log_probability(rows: Sequence[Row], _context: PartContext) -> Scores:
    """The labeller's own mean log-probability of a token."""
    return [[label["avg_logprob"] for label in row["labels"]] for row in rows]


def word_probability(rows: Sequence[Row], _context: PartContext) -> Scores:
    """The labeller's own mean probability of a word."""
    return [[label_confidence([label])[0] for label in row["labels"]] for row in rows]


def loops(rows: Sequence[Row], _context: PartContext) -> Scores:
    """1 - the share of the text that goes round in circles."""
    return [[None if (share := repetition(label["text"] or "")) is None else 1 - share for label in row["labels"]] for row in rows]


def language(_context: PartContext) -> Evaluator:
    """The probability that the text is in the expected language."""
    from stages.score.language import TextLanguage

    written = TextLanguage()

    def evaluate(rows: Sequence[Row], _context: PartContext) -> Scores:
        return [[written(label["text"] or "", row["language"]).expected for label in row["labels"]] for row in rows]

    return evaluate


def ctc(context: PartContext) -> Evaluator:
    """1 - CER of what the embedded aligner hears by itself against what it would spell for the text: an opinion from the audio."""
    stage = aligner()
    stage.setup(context)

    def evaluate(rows: Sequence[Row], context: PartContext) -> Scores:
        pairs = [(index, row | {"text_raw": label["text"]}) for index, row in enumerate(rows) for label in row["labels"]]
        scores: Scores = [[] for _ in rows]
        # A text that cannot be aligned is no failure of the row: another label may be chosen.
        for (index, _), aligned in zip(pairs, stage.process([row for _, row in pairs], replace(context)), strict=True):
            spelled, heard = (
                ("".join(word[key] or "" for word in aligned["words"]) for key in ("spelled", "heard")) if is_live(aligned) else ("", "")
            )
            spelled = spelled.replace(WILDCARD, "")
            scores[index].append(1 - jiwer.cer(spelled, heard) if spelled else None)
        return scores

    return evaluate


def aligner() -> Align:
    """The aligner that `ctc` asks."""
    from stages.align import Align

    return Align(Align.Params(backend="embedded"))


EVALUATORS: dict[str, Callable[[PartContext], Evaluator]] = {
    "agreement": lambda _: agreement,
    "log_probability": lambda _: log_probability,
    "word_probability": lambda _: word_probability,
    "loops": lambda _: loops,
    "language": language,
    "ctc": ctc,
}
"""By name: what loads an evaluator, once a worker."""


def best(texts: Sequence[str], scores: Sequence[Sequence[float | None]]) -> int:
    """Index of the label with the best mean rank over the evaluators; of equals, the first. `scores`: of each evaluator, one a label.

    Equal scores share their rank, and a label that an evaluator says nothing about gets the middle one. A label without text is chosen
    only if none has any.

    >>> best(["a", "b", "c"], [[0.5, 0.9, 0.1], [None, 0.3, 0.2]]), best(["", "b"], [[0.9, 0.1]])
    (1, 1)
    """
    ranks = [statistics.fmean(each) for each in zip(*map(_ranks, scores), strict=True)]
    return min(range(len(texts)), key=lambda index: (not texts[index].strip(), ranks[index]))


def _ranks(scores: Sequence[float | None]) -> list[float]:
    known = [score for score in scores if score is not None and math.isfinite(score)]
    middle = (len(scores) - 1) / 2
    spread = (len(scores) - 1) / max(1, len(known) - 1)  # the best of two known among three labels is still the first, the other the last
    return [
        spread * (sum(other > score for other in known) + (sum(other == score for other in known) - 1) / 2)
        if score is not None and math.isfinite(score) and len(known) > 1
        else middle
        for score in scores
    ]
