"""filter.target_wer: as much as an expected error rate allows, over the whole corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from manifests.part import Counts, PartRef, to_table, write_part
from manifests.schema import ROW, Row, extend
from manifests.store import Store
from pipeline.contract import PartContext
from stages.filter import Filter, lowest_confidence

SCHEMA = extend(ROW, pa.schema([("text", pa.string()), ("confidence", pa.float32()), ("snr_db", pa.float32())]))
TEN = "one two three four five six seven eight nine ten"


def segment(number: int, confidence: float | None, **columns: Any) -> Row:
    row = {"source_id": f"{number:016x}", "segment_id": str(number), "source_uri": "a.flac", "duration": 5.0, "text": TEN, "snr_db": 20.0}
    return dict.fromkeys(SCHEMA.names) | row | {"confidence": confidence} | columns


def stage(target: float | None, **rules: str | None) -> Filter:
    off = dict.fromkeys(Filter.Params().rules)
    return Filter(Filter.Params(rules=off | rules, target_wer=target))  # type: ignore[arg-type]


def filtered(found: Filter, parts: list[list[Row]], folder: Path) -> list[Row]:
    """The rows of all parts after the filter has surveyed them, as the engine does it."""
    store = Store(str(folder))
    refs: list[PartRef] = []
    for number, rows in enumerate(parts):
        refs.append(write_part(store, "manifests/confidence/x", str(number), to_table(rows, SCHEMA), Counts.of(rows)))
    if found.surveys:
        found.surveyed = found.survey(refs, store)
    context = PartContext(store, schema=SCHEMA)
    live = [[row for row in rows if row["drop_reason"] is None] for rows in parts]
    return [row for rows in live for row in found.process(rows, context)]


def test_the_most_confident_stay_as_long_as_the_mean_is_within_the_target(tmp_path: Path) -> None:
    parts = [[segment(1, 0.98), segment(2, 0.60)], [segment(3, 0.90), segment(4, 0.85)]]
    kept = [row["segment_id"] for row in filtered(stage(0.10), parts, tmp_path) if row["drop_reason"] is None]
    assert kept == ["1", "3", "4"], "(0.02 + 0.10 + 0.15) / 3 = 0.09, over both parts together"


def test_the_reason_names_the_target_and_the_confidence_that_it_took(tmp_path: Path) -> None:
    dropped = filtered(stage(0.10), [[segment(1, 0.98), segment(2, 0.60)]], tmp_path)[1]
    assert dropped["drop_reason"] == "target_wer"
    assert dropped["drop_detail"] == "target_wer: an expected WER of 0.1 takes a confidence of 0.98 (confidence=0.6)"


def test_what_the_rules_or_an_earlier_stage_dropped_counts_for_nothing(tmp_path: Path) -> None:
    noisy = segment(1, 0.99, snr_db=1.0)
    gone = segment(2, 0.99, drop_stage="segment", drop_reason="no_speech")
    rows = filtered(stage(0.10, snr="snr_db > 5"), [[noisy, gone, segment(3, 0.85), segment(4, 0.93)]], tmp_path)
    assert [(row["segment_id"], row["drop_reason"]) for row in rows] == [("1", "snr"), ("3", "target_wer"), ("4", None)]


def test_a_row_without_confidence_cannot_be_promised(tmp_path: Path) -> None:
    rows = filtered(stage(0.5), [[segment(1, None), segment(2, 0.9)]], tmp_path)
    assert rows[0]["drop_detail"] == "target_wer: no confidence (NULL)"
    assert rows[1]["drop_reason"] is None


def test_a_target_that_nothing_meets_says_so(tmp_path: Path) -> None:
    row = filtered(stage(0.01), [[segment(1, 0.5)]], tmp_path)[0]
    assert "no segment is confident enough for an expected WER of 0.01" in row["drop_detail"]


def test_without_a_target_nothing_is_surveyed_and_no_confidence_is_needed(tmp_path: Path) -> None:
    found = stage(None)
    assert not found.surveys
    assert "confidence" not in found.reads
    assert filtered(found, [[segment(1, None)]], tmp_path)[0]["drop_reason"] is None


def test_equal_confidences_stay_or_leave_together() -> None:
    confidences, words = np.array([0.9, 0.8, 0.8, 0.8]), np.full(4, 10.0)
    assert lowest_confidence(confidences, words, 0.16) == 0.9
    assert lowest_confidence(confidences, words, 0.18) == 0.8
    assert lowest_confidence(np.zeros(0), np.zeros(0), 0.1) > 1


@pytest.mark.parametrize("target", [0, 1, -0.1, "many"])
def test_a_target_is_a_share(target: Any) -> None:
    with pytest.raises(ValidationError):
        Filter.Params(target_wer=target)
