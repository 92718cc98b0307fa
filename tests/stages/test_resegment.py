"""Windows cut at pauses: nothing lost, nothing twice, no word cut."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.schema import Row
from pipeline.contract import PartContext
from stages.resegment import Resegment


def resegment(row: Row, **params: float) -> list[Row]:
    [children] = Resegment(Resegment.Params(**params)).apply([row], PartContext(store=None))
    return children


def window(*words: tuple[str, float | None, float | None], text: str | None = None, start: float = 0.0, end: float = 30.0) -> Row:
    text = " ".join(word for word, _, _ in words) if text is None else text
    return {
        "recording_id": "00112233445566ff", "segment_id": "the window", "start": start, "end": end, "duration": end - start,
        "text_raw": text, "language": "en", "channel": "kept", "align_score": 0.5,
        "labels": [{"labeller": "other", "text": "something else"}, {"labeller": "base", "text": text, "avg_logprob": -0.1}],
        "words": [{"word": word, "start": a, "end": b, "score": 0.25 * (i + 1) if i < 4 else 1.0} for i, (word, a, b) in enumerate(words)],
    }  # fmt: skip


def test_a_window_is_cut_in_the_middle_of_its_pause_and_each_part_knows_where_it_came_from() -> None:
    row = window(("Hello", 1.0, 2.0), ("there.", 2.1, 8.0), ("How", 8.2, 9.0), ("are you?", 9.0, 15.0))
    first, second = resegment(row)
    assert (first["start"], first["end"], second["start"], second["end"]) == (0.85, 8.1, 8.1, 15.15)
    assert (first["segment_id"], second["segment_id"]) == ("00112233445566ff-00000850-00008100", "00112233445566ff-00008100-00015150")
    assert (first["duration"], second["duration"]) == (7.25, 7.05)
    assert (first["text_raw"], second["text_raw"]) == ("Hello there.", "How are you?")
    assert [word["word"] for word in second["words"]] == ["How", "are you?"]
    assert (first["align_score"], second["align_score"]) == (0.375, 0.875)
    assert second["labels"][1] == {"labeller": "base", "text": "How are you?", "avg_logprob": -0.1, "scores": None}
    assert first["window_id"] == second["window_id"] == "the window"
    assert first["channel"] == "kept"


def test_cuts_are_at_pauses_and_after_sentences_only() -> None:
    def texts(gap: float, word: str) -> list[str]:
        return [child["text_raw"] for child in resegment(window((word, 0.0, 6.0), ("b", 6.0 + gap, 12.0)))]

    assert texts(0.5, "a") == ["a", "b"]
    assert texts(0.49, "a") == ["a b"]
    assert texts(0.2, "a.") == ["a.", "b"]
    assert texts(0.2, "好。") == ["好。", "b"]
    assert texts(0.2, "a?”") == ["a?”", "b"]
    assert texts(0.2, "a,") == ["a, b"]
    assert texts(0.19, "a.") == ["a. b"]
    assert [child["text_raw"] for child in resegment(window(("a", 0.0, 28.0), ("b", 28.1, 30.0)))] == ["a b"]  # too long, but no pause


def test_segments_are_neither_snippets_nor_as_long_as_the_window() -> None:
    one_second_phrases = window(*[(f"w{i}", 1.5 * i, 1.5 * i + 1) for i in range(20)])
    durations = [child["words"][-1]["end"] - child["words"][0]["start"] for child in resegment(one_second_phrases)]
    assert len(durations) > 2
    assert all(2 <= duration <= 20 for duration in durations)
    assert all(child["duration"] <= 10.3 for child in resegment(one_second_phrases, min_duration=5, max_duration=10))
    assert len(resegment(window(("a", 0.0, 0.5), ("b", 1.5, 1.9)))) == 1  # two words of half a second stay together
    assert len(resegment(one_second_phrases, min_duration=0.5, max_duration=2)) == 20


def test_the_pad_ends_at_the_window() -> None:
    [child] = resegment(window(("a", 10.05, 19.95), start=10.0, end=20.0))
    assert (child["start"], child["end"]) == (10.0, 20.0)


def test_a_window_without_words_is_dropped_not_lost() -> None:
    for words in ([], None):
        [child] = resegment(window() | {"words": words})
        assert (child["drop_reason"], child["segment_id"]) == ("no_words", "the window")


def test_text_keeps_what_lies_between_the_words_and_scripts_without_spaces_stay_without() -> None:
    row = window(("Hello", 0.0, 6.0), ("world", 7.0, 13.0), ("again", 13.1, 13.4), text="  Hello —  world,  again! ")
    assert [child["text_raw"] for child in resegment(row)] == ["Hello —", "world,  again!"]
    row = window(("你", 0.0, 3.0), ("好。", 3.0, 6.0), ("世", 7.0, 9.0), ("界", 9.0, 13.0), text="你好。世界")
    assert [child["text_raw"] for child in resegment(row)] == ["你好。", "世界"]
    row = window((" Hello", 0.0, 6.0), (" World", 7.0, 13.0), text="Hello there World")  # the words are not those of the text
    assert [child["text_raw"] for child in resegment(row)] == ["Hello", "World"]


def test_broken_times_are_mended_without_touching_the_order() -> None:
    row = window(("a", 1.0, 5.0), ("b", None, math.nan), ("c", 0.5, 3.0), ("d", 8.0, 99.0), ("e", 9.0, 15.0), end=20.0)
    children = resegment(row)
    words = [word for child in children for word in child["words"]]
    assert [word["word"] for word in words] == list("abcde")
    assert [(word["start"], word["end"]) for word in words] == [(1.0, 5.0), (5.0, 5.0), (5.0, 5.0), (8.0, 9.0), (9.0, 15.0)]
    assert [child["text_raw"] for child in children] == ["a b c", "d e"]


def test_every_label_is_cut_where_the_chosen_one_is_and_its_scores_with_it() -> None:
    row = window(
        ("Good", 0.0, 3.0), ("morning.", 3.0, 6.0), ("It", 8.0, 9.0), ("is", 9.0, 9.5), ("21", 9.5, 11.0), ("degrees.", 11.0, 14.0)
    )
    row["labels"] = [
        {"labeller": "chosen", "text": row["text_raw"], "scores": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
        {"labeller": "longer", "text": "Um, good morning everyone. It's twenty-one degrees", "scores": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]},
        {"labeller": "late", "text": "— twenty one degrees! —", "scores": [0.1, 0.2, 0.3, 0.4, 0.5]},
        {"labeller": "other", "text": "Доброе утро", "scores": None},
        {"labeller": "silent", "text": "", "scores": []},
        {"labeller": "nothing", "text": None, "scores": None},
        {"labeller": "wrong", "text": "good morning", "scores": [0.5]},
    ]
    first, second = resegment(row)
    pairs = [
        (one["labeller"], one["text"], other["text"], one["scores"], other["scores"])
        for one, other in zip(first["labels"], second["labels"], strict=True)
    ]
    assert pairs[:3] == [
        ("chosen", "Good morning.", "It is 21 degrees.", [0.1, 0.2], [0.3, 0.4, 0.5, 0.6]),
        ("longer", "Um, good morning everyone.", "It's twenty-one degrees", [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7]),
        ("late", "—", "twenty one degrees! —", [0.1], [0.2, 0.3, 0.4, 0.5]),
    ]
    assert " ".join(pairs[3][1:3]).strip() == "Доброе утро"  # wherever it goes, it stays whole
    assert pairs[4:] == [
        ("silent", "", "", [], []),
        ("nothing", "", "", None, None),
        ("wrong", "good morning", "", None, None),  # as many scores as words, or none
    ]


def test_scripts_without_spaces_are_cut_by_character() -> None:
    row = window(("今", 0.0, 3.0), ("天。", 3.0, 6.0), ("你", 8.0, 9.0), ("好", 9.0, 14.0), text="今天。你好") | {"language": "zh"}
    row["labels"] = [{"labeller": "other", "text": "今日天,您好。", "scores": [0.1, 0.2, 0.3, 0.4, 0.5]}]
    assert [(child["labels"][0]["text"], child["labels"][0]["scores"]) for child in resegment(row)] == [
        ("今日天,", [0.1, 0.2, 0.3]),
        ("您好。", [0.4, 0.5]),
    ]


def test_an_hour_of_words_is_cut_in_no_time_and_as_a_window_is() -> None:
    row = window(*[(f"w{i}.", 0.9 * i, 0.9 * i + 0.6) for i in range(4000)], end=3600.0)
    durations = [child["duration"] for child in resegment(row)]
    assert len(durations) > 180
    assert all(2 <= duration <= 20 for duration in durations)


def test_what_aligners_say_of_a_word_stays_with_it() -> None:
    row = window(("a", 0.0, 6.0), ("b", 7.0, 13.0))
    row["words"] = [word | {"spelled": "a", "heard": "b", "characters": [{"character": "a"}]} for word in row["words"]]
    assert resegment(row)[1]["words"][0] == row["words"][1]


def test_scores_that_are_not_there_do_not_count() -> None:
    row = window(("a", 0.0, 3.0), ("b", 3.0, 6.0))
    row["words"][0]["score"] = None
    assert resegment(row)[0]["align_score"] == 0.5
    row["words"][1]["score"] = math.nan
    assert resegment(row)[0]["align_score"] is None


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_duration \(5.0\) is above max_duration \(3.0\)"):
        Resegment.Params(min_duration=5, max_duration=3)


seconds = st.one_of(st.floats(-5, 40), st.sampled_from([None, math.nan, math.inf, 10.0]))


@st.composite
def windows(draw: st.DrawFn) -> Row:
    """Anything that an aligner may give, good times and broken ones."""
    start = draw(st.floats(0, 20))
    words = draw(st.lists(st.sampled_from(["so", "it", "was.", "好", "…", "a", "—"]), min_size=1, max_size=25))
    if draw(st.booleans()):
        times = [(draw(seconds), draw(seconds)) for _ in words]
    else:
        at, times = start, []
        for _ in words:
            at += draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 0.7, 3.0])) + draw(st.floats(0, 0.01))
            times.append((at, at := at + draw(st.floats(0, 1.5))))
    separator = draw(st.sampled_from([" ", "", "  "]))
    row = window(*[(word, a, b) for word, (a, b) in zip(words, times, strict=True)], text=separator.join(words))
    other = draw(st.lists(st.sampled_from(["so", "It", "wasn't", "好", "…", "42", "—"]), max_size=25))
    row["labels"].append({"labeller": "third", "text": " ".join(other), "scores": None})
    return row | {"start": start, "end": start + draw(st.floats(0.01, 30))}


@given(windows(), st.sampled_from([{}, {"pad": 2.0}, {"pad": 0.0, "min_duration": 0.1, "max_duration": 1.0, "pause": 0.01}]))
def test_no_word_is_lost_cut_or_twice_whatever_the_times(row: Row, params: dict[str, float]) -> None:
    children = resegment(row, **params)
    assert [word["word"] for child in children for word in child["words"]] == [word["word"] for word in row["words"]]
    assert "".join("".join(child["text_raw"].split()) for child in children) == "".join(row["text_raw"].split())
    for index, label in enumerate(row["labels"]):
        assert "".join("".join(child["labels"][index]["text"].split()) for child in children) == "".join(label["text"].split())
    at = row["start"] - 1e-6
    for child in children:
        assert at <= child["start"] <= child["end"] <= row["end"] + 0.001
        at = child["end"]
        start_ms, end_ms = (int(number) for number in child["segment_id"].split("-")[1:])
        assert (start_ms / 1000, end_ms / 1000) == (child["start"], child["end"])
        inside = child["start"]
        for word in child["words"]:
            assert inside <= word["start"] <= word["end"] <= child["end"]
            inside = word["end"]
    assert len({child["segment_id"] for child in children}) == len(children)
