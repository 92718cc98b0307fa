"""The error of labels against gold: every error belongs to one segment; what is said of a corpus, and its figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.contract import SilverError
from stages.gold import read_gold
from stages.measures import SegmentErrors, wer
from workflows.evaluate.figure import page
from workflows.evaluate.gold import segment_errors
from workflows.evaluate.table import Judged, table


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.jsonl"
    prompts = [(0.0, 4.0, "one two three four"), (5.0, 9.0, "five six seven eight"), (10.0, 14.0, "ácento nine ten eleven")]
    path.write_text("\n".join(json.dumps({"episode": "a.mp3", "language": "xx", "start": s, "end": e, "text": t}) for s, e, t in prompts))
    return path


def segment(start: float, end: float, text: str, episode: str = "a.mp3") -> dict:
    return {"segment_id": f"{start}", "source_uri": f"http://x/{episode}", "start": start, "end": end, "text": text, "language": "xx"}


def errors(segments: list[dict], truth: Path) -> list[SegmentErrors]:
    return segment_errors(segments, read_gold(str(truth)), fold_accents=True)


def counts(segments: list[dict], truth: Path) -> dict[str, tuple[int, int]]:
    return {item.segment_id: (item.words, item.errors) for item in errors(segments, truth)}


def test_right_labels_have_no_errors_wherever_they_are_cut(truth: Path) -> None:
    segments = [segment(0, 6, "one two three four five"), segment(6, 14, "six seven eight acento nine ten eleven")]
    assert counts(segments, truth) == {"0": (5, 0), "6": (7, 0)}


def test_each_kind_of_error_belongs_to_its_segment(truth: Path) -> None:
    segments = [segment(0, 4, "one TWOO three four"), segment(5, 9, "five six extra seven eight"), segment(10, 14, "acento nine eleven")]
    assert counts(segments, truth) == {"0": (4, 1), "5": (4, 1), "10": (4, 1)}


def test_words_that_are_missing_belong_to_the_segment_nearest_in_time(truth: Path) -> None:
    segments = [segment(0, 5, "one two three four"), segment(8, 14, "acento nine ten eleven")]
    assert counts(segments, truth) == {"0": (5, 1), "8": (6, 2)}  # five; seven and eight; six is far from both and in neither


def test_what_is_not_in_the_corpus_is_no_error_of_a_label(truth: Path) -> None:
    assert counts([segment(5, 9, "five six seven eight")], truth) == {"5": (4, 0)}
    assert counts([segment(0, 4, "one two three four"), segment(10, 14, "acento nine ten eleven")], truth) == {"0": (4, 0), "10": (4, 0)}


def test_speech_where_nothing_was_said_is_all_wrong(truth: Path) -> None:
    assert counts([segment(20, 24, "thank you for watching")], truth) == {"20": (0, 4)}
    assert counts([segment(0, 4, "unknown", episode="b.mp3")], truth) == {}


def test_the_interval_holds_the_rate(truth: Path) -> None:
    result = wer(errors([segment(0, 4, "one TWOO three four"), segment(5, 14, "five six seven eight acento nine ten eleven")], truth))
    assert (result.words, result.errors, round(result.wer, 4)) == (12, 1, 0.0833)
    assert result.low <= result.wer <= result.high


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("g.jsonl", '{"episode": "a", "text": "x"}\n{broken', r"g\.jsonl:2 is no JSON"),
        ("g.jsonl", '{"episode": "a"}', r"g\.jsonl:1 needs a text and one of source_uri"),
        ("g.jsonl", '{"episode": "a", "text": "x", "start": "soon", "end": 2}', r"g\.jsonl:1: start='soon' is no time"),
        (
            "g.jsonl",
            '{"episode": "a", "text": "x", "start": 3, "end": 2}',
            r"g\.jsonl:1: start=3\.0 and end=2\.0 must both be given, in order",
        ),
        ("g.jsonl", "[1]", r"g\.jsonl:1 is no JSON object"),
        ("g.csv", "file,words\na,x\n", r"g\.csv:2 needs a text .*it has file, words"),
        ("g.jsonl", "\n", "is empty"),
    ],
)
def test_a_malformed_line_of_gold_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SilverError, match=message):
        read_gold(str(tmp_path / name))


def test_gold_without_times_and_tables_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("\ufefffile,text\na.mp3,one two three four five\n", encoding="utf-8")
    found = segment_errors([segment(0, 2, "one two"), segment(2, 4, "four five")], read_gold(str(tmp_path / "g.csv")))
    assert [(item.words, item.errors) for item in found] == [(3, 1), (2, 0)], "the missing word belongs to the label before it"


def test_gold_without_times_counts_no_speech_that_no_segment_holds(tmp_path: Path) -> None:
    gold = tmp_path / "g.jsonl"
    middle = " ".join(f"lost{n}" for n in range(100))
    gold.write_text(
        json.dumps({"file": "a.mp3", "text": f"before all that one two three {middle} four five six and a long goodbye to you"})
    )
    found = segment_errors([segment(10, 12, "one two three"), segment(70, 72, "four five six")], read_gold(str(gold)))
    assert all(item.words - 3 <= 6 and item.errors == item.words - 3 for item in found), "only the words next to a segment may be its own"
    inside = segment_errors([segment(10, 14, "before all that two three")], read_gold(str(gold)))
    assert inside[0].errors >= 1, "a word missing inside a label is an error of it"


def test_one_name_for_two_recordings_is_refused_and_a_quoted_name_found(truth: Path) -> None:
    twice = [segment(0, 4, "one two three four"), segment(0, 4, "one two three four") | {"source_uri": "http://y/a.mp3"}]
    with pytest.raises(SilverError, match=r"may be that of http://x/a\.mp3 or of http://y/a\.mp3: give the whole source_uri"):
        errors(twice, truth)
    assert counts([segment(0, 4, "one two three four") | {"source_uri": "http://x/%61.mp3?token=1"}], truth) == {"0": (4, 0)}


def test_no_error_in_a_sample_is_not_no_error_at_all() -> None:
    rate = wer([SegmentErrors(str(n), f"r{n}", "en", 10, 10, 0) for n in range(30)])
    assert rate.low == rate.wer == 0
    assert 0.09 < rate.high < 0.13


def judged_corpus() -> list[Judged]:
    """Forty segments; the confidence knows which are wrong."""
    found = []
    for number in range(40):
        wrong = number % 4
        row = segment(number, number + 1, "a b c d") | {
            "duration": 1.0,
            "confidence": 1 - wrong / 4,
            "label_confidence": 0.9,
            "language": "en",
        }
        found.append(Judged(row, SegmentErrors(str(number), f"r{number % 12}", "en", 4, 4, wrong, 8, wrong), wrong < 2))
    return found


def test_the_table_states_the_error_before_and_after_the_filter_with_its_interval() -> None:
    before, kept = table(judged_corpus())[:2]
    assert (before["slice"], before["segments"], before["words"], before["wer"]) == ("en", 40, 160, 0.375)
    assert before["low"] < 0.375 < before["high"]
    assert (kept["state"], kept["segments"], kept["wer"]) == ("kept", 20, 0.125)
    assert (before["expected_wer"], before["ece"], before["won"]) == (0.375, 0.0, 1.0), (
        "a confidence that is right is calibrated and ranks perfectly"
    )


def test_the_table_of_nothing_kept_and_of_no_confidence_has_gaps_and_no_error() -> None:
    judged = [Judged(item.row | {"confidence": None}, item.errors, kept=False) for item in judged_corpus()]
    before, kept = table(judged)[:2]
    assert (before["ece"], before["won"], before["expected_wer"]) == (None, None, None)
    assert (kept["segments"], kept["words"], kept["wer"]) == (0, 0, None)
    with pytest.raises(SilverError, match="no column 'chanel'"):
        table(judged, "chanel")


def test_the_figure_is_one_page_and_hostile_text_does_nothing() -> None:
    html = page(judged_corpus(), "<script>alert(1)</script>")
    assert "<script" not in html
    assert html.count("<svg") == 2
    assert "http" not in html, "nothing outside of it"
    assert "nan" not in page([Judged(item.row | {"confidence": None}, item.errors, kept=False) for item in judged_corpus()], "x")
