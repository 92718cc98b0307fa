"""The error of a corpus's labels against gold, before the filter and after it, and how well its confidence knew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manifests.corpus import Corpus
from pipeline.contract import SilverError
from stages.gold import Utterance
from stages.measures import SegmentErrors, cer, right_share, wer
from workflows.evaluate.gold import segment_errors
from workflows.evaluate.measures import expected_calibration_error, recovered_gain
from workflows.filtered import came_to, last_filter

COLUMNS = ("slice", "state", "segments", "hours", "words", "wer", "low", "high", "cer", "expected_wer", "ece", "won")


@dataclass(frozen=True)
class Judged:
    """One segment, its errors, and whether the filter kept it."""

    row: dict[str, Any]
    errors: SegmentErrors
    kept: bool

    @property
    def confidence(self) -> float | None:
        """As the corpus has it."""
        value: float | None = self.row.get("confidence")
        return value


def judge(corpus: Corpus, gold: Sequence[Utterance], *, fold_accents: bool = False) -> list[Judged]:
    """Every segment that came as far as the filter, where there is gold for its recording.

    Raises:
        SilverError: the corpus has no filter yet, or the gold is of other recordings.
    """
    rows = list(came_to(last_filter(corpus)))
    errors = {item.segment_id: item for item in segment_errors(rows, gold, fold_accents=fold_accents)}
    found = [Judged(row, errors[row["segment_id"]], row["drop_reason"] is None) for row in rows if row["segment_id"] in errors]
    if not found:
        raise SilverError(
            f"the gold knows none of the recordings of {corpus.store.root}: its source_uri, or file name, must be that of the corpus"
        )
    return found


def table(judged: Sequence[Judged], by: str = "language") -> list[dict[str, Any]]:
    """Two rows (before the filter, kept) for each value of the column `by`, and for all.

    WER and CER with the 95 % interval of the WER; what the confidence expected (`expected_wer`), its expected calibration error, and how much
    of what a perfect ranking wins it wins at 60 % of the words; null where there is no confidence.

    Raises:
        SilverError: no such column.
    """
    if judged and by not in judged[0].row:
        raise SilverError(f"there is no column {by!r} to take the segments apart by")
    slices: dict[str, list[Judged]] = defaultdict(list)
    for item in judged:
        slices[str(item.row[by])].append(item)
    rows = []
    for name, items in [*sorted(slices.items()), ("all", list(judged))]:
        rows.append(_line(name, "before the filter", items))
        rows.append(_line(name, "kept", [item for item in items if item.kept]))
    return rows


def _line(name: str, state: str, items: Sequence[Judged]) -> dict[str, Any]:
    errors = [item.errors for item in items]
    rate = wer(errors)
    words, wrong = [item.words for item in errors], [item.errors for item in errors]
    longer = [max(item.words, item.label_words) for item in errors]
    confidences = [item.confidence for item in items]
    known = [(confidence, weight) for confidence, weight in zip(confidences, longer, strict=True) if confidence is not None]
    weight = sum(weight for _, weight in known)
    right = right_share(words, [item.label_words for item in errors], wrong)
    gain = recovered_gain(confidences, words, wrong) if known else None
    return {
        "slice": name,
        "state": state,
        "segments": len(items),
        "hours": round(sum(item.row["duration"] for item in items) / 3600, 3),
        "words": rate.words,
        **(
            {"wer": round(rate.wer, 4), "low": round(rate.low, 4), "high": round(rate.high, 4), "cer": round(cer(errors).wer, 4)}
            if items
            else dict.fromkeys(("wer", "low", "high", "cer"))
        ),
        "expected_wer": round(1 - sum(confidence * weight for confidence, weight in known) / weight, 4) if weight else None,
        "ece": expected_calibration_error(confidences, longer, right) if known else None,
        "won": None if gain is None else round(gain, 3),
    }
