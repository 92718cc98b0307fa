"""The audit: who is drawn, the sheet and the page, and the error that a person's corrections state."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from manifests.audits import newest
from manifests.corpus import CURRENT, Corpus, Manifest
from manifests.part import Counts, read_rows, to_table, write_part
from pipeline.contract import SilverError
from stages.pack.sections import error
from tests.small_corpus import SCHEMA, SmallCorpus
from workflows.audit.main import begin, end
from workflows.audit.sample import draw, filtered
from workflows.audit.sheet import judgements, read_sheet

EVIL = '<script>alert("x")</script>'


def corpus(folder: Path, dropped: int = 20) -> Corpus:
    """A hundred kept segments and some that the filter dropped, of two languages and two channels."""
    small = SmallCorpus(folder)
    rows: list[dict[str, Any]] = []
    for language, channel in (("en", "talk"), ("fr", EVIL)):
        spans = [(float(n), n + 0.9) for n in range(50 + dropped // 2)]
        for number, row in enumerate(
            small.segments(f"http://x/{language}.mp3", ord(language[0]), spans, language=language, channel=channel)
        ):
            row |= {"text": "=apples pears plums dates figs" if number == 0 else "apples pears plums dates figs"}
            if number >= 50:
                row |= {"drop_stage": "filter", "drop_reason": "confidence", "drop_detail": "too low"}
            rows.append(row)
    manifest = Manifest(small.store, "filter", "feedbeef")
    manifest.write_info({"parameters": {"rules": {"confidence": "confidence > 0.5"}}, "fingerprint": "feedbeef"})
    part = write_part(small.store, manifest.folder, "0", to_table(rows, SCHEMA), Counts.of(rows))
    manifest.finish([part], "")
    small.store.write(CURRENT, json.dumps({"recipe": "x", "stages": [{"stage": "filter", "fingerprint": "feedbeef"}]}).encode())
    return Corpus(str(folder))


def sheet(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(folder) / "sheet.csv").open(encoding="utf-8", newline="")))


def write(path: Path, rows: list[dict[str, str]], delimiter: str = ",", encoding: str = "utf-8") -> str:
    sink = io.StringIO()
    table = csv.DictWriter(sink, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    path.write_text(sink.getvalue(), encoding=encoding)
    return str(path)


def test_every_language_channel_and_verdict_is_drawn_in_its_share(tmp_path: Path) -> None:
    _, rows = filtered(corpus(tmp_path))
    strata = draw(rows, 50, seed=1)
    assert {(stratum.kept, stratum.size) for stratum in strata} == {(True, 50), (False, 10)}
    assert sum(len(stratum.drawn) for stratum in strata if stratum.kept) == 40
    assert sum(len(stratum.drawn) for stratum in strata if not stratum.kept) == 10
    again = draw(rows, 50, seed=1)
    assert [[row["segment_id"] for row in s.drawn] for s in strata] == [[row["segment_id"] for row in s.drawn] for s in again]
    assert sum(len(stratum.drawn) for stratum in draw(rows, 1000, seed=1)) == len(rows), "no more than there are"


def test_corrections_state_the_error_with_an_interval_that_holds_it(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, drawn = begin(opened, 60, seed=0)
    rows = sheet(folder)
    assert len(rows) == drawn
    wrong = 0
    for number, row in enumerate(rows):
        row["verdict"] = "right"
        if number % 5 == 0 and row["text"].count(" ") == 4:
            row |= {"corrected": row["text"].replace("plums", "prunes"), "verdict": ""}
            wrong += 1
    statement, _ = end(opened, write(tmp_path / "done.csv", rows))
    whole = statement[0]
    assert (whole["of"], whole["segments"], whole["covered"]) == ("kept labels", 100, 1.0)
    assert whole["value"] == pytest.approx(wrong / (5 * drawn), abs=0.015), "one word of five, in every fifth segment"
    assert whole["low"] < whole["value"] < whole["high"]
    assert {row["of"] for row in statement} >= {"kept, en", "kept, fr", "dropped: share that was right"}
    assert newest(opened.store)["statement"] == statement


def test_what_was_wrongly_dropped_is_told_and_the_unusable_is_all_wrong(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 60, seed=0)
    dropped = {row["segment_id"] for row in filtered(opened)[1] if row["drop_reason"]}
    rows = sheet(folder)
    for row in rows:
        row["verdict"] = "right" if row["segment_id"] in dropped else "unusable"
    statement, _ = end(opened, write(tmp_path / "done.csv", rows))
    assert statement[0]["value"] == 1.0
    assert (statement[-1]["of"], statement[-1]["value"]) == ("dropped: share that was right", 1.0)
    assert 0.5 < statement[-1]["low"] < 0.9, "twelve are no proof"


def test_a_sheet_that_is_half_done_says_how_much_of_it_was_judged(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 60, seed=0)
    rows = sheet(folder)
    with pytest.raises(SilverError, match=r"nothing in .* is judged yet"):
        end(opened, write(tmp_path / "none.csv", rows))
    for row in rows:
        row["verdict"] = "right" if row["language"] == "en" else ""
    statement, _ = end(opened, write(tmp_path / "half.csv", rows, delimiter=";", encoding="utf-8-sig"))
    assert statement[0]["covered"] == 0.5, "nobody judged the French half"
    assert next(row for row in statement if row["of"] == "kept, fr")["value"] is None


def test_a_sheet_that_was_filled_in_is_never_written_over(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 30, seed=0)
    rows = sheet(folder)
    rows[0]["verdict"] = "right"
    write(Path(folder) / "sheet.csv", rows)
    assert begin(opened, 30, seed=0)[0] == folder
    assert sheet(folder)[0]["verdict"] == "right"


def test_the_same_audio_under_two_names_is_judged_once(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    manifest = opened.manifests[0]
    rows = [row | {"source_uri": "http://mirror/x"} for row in read_rows(opened.store, manifest.parts()[0])]
    again = write_part(opened.store, manifest.folder, "1", to_table(rows, SCHEMA), Counts.of(rows))
    manifest.finish([*manifest.parts(), again], "")
    folder, drawn = begin(Corpus(str(tmp_path)), 1000, seed=0)
    assert len({row["segment_id"] for row in sheet(folder)}) == drawn == 120


def test_audio_that_is_gone_is_named(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    for path in tmp_path.glob("audio/*/*.flac"):
        path.unlink()
    with pytest.raises(SilverError, match=r"audio/.*\.flac, the audio of .* cannot be read .*run the recipe again from `decode`"):
        begin(opened, 30, seed=0)


def test_when_nothing_kept_was_judged_the_card_says_so(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 60, seed=0)
    dropped = {row["segment_id"] for row in filtered(opened)[1] if row["drop_reason"]}
    rows = [row | {"verdict": "right" if row["segment_id"] in dropped else ""} for row in sheet(folder)]
    end(opened, write(tmp_path / "done.csv", rows))
    said = error(newest(opened.store))
    assert "none of those kept was judged" in said
    assert "None" not in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_id": "nobody"}, r"s\.csv:2: 'nobody' is no segment of this audit"),
        ({"text": "edited here"}, r"s\.csv:2: the text of .* is not the label any more; write what is right into `corrected`"),
        ({"verdict": "maybe"}, r"s\.csv:2: the verdict 'maybe' is none"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 30, seed=0)
    rows = sheet(folder)
    rows[0] |= {"verdict": "right"} | change
    with pytest.raises(SilverError, match=message):
        end(opened, write(tmp_path / "s.csv", rows))


def test_missing_columns_and_double_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("segment_id,text\na,b\n")
    with pytest.raises(SilverError, match="the columns corrected, verdict are missing"):
        read_sheet(str(tmp_path / "s.csv"))
    (tmp_path / "s.csv").write_text("segment_id,text,corrected,verdict\na,b,,right\na,b,,right\n")
    with pytest.raises(SilverError, match=r"s\.csv:3: a is judged twice"):
        judgements(read_sheet(str(tmp_path / "s.csv")), {"a": "b"})


def test_a_mistake_in_a_sheet_is_told_of_its_own_audit_where_there_are_several(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    begin(opened, 30, seed=1)
    folder, _ = begin(opened, 60, seed=0)
    rows = sheet(folder)
    rows[5]["verdict"] = "maybe"
    with pytest.raises(SilverError, match=r"s\.csv:7: the verdict 'maybe' is none"):
        end(opened, write(tmp_path / "s.csv", rows))


def test_text_from_the_web_is_neither_markup_nor_a_formula(tmp_path: Path) -> None:
    opened = corpus(tmp_path)
    folder, drawn = begin(opened, 1000, seed=0)
    html = (Path(folder) / "audit.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("<article") == html.count("data:audio/mpeg;base64,") == drawn
    assert "http" not in html, "no network"
    table = (Path(folder) / "sheet.csv").read_text(encoding="utf-8")
    assert ",=apples" not in table
    rows = sheet(folder)
    for row in rows:
        row["verdict"] = "right"
    assert end(opened, write(tmp_path / "done.csv", rows))[0][0]["value"] == 0.0, "the guard is taken off again"


def test_the_card_states_the_error_or_says_that_nobody_measured_it(tmp_path: Path) -> None:
    assert "has not been measured yet" in error(None)
    opened = corpus(tmp_path)
    folder, _ = begin(opened, 60, seed=0)
    rows = sheet(folder)
    for row in rows:
        row["verdict"] = "right"
    end(opened, write(tmp_path / "done.csv", rows))
    said = error(newest(opened.store))
    assert re.search(r"WER 0\.0 \(95 % 0\.0 to 0\.0[678]", said), "48 right labels do not prove that all are"
    assert "judged by a person" in said
    assert "<script>" not in said


def test_marks_of_the_desk_are_a_tally_and_no_statement(tmp_path: Path) -> None:
    opened = corpus(tmp_path / "root")
    rows = opened.query("SELECT segment_id, language, channel, text, drop_reason FROM segments ORDER BY segment_id")
    kept, dropped = ([row for row in rows if (row["drop_reason"] is None) is live and row["text"][0] != "="] for live in (True, False))
    lines = [
        {"segment_id": kept[0]["segment_id"], "text": kept[0]["text"], "corrected": "", "verdict": "right", "note": ""},
        {"segment_id": kept[1]["segment_id"], "text": kept[1]["text"], "corrected": "apples pears plums dates", "verdict": "", "note": "one too many"},
        {"segment_id": dropped[0]["segment_id"], "text": dropped[0]["text"], "corrected": "", "verdict": "right", "note": ""},
    ]  # fmt: skip
    table, sampled = end(opened, write(tmp_path / "marks.csv", lines))
    assert not sampled
    assert [(row["of"], row["measure"], row["value"], row["judged"]) for row in table] == [
        ("marked, kept", "wer", 0.1111, 2), ("marked, kept", "share right", 0.5, 2),
        ("marked, dropped: confidence", "wer", 0.0, 1), ("marked, dropped: confidence", "share right", 1.0, 1),
    ]  # fmt: skip
    assert not (tmp_path / "root" / "audits").exists(), "a choice of somebody's is no statement for the card"
    lines[0]["segment_id"] = "of another corpus"
    with pytest.raises(SilverError, match="has no audit yet"):
        end(opened, write(tmp_path / "marks.csv", lines))
