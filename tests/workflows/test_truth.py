"""The error of labels against known transcripts: every error belongs to one segment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workflows.demo.truth import segment_errors, wer


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.jsonl"
    prompts = [(0.0, 4.0, "one two three four"), (5.0, 9.0, "five six seven eight"), (10.0, 14.0, "ácento nine ten eleven")]
    path.write_text("\n".join(json.dumps({"episode": "a.mp3", "language": "xx", "start": s, "end": e, "text": t}) for s, e, t in prompts))
    return path


def segment(start: float, end: float, text: str, episode: str = "a.mp3") -> dict:
    return {"segment_id": f"{start}", "source_uri": f"http://x/{episode}", "start": start, "end": end, "text": text, "language": "xx"}


def counts(segments: list[dict], truth: Path) -> dict[str, tuple[int, int]]:
    return {item.segment_id: (item.words, item.errors) for item in segment_errors(segments, truth)}


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
    result = wer(
        segment_errors([segment(0, 4, "one TWOO three four"), segment(5, 14, "five six seven eight acento nine ten eleven")], truth)
    )
    assert (result.words, result.errors, round(result.wer, 4)) == (12, 1, 0.0833)
    assert result.low <= result.wer <= result.high
