"""select and adopt: which labels a round learns, and whose text stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from manifests.part import Counts, to_table, write_part
from manifests.schema import LABELS, ROW, Row, extend
from manifests.store import Store
from pipeline.contract import PartContext
from stages.adopt import Adopt
from stages.select import Select

SCHEMA = extend(
    ROW,
    pa.schema(
        [
            ("text", pa.string()), ("text_pnc", pa.string()), ("text_raw", pa.string()), ("confidence", pa.float32()),
            ("student", pa.string()), ("student_text", pa.string()), ("student_avg_logprob", pa.float32()), ("labels", LABELS), ("label_origin", pa.string()),
        ]
    ),
)  # fmt: skip


def label(name: str, text: str, scores: list[float] | None) -> Row:
    return dict.fromkeys(field.name for field in LABELS.value_type) | {"labeller": name, "text": text, "scores": scores}


def segment(number: int, student: str | None = None, confidence: float | None = 0.9, **columns: Any) -> Row:
    told = {
        "source_id": f"{number:016x}", "recording_id": f"{number:016x}", "segment_id": str(number), "source_uri": "a.flac", "duration": 5.0,
        "language": "en", "text": "one two three four", "text_pnc": "One, two, three, four.", "text_raw": "One, two, three, four.",
        "confidence": confidence, "student": "models/train_1/0123456789abcdef", "student_text": student, "student_avg_logprob": -0.1,
        "label_origin": "whisper", "labels": [label("whisper", "One, two, three, four.", [0.9, 0.5, 0.8, 0.7])]
        + ([label("student/train_1/01234567", student, [0.25] * len(student.split()))] if student else []),
    }  # fmt: skip
    return dict.fromkeys(SCHEMA.names) | told | columns


def select(rows: list[Row], folder: Path, **params: Any) -> list[Row]:
    stage, store = Select(Select.Params(**params)), Store(str(folder))
    if stage.surveys:
        stage.surveyed = stage.survey([write_part(store, "manifests/x/y", "0", to_table(rows, SCHEMA), Counts.of(rows))], store)
    return list(stage.process(rows, PartContext(store, schema=SCHEMA)))


def learned(rows: list[Row]) -> list[str]:
    return [row["segment_id"] for row in rows if row["train_text"] is not None]


def test_what_the_student_disagrees_with_is_not_learned_and_not_lost(tmp_path: Path) -> None:
    rows = select([segment(1, "One two three four"), segment(2, "one to three for"), segment(3, "thanks for watching")], tmp_path, tau=0.2)
    assert learned(rows) == ["1", "2"]
    assert len(rows) == 3
    assert rows[0]["original_cer"] == 0
    assert rows[2]["original_cer"] > 0.5


def test_the_students_words_are_learned_only_if_asked_for(tmp_path: Path) -> None:
    heard = [segment(1, "One two, three for.")]
    assert select(heard, tmp_path, tau=0.5)[0]["train_text"] == "one two three four"
    assert select(heard, tmp_path, tau=0.5, relabel=True)[0]["train_text"] == "one two three for"
    assert select(heard, tmp_path, tau=0.5, relabel=True, tier="text_pnc")[0]["train_text"] == "One two, three for."


def test_how_probable_its_words_were_goes_with_the_text_of_whoever_wrote_it(tmp_path: Path) -> None:
    heard = [segment(1, "One two, three for.")]
    assert select(heard, tmp_path, tau=0.5)[0]["train_scores"] == [0.9, 0.5, 0.8, 0.7]
    assert select(heard, tmp_path, tau=0.5, relabel=True)[0]["train_scores"] == [0.25] * 4
    assert select(heard, tmp_path, tau=0.01)[0]["train_scores"] is None
    spelled_out = segment(2, text="twenty one sheep", labels=[label("whisper", "21 sheep.", [0.9, 0.8])])
    assert select([spelled_out], tmp_path)[0]["train_scores"] is None, "two scores cannot belong to three words"
    for unknown in (None, float("nan")):
        unsure = segment(3, text="one sheep", labels=[label("whisper", "One sheep.", [0.9, unknown])])
        assert select([unsure], tmp_path)[0]["train_scores"] is None, "not known of every word"


def test_the_first_round_keeps_the_most_confident_of_all_parts(tmp_path: Path) -> None:
    rows = select(
        [segment(1, confidence=0.5), segment(2, confidence=0.9), segment(3, confidence=None), segment(4, confidence=0.8)],
        tmp_path,
        keep=0.5,
    )
    assert learned(rows) == ["2", "4"]


def test_later_rounds_keep_those_nearest_to_the_original_label(tmp_path: Path) -> None:
    rows = select([segment(1, "one two three"), segment(2, "one two three four"), segment(3, "")], tmp_path, keep=0.67, relabel=True)
    assert learned(rows) == ["1", "2"]


def test_a_smaller_share_is_a_part_of_a_larger_one(tmp_path: Path) -> None:
    rows = [segment(number) for number in range(200)]
    half, most = (set(learned(select(rows, tmp_path, share=share))) for share in (0.5, 0.8))
    assert half < most
    assert 70 < len(half) < 130


def test_when_is_checked_as_a_rule_is(tmp_path: Path) -> None:
    assert learned(select([segment(1, confidence=0.95), segment(2, confidence=0.5)], tmp_path, when="confidence > 0.9")) == ["1"]
    with pytest.raises(ValidationError, match="not a DuckDB expression"):
        Select.Params(when="confidence >")


def test_a_student_that_writes_nothing_teaches_nothing(tmp_path: Path) -> None:
    assert learned(select([segment(1, "")], tmp_path, relabel=True, tau=2)) == ["1"], "the original label is still there"


def adopt(row: Row, **params: Any) -> Row:
    return Adopt(Adopt.Params(**params)).process_row(row, PartContext(None))  # type: ignore[arg-type]


def test_the_students_text_becomes_the_label_and_says_whose_it_is() -> None:
    row = adopt(segment(1, "One two three for."), tau=0.3, round=2)
    assert (row["text"], row["text_pnc"], row["round"]) == ("one two three for", "One two three for.", 2)
    assert row["label_origin"] == "student/train_1/01234567"


def test_what_the_last_student_does_not_agree_with_leaves_with_its_reason() -> None:
    row = adopt(segment(1, "thanks for watching"), tau=0.3)
    assert row["drop_reason"] == "student_disagrees"
    assert "'thanks for watching' against the label, above 0.3" in row["drop_detail"]
    assert adopt(segment(1, ""), tau=None)["drop_reason"] == "no_text"
    assert adopt(segment(1, "one two three for"), relabel=False)["text"] == "one two three four"
