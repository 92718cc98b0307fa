"""select: which segments a round trains on, and with which text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import jiwer
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from manifests.part import PartRef, read_part
from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext, PartStage, StageParams, is_live
from stages.normalise.text import normalise, punctuated
from stages.relabel import origin
from stages.rules import When, columns, holds
from stages.words import written_words


class Select(PartStage):
    """Set `train_text`, what the student of this round learns of a segment: null, if it does not learn from it. Nothing is dropped.

    A student that has heard the segment (`relabel`) is compared with the ORIGINAL label, in every round: where both wrote nearly the same
    (`tau`, a character error rate), the label is trusted. With `relabel` the student's text is what is learned, else the original one.
    This is the noisy student of GigaSpeech 2 (Yang et al. 2024, https://arxiv.org/abs/2406.11546, section 4), which published neither its code nor its tau.
    """

    name, version = "select", "2"
    reads: ClassVar[tuple[str, ...]] = ("text", "text_pnc", "language", "recording_id", "labels", "label_origin")
    adds = pa.schema([("original_cer", pa.float32()), ("train_text", pa.string()), ("train_scores", pa.list_(pa.float32()))])
    """`original_cer`: character errors of the student's text against the original label, normalised both; null without a student. `train_scores`: how
    probable each word of `train_text` was to the one that wrote it; null if that is not known of every word."""
    light = True

    class Params(StageParams):
        """What makes a label worth learning. All that is set must hold."""

        when: When = Field(None, description="DuckDB expression over the row's columns that must be true, such as `confidence >= 0.8`")
        tau: float | None = Field(None, ge=0, description="character error rate of the student's text against the original label, at most")
        keep: float | None = Field(
            None,
            gt=0,
            le=1,
            description="share of the audio that stays of what the others let pass: the lowest character error rates, or the highest confidences",
        )
        share: float = Field(
            1.0, gt=0, le=1, description="share of the recordings that this round may use; a smaller one is part of a larger one"
        )
        relabel: bool = Field(False, description="learn the student's text, where there is one, and not the original label")
        tier: Literal["text", "text_pnc"] = Field("text", description="what is learned: normalised (CTC) or as it is written (Whisper)")

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._heard = params.relabel or params.tau is not None
        self.surveys = params.keep is not None
        self._rank = "" if not self.surveys else "original_cer" if self._heard else "confidence"
        used = (*columns("when", params.when),) if params.when else ()
        further = (*used, *(("student_text",) if self._heard else ()), *(("confidence",) if self._rank == "confidence" else ()))
        self.reads = tuple(dict.fromkeys((*type(self).reads, *further)))  # type: ignore[misc]

    def survey(self, parts: Sequence[PartRef], store: Store, each: Callable[..., Iterable[Any]] = map) -> float:
        """How bad a segment may be, so that `keep` of the audio stays; see `_badness`."""
        found = np.concatenate([np.zeros((2, 0)), *each(partial(self._candidates, store), parts)], axis=1)
        order = np.argsort(found[0], kind="stable")
        seconds = np.cumsum(found[1][order])
        within = np.searchsorted(seconds, self.params.keep * seconds[-1] * (1 + 1e-9), side="right") if len(seconds) else 0
        return float(found[0][order][within - 1]) if within else -math.inf

    def _candidates(self, store: Store, ref: PartRef) -> npt.NDArray[np.float64]:
        """Badness and seconds of each segment of a part that all but `keep` let pass, shape (2, segments)."""
        table = read_part(store, ref, [*self.reads, "duration", "drop_reason"])
        rows = [row for row in table.to_pylist() if is_live(row)]
        compared = [self._compared(row) for row in rows]
        passing = self._passing(rows, compared, table.schema, 1)
        found = [(self._badness(row, cer), row["duration"]) for row, cer, well in zip(rows, compared, passing, strict=True) if well]
        return np.array(found, np.float64).reshape(-1, 2).T

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """Compare, choose, and write what is learned."""
        compared = [self._compared(row) for row in rows]
        passing = self._passing(rows, compared, context.schema, context.threads)
        for row, cer, well in zip(rows, compared, passing, strict=True):
            chosen = well and not (self.surveys and np.float32(self._badness(row, cer)) > np.float32(self.surveyed))
            text, writer = self._lesson(row) if chosen else ("", None)
            yield row | {"original_cer": cer, "train_text": text or None, "train_scores": scores(row, text, writer) if text else None}

    def _compared(self, row: Row) -> float | None:
        return original_cer(row) if self._heard else None

    def _passing(self, rows: Sequence[Row], compared: Sequence[float | None], schema: Any, threads: int) -> list[bool]:
        """Of each row, whether all but `keep` let it pass."""
        params = self.params
        when = holds(f"{self.name}.when", params.when, rows, schema, threads)
        return [
            well and _place(row["recording_id"]) < params.share and (params.tau is None or (cer is not None and cer <= params.tau))
            for row, cer, well in zip(rows, compared, when, strict=True)
        ]

    def _badness(self, row: Row, cer: float | None) -> float:
        """What `keep` keeps the least of; infinite where it is not known."""
        if self._rank == "confidence":
            return math.inf if row["confidence"] is None else -float(row["confidence"])
        return math.inf if cer is None else cer

    def _lesson(self, row: Row) -> tuple[str, str | None]:
        """The text, and who wrote it."""
        if not (self.params.relabel and row["student_text"]):
            return row[self.params.tier] or "", row["label_origin"]
        text = normalise(row["student_text"], row["language"]) if self.params.tier == "text" else punctuated(row["student_text"])
        return text, origin(row["student"])


def scores(row: Row, text: str, writer: str | None) -> list[float] | None:
    """The probability of each word of a text, by the label that it was made of; None where the words are others by now (numbers that were spelled out)."""
    label = next((label for label in row["labels"] or () if label["labeller"] == writer), {"scores": None})
    known: list[float | None] = label["scores"] or []
    found = [score for score in known if score is not None and math.isfinite(score)]
    return found if found and len(found) == len(known) == len(written_words(text)) else None


def original_cer(row: Row) -> float | None:
    """Character error rate of the student's text against the ORIGINAL label, both normalised; None where one of them is not there."""
    if row["student_text"] is None or not row["text"]:
        return None
    return float(jiwer.cer(row["text"], normalise(row["student_text"], row["language"])))


def _place(recording_id: str) -> float:
    """Where a recording stands in the order in which the training set grows, 0 to 1."""
    return int.from_bytes(blake2b(recording_id.encode(), digest_size=4, key=b"share").digest(), "big") / 2**32
