"""One text out of several labels: a vote on words, evaluators, the last of a cascade; and all of it through the engine, on real speech."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import stages
from manifests.corpus import Corpus
from manifests.labellers import labeller_hours
from manifests.part import to_table
from manifests.schema import LABELS, ROW, Row, extend
from pipeline.contract import PartContext
from pipeline.executors import InlineExecutor
from pipeline.progress import Progress
from pipeline.recipe import RecipeError, load
from pipeline.run import run
from stages.combine import Combine
from stages.combine.evaluators import EVALUATORS
from stages.score.agreement import comparable
from stages.transcribe import Transcribe
from stages.words import written_words
from tests.models import tiny_en_model
from tests.windows import Window, context, spoken, store_windows


def label(text: str | None, score: float | None = 0.9, name: str = "l", **more: Any) -> Row:
    scores = None if score is None else [score] * len(written_words(text or ""))
    return {"labeller": name, "text": text, "avg_logprob": -0.2, "no_speech_prob": 0.1, "compression_ratio": 1.0, "scores": scores} | more


def row(labels: Sequence[Row], language: str | None = "en") -> Row:
    first = labels[0] if labels else {"text": None, "labeller": None, "avg_logprob": None}
    return {
        "labels": list(labels), "text_raw": first["text"], "label_origin": first["labeller"], "language": language, "avg_logprob": first["avg_logprob"],
        "no_speech_prob": 0.1, "compression_ratio": 1.0, "audio_path": "none", "start": 0.0, "end": 1.0, "drop_reason": None,
    }  # fmt: skip


def combine(rows: list[Row], shared: PartContext | None = None, **params: Any) -> list[Row]:
    shared = shared or PartContext(store=None)
    stage = Combine(Combine.Params(**params))
    stage.identity()
    stage.setup(shared)
    return [children[0] for children in stage.apply(rows, shared)]


def vote(*labels: Row, language: str | None = "en", **params: float) -> str:
    return str(combine([row(labels, language)], **params)[0]["text_raw"])


def test_the_majority_wins_where_confidences_are_equal() -> None:
    assert vote(label("the cat sat on the mat"), label("a cat sat on the mat"), label("the cat sad on mat")) == "the cat sat on the mat"
    assert vote(label("good morning"), label("good morning everyone"), label("good morning everyone")) == "good morning everyone"
    assert vote(label("so good morning"), label("good morning"), label("good morning"), null_confidence=0.9) == "good morning"


def test_words_of_several_labels_are_parted_as_their_script_is() -> None:
    assert vote(label("hello", 0.9), label("hello world", 0.1), label("world", 0.9), alpha=1) == "hello world"
    assert vote(label("", 0.9), label("the", 0.9), label("cat", 0.8), alpha=0, null_confidence=0) == "the"


def test_confidence_beats_the_majority_where_it_counts() -> None:
    labels = label("the bat", 0.3), label("the bat", 0.3), label("the cat", 0.99)
    assert vote(*labels, alpha=0.3) == "the cat"
    assert vote(*labels, alpha=1) == "the bat"
    assert vote(label("yes it is", 0.2), label("yes", 0.99), null_confidence=0.5) == "yes"
    assert vote(label("yes it is", 0.7), label("yes", 0.99), null_confidence=0.5) == "yes it is"
    # One labeller says no more than how sure it is of the whole.
    assert vote(label("the bat", None, avg_logprob=-3.0), label("the cat", None, avg_logprob=-0.1)) == "the cat"


def test_words_are_compared_as_said_and_written_as_by_the_surest() -> None:
    assert vote(label("HELLO WORLD", 0.4), label("Hello, world!", 0.9), label("hello world", 0.5)) == "Hello, world!"
    assert (
        vote(label("It costs twenty one euros.", 0.5), label("It costs 21 euros", 0.8), label("it costs twenty-one yen", 0.3))
        == "It costs 21 euros."[:-1]
    )
    # "21" is not written where only half of it won.
    assert vote(label("twenty two", 0.9), label("twenty two", 0.9), label("21", 0.95)) == "twenty two"
    assert vote(label("well — yes.", 0.9), label("well yes", 0.5)) == "well — yes."


def test_scripts_without_spaces_vote_by_character() -> None:
    assert vote(label("你好。世界", 0.9), label("您好。世界", 0.8), label("hello", 0.1), language="zh") == "你好。世界"
    assert vote(label("今天天气很好。"), label("今天天汽很好"), label("今天天气很好"), language="zh") == "今天天气很好。"


def test_what_is_missing_or_broken_is_no_obstacle() -> None:
    nothing, one, same, scripts, silent, broken = combine(
        [
            row([]),
            row([label("Only one.", name="base")]),
            row([label("Hello there."), label("Hello there.")]),
            row([label("Привет мир", 0.9), label("hello world", 0.2)]),
            row([label("thank you", 0.05), label("", name="b"), label(None, name="c")]),
            row([label("hello", math.nan), label("hello", None, avg_logprob=math.nan), label("hello", 0.5, scores=[0.5, 0.5])], None),
        ]
    )
    assert (nothing["drop_reason"], nothing["label_agreement"]) == ("no_text", None)
    assert (one["text_raw"], one["label_origin"], one["label_agreement"]) == ("Only one.", "base", None)
    assert (same["text_raw"], same["label_origin"], same["label_agreement"]) == ("Hello there.", "rover", 1.0)
    assert (scripts["text_raw"], scripts["label_agreement"]) == ("Привет мир", 0.0)
    assert (silent["drop_reason"], silent["text_raw"], len(silent["labels"])) == ("no_text", "", 3)
    assert (broken["text_raw"], broken["avg_logprob"]) == ("hello", pytest.approx(-0.2))


words = st.lists(st.sampled_from(["the", "The", "cat", "21", "twenty", "one", "—", "好", "。", "[Music]", "🎵", "it's"]), max_size=12).map(
    " ".join
)


@given(st.lists(words, min_size=2, max_size=5), st.sampled_from(["en", "zh", None]), st.floats(0, 1), st.floats(0, 1))
def test_a_vote_says_nothing_that_no_label_says(texts: list[str], language: str | None, alpha: float, null: float) -> None:
    said = {word for text in texts for written in written_words(text) for word in comparable(written, language).split()}
    [voted] = combine([row([label(text) for text in texts], language)], alpha=alpha, null_confidence=null)
    assert all(word in said for written in written_words(voted["text_raw"]) for word in comparable(written, language).split())
    unanimous = combine([row([label(texts[0])] * 3, language)], alpha=alpha, null_confidence=null)[0]
    if alpha > 0 or null < 0.9:
        assert comparable(unanimous["text_raw"], language).split() == [
            word for written in written_words(texts[0]) for word in comparable(written, language).split()
        ]


def test_evaluators_choose_by_rank_and_leave_their_scores() -> None:
    labels = [
        label("the cat sat on the mat", 0.9, "a", avg_logprob=-0.5),
        label("the cat sat on the mat", 0.8, "b", avg_logprob=-0.1),
        label("le chat est sur le tapis maintenant", 0.95, "c", avg_logprob=-0.9),
    ]
    [chosen] = combine([row(labels)], choose="evaluators", evaluators=["agreement", "log_probability", "language"])
    assert (chosen["label_origin"], chosen["avg_logprob"], chosen["labels"]) == ("b", -0.1, labels)
    evaluations = {each["evaluator"]: each["scores"] for each in chosen["evaluations"]}
    assert evaluations["log_probability"] == [-0.5, -0.1, -0.9]
    assert evaluations["agreement"] == [0.5, 0.5, 0.0]
    assert evaluations["language"][0] > 0.5 > evaluations["language"][2]
    [lone] = combine([row(labels[2:])], choose="evaluators", evaluators=["word_probability"])
    assert (lone["label_origin"], lone["evaluations"]) == ("c", None)
    loop = [label("no " * 40, name="loop"), label("no, it is not", name="straight")]
    assert combine([row(loop)], choose="evaluators", evaluators=["loops"])[0]["label_origin"] == "straight"
    unknown = [label("", name="empty", score=0.99), label("a", None, "silent"), label("b", math.nan, "broken")]
    assert combine([row(unknown)], choose="evaluators", evaluators=["word_probability"])[0]["label_origin"] == "silent"


def test_the_last_of_a_cascade_is_taken_where_it_was_asked() -> None:
    rows = [row([label("a b", name="cheap"), label("a c", name="dear", avg_logprob=-0.01)]), row([label("a b", name="cheap")])]
    asked, not_asked = combine(rows, choose="last")
    assert (asked["text_raw"], asked["label_origin"], asked["avg_logprob"], asked["label_agreement"]) == ("a c", "dear", -0.01, 0.5)
    assert (not_asked["text_raw"], not_asked["label_origin"]) == ("a b", "cheap")
    assert rows[0]["text_raw"] == "a b", "rows of others are not changed"


def test_all_evaluators_can_be_asked_for() -> None:
    assert list(Combine.Params(choose="evaluators", evaluators=list(EVALUATORS)).evaluators) == list(EVALUATORS)
    with pytest.raises(ValueError, match="evaluators"):
        Combine.Params(evaluators=[])


# -- real speech ------------------------------------------------------------------------------------------------------


def labelled(root: Path, windows: list[Window], language: str, *labellers: dict[str, Any]) -> tuple[PartContext, list[Row]]:
    shared, rows = context(root), store_windows(root, [window.samples for window in windows], language)
    schema = ROW
    for number, params in enumerate(labellers):
        stage = Transcribe(Transcribe.Params(**params))
        stage.name = f"labeller{number}" if number else "transcribe"
        stage.setup(shared)
        shared.schema = schema
        rows = [children[0] for children in stage.apply(rows, shared)]
        schema = extend(schema, stage.adds)
    return shared, rows


@pytest.fixture(scope="module")
def english(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PartContext, list[Row], list[str]]:
    """Two windows of English prompts, each with three labels: base with beam 5 and 1, tiny.en."""
    tiny_en_model()
    windows = spoken("en", 2, 20, skip=46)  # where each of them leaves out some sentence
    labellers = {"model": "base"}, {"model": "base", "beam_size": 1}, {"model": "tiny.en"}
    shared, rows = labelled(tmp_path_factory.mktemp("english"), windows, "en", *labellers)
    return shared, rows, [window.text for window in windows]


def errors(texts: list[str], rows: list[Row], place: int | None = None) -> float:
    said = [each["text_raw"] if place is None else each["labels"][place]["text"] for each in rows]
    return float(jiwer.wer([comparable(text, "en") for text in texts], [comparable(text, "en") or "-" for text in said]))


def test_labellers_add_to_each_other(english: tuple[PartContext, list[Row], list[str]]) -> None:
    _, rows, _ = english
    for each in rows:
        names = [one["labeller"] for one in each["labels"]]
        assert names == ["faster-whisper/base", "faster-whisper/base (labeller1)", "faster-whisper/tiny.en (labeller2)"]
        first = each["labels"][0]
        assert (each["text_raw"], each["avg_logprob"], each["label_origin"]) == (first["text"], first["avg_logprob"], first["labeller"])
        assert [len(one["scores"]) for one in each["labels"]] == [len(written_words(one["text"])) for one in each["labels"]]
    assert to_table([{"labels": each["labels"]} for each in rows], extend(ROW, Transcribe.adds)).schema.field("labels").type == LABELS


@pytest.mark.parametrize("params", [{}, {"choose": "evaluators"}])
def test_together_they_are_better_than_each_alone(english: tuple[PartContext, list[Row], list[str]], params: dict[str, Any]) -> None:
    shared, rows, texts = english
    combined = combine(rows, shared, **params)
    alone = [errors(texts, rows, place) for place in range(3)]
    assert errors(texts, combined) < min(0.05, *alone)
    assert all(0 <= each["label_agreement"] <= 1 for each in combined)


def test_agreement_never_chooses_the_label_that_is_worst(english: tuple[PartContext, list[Row], list[str]]) -> None:
    """It likes the label in the middle: which that is depends on the arithmetic of the processor."""
    shared, rows, texts = english
    combined = combine(rows, shared, choose="evaluators", evaluators=["agreement", "word_probability", "ctc"])
    assert errors(texts, combined) <= sorted(errors(texts, rows, place) for place in range(3))[1]


def test_a_labeller_that_does_not_write_the_language_adds_nothing(base_model: Path, tmp_path: Path) -> None:
    tiny_en_model()
    shared, [french] = labelled(tmp_path, spoken("fr", 1, 4), "fr", {"model": "base", "beam_size": 1}, {"model": "tiny.en"})
    assert (len(french["labels"]), french["drop_reason"], shared.errors) == (1, None, 0)


RECIPE = {
    "decode": None, "segment": None, "transcribe": {"model": "base", "beam_size": 1},
    "second": {"stage": "transcribe", "model": "tiny.en", "beam_size": 1, "when": "avg_logprob < -0.3"},
    "combine": {"choose": "last"}, "align": None, "resegment": None,
}  # fmt: skip


def build(folder: Path, **changes: Any) -> str:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        json.dumps({"root": str(folder / "corpus"), "language": "en", "acquire": {"path": str(folder / "audio")}} | RECIPE | changes)
    )
    run(load(str(recipe), [], stages.find, stages.STAGES), InlineExecutor(), Progress(Console(file=io.StringIO())))
    return str(folder / "corpus")


def test_a_cascade_hears_what_the_first_is_unsure_of_and_no_row_is_lost(base_model: Path, tmp_path: Path) -> None:
    tiny_en_model()
    (tmp_path / "audio").mkdir()
    for number, window in enumerate(spoken("en", 2, 5, skip=30)):
        soundfile.write(tmp_path / "audio" / f"{number}.wav", window.samples, 16000)
    first = Corpus(build(tmp_path)).connection
    sure = sorted(value for (value,) in first.execute("SELECT avg_logprob FROM transcribe WHERE drop_reason IS NULL").fetchall())
    threshold = (sure[0] + sure[1]) / 2  # the dear one is asked about one window, whatever the figures are
    corpus = Corpus(build(tmp_path, second=RECIPE["second"] | {"when": f"avg_logprob < {threshold}"}))
    db = corpus.connection
    heard = db.execute(
        "SELECT avg_logprob, len(labels), label_origin FROM second WHERE drop_reason IS NULL ORDER BY avg_logprob"
    ).fetchall()
    assert [count for _, count, _ in heard] == [2] + [1] * (len(sure) - 1)
    assert {origin for _, _, origin in heard} == {"faster-whisper/base"}
    asked = db.execute("SELECT label_origin FROM combine WHERE len(labels) = 2").fetchall()
    assert asked == [("faster-whisper/tiny.en (second)",)]
    hours = labeller_hours(corpus, "second")
    assert [(each["labeller"], each["windows"]) for each in hours] == [
        ("faster-whisper/base", len(sure)),
        ("faster-whisper/tiny.en (second)", 1),
    ]
    assert (hours[0]["share"], 0 < hours[1]["share"] < 1) == (1.0, True)
    # The run has counted that rows in and rows made are rows out; every segment has every label of its window.
    cut = db.execute("SELECT window_id, text_raw, labels FROM resegment WHERE drop_reason IS NULL").fetchall()
    labels = dict(db.execute("SELECT segment_id, labels FROM combine").fetchall())
    for window, text, pieces in cut:
        assert [piece["labeller"] for piece in pieces] == [one["labeller"] for one in labels[window]]
        assert pieces[-1]["text"] == text
        assert all(len(piece["scores"]) == len(written_words(piece["text"])) for piece in pieces)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("avg_logprop < 0", "second reads avg_logprop, which no stage before it adds"),
        ("avg_logprob <", "is not a DuckDB expression"),
        ("max(avg_logprob) < 0", "max is not a function of one row's values"),
        ("avg_logprob", "second.when: 'avg_logprob' is FLOAT, not true or false"),
    ],
)
def test_when_is_checked(base_model: Path, tmp_path: Path, when: str, message: str) -> None:
    if message.startswith("second.when"):
        stage = Transcribe(Transcribe.Params(model="base", when=when))
        stage.name = "second"
        with pytest.raises(Exception, match=message):
            list(stage.process([{"avg_logprob": -1.0}], PartContext(store=None, schema=extend(ROW, Transcribe.adds))))
    else:
        with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
            build(tmp_path, second={"stage": "transcribe", "model": "base", "when": when})


@pytest.mark.parametrize("name", ["indicyt", "granary"])
def test_the_recipes_can_be_read(name: str) -> None:
    recipe = load(f"configs/{name}.yaml", ["root=out", "language=hi"], stages.find, stages.STAGES)
    assert [spec.name for spec in recipe.stages if type(spec.stage) is Transcribe][:2] == ["transcribe", "second"]
