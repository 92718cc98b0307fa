"""Which rows a corpus keeps, and what it says of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pydantic import ValidationError

from manifests.part import to_table
from manifests.schema import LABELS, ROW, WORDS, Row, extend
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.audio import SAMPLE_RATE
from stages.filter import DEFAULT_RULES, Filter
from stages.normalise import Normalise
from stages.normalise.text import normalise
from stages.score import Score
from tests.speech import long_speech, prompts

BEFORE = pa.schema(
    [
        ("audio_path", pa.string()),
        ("text_raw", pa.string()),
        ("labels", LABELS),
        ("words", WORDS),
        ("audio_language", pa.string()),
        ("audio_language_probability", pa.float32()),
        ("avg_logprob", pa.float32()),
    ]
)
SCHEMA = extend(extend(extend(ROW, BEFORE), Normalise.adds), Score.adds)
GOOD = {
    "text_raw": "Please hold while I try to locate the person you are calling.",
    "language": "en",
    "start": 0.0,
    "duration": 4.0,
    "audio_path": "audio/a.flac",
    "audio_language": "en",
    "audio_language_probability": 0.98,
    "avg_logprob": -0.2,
    "labels": [],
    "words": [],
}
REPORT = "Thank you, Mr President, for the excellent report."


def filtered(rows: list[Row], schema: pa.Schema = SCHEMA, only: bool = False, **rules: str | None) -> list[Row]:
    """The rows after `filter` with these rules beside the default ones, or with these only."""
    off = dict.fromkeys(DEFAULT_RULES) if only else {}
    stage = Filter(Filter.Params(rules=off | rules))  # type: ignore[arg-type]
    # As the engine hands them on: a part that was written and read.
    rows = to_table(rows, schema).to_pylist()
    return [row for (row,) in stage.apply(rows, PartContext(store=None, schema=schema))]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> PartContext:
    root: Path = tmp_path_factory.mktemp("corpus")
    (root / "audio").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * SAMPLE_RATE)
    soundfile.write(root / "audio" / "a.flac", noise.astype(np.float32), SAMPLE_RATE)
    soundfile.write(root / "audio" / "speech.flac", long_speech("en", 5)[0], SAMPLE_RATE)
    return PartContext(store=Store(str(root)))


def scored(context: PartContext, changes: dict[str, Any]) -> Row:
    """A row as it comes out of normalise and score."""
    row: Row = GOOD | changes
    row["end"] = row["start"] + row["duration"]
    for stage in (Normalise(Normalise.Params()), Score(Score.Params())):
        stage.setup(context)
        ((row,),) = stage.apply([row], context)
        assert row.get("drop_reason") is None
    return row


def labels(*texts: str) -> dict[str, Any]:
    return {"text_raw": texts[0], "labels": [{"labeller": f"l{n}", "text": text} for n, text in enumerate(texts)]}


def timed(audio_path: str, *spans: tuple[float, float]) -> dict[str, Any]:
    words = [{"word": "word", "start": start, "end": end} for start, end in spans]
    return {"audio_path": audio_path, "words": words}


IN_SPEECH = [(float(start), float(end)) for start, end, _ in long_speech("en", 5)[1] if end <= GOOD["duration"]]  # type: ignore[operator]
NORWEGIAN = {"text_raw": "Jeg vet ikke hvorfor hun ikke kom på skolen i går."}
CHINESE = {"language": "zh", "audio_language": "zh"}
DICKENS = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of belief, "
    "it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was the spring of hope, it was the winter of "
    "despair, we had everything before us, we had nothing before us, we were all going direct to Heaven, we were all going direct the other way."
)
LIST = " ".join(f"And then I go to the house of {name}." for name in ("Tom", "Ann", "Bob", "Sue", "Max", "Eve", "Jim", "Kim", "Joe", "Amy"))
RUSSIAN = {"language": "ru", "audio_language": "ru"}


@pytest.mark.parametrize(
    ("rule", "goes", "stays"),
    [
        ("duration", {"text_raw": "Hello there.", "duration": 0.8}, {"text_raw": "Hello there.", "duration": 1.1}),
        ("duration", {"duration": 31.0}, {"duration": 30.0}),
        ("audio_language", {"audio_language": "nl"}, {"language": "en-US"}),
        (
            "audio_language",
            {"audio_language": "da", "language": "nb-NO", **NORWEGIAN},
            {"audio_language": "no", "language": "nb-NO", **NORWEGIAN},
        ),
        ("audio_language", {"audio_language": None}, {"language": None, "audio_language": "nl"}),
        ("audio_language_probability", {"audio_language_probability": 0.69}, {"audio_language_probability": 0.7}),
        ("audio_language_probability", {"audio_language_probability": None}, {}),
        (
            "text_language",
            {"text_raw": "De trein naar Amsterdam vertrekt over tien minuten van spoor vijf."},
            {"text_raw": "We had spaghetti carbonara and a bottle of chianti at the trattoria."},
        ),
        (
            "charset",
            RUSSIAN | {"text_raw": "Privet, kak dela?"},
            RUSSIAN | {"text_raw": "Вчера вечером я купил себе новый iPhone в магазине около дома."},
        ),
        (
            "text_language",
            {"text_raw": "El tren para Madrid sale dentro de diez minutos desde la vía cinco."},
            {"text_raw": "Press star to cancel this message."},  # fastText gives 0.11 to English, langid 1
        ),
        ("letters_per_second", {"duration": 1.1}, {"duration": 2.0}),
        ("letters_per_second", {"text_raw": "Yes, of course.", "duration": 20.0}, {"text_raw": "Yes, of course.", "duration": 5.0}),
        (
            "letters_per_second",
            CHINESE | {"text_raw": "今天天气很好我们一起去公园散步然后回家吃饭", "duration": 1.2},
            CHINESE | {"text_raw": "今天天气很好我们一起去公园散步然后回家吃饭"},
        ),
        ("repetition", {"text_raw": "I don't know what to do. " * 3}, {"text_raw": "No, no, no.", "duration": 1.1}),
        (
            "repetition",
            {"text_raw": "We are back after this break. " * 3 + "Joyful quick jazz.", "duration": 9.0},
            {"text_raw": "No, no, no, that is not what I said at all, no."},
        ),
        (
            "text_compression_ratio",
            {"text_raw": LIST, "duration": 20.0},
            {"text_raw": DICKENS, "duration": 28.0},
        ),
        ("hallucination", {"text_raw": "Thank you for watching!"}, {"text_raw": REPORT}),
        (
            "hallucination",
            {"text_raw": "Subtitles by the Amara.org community"},
            {"text_raw": "Thank you. Thank you very much.", "duration": 2.0},
        ),
        ("text_on_silence", timed("audio/a.flac", (0.5, 1.0), (1.0, 2.0)), timed("audio/a.flac")),
        ("text_on_silence", timed("audio/a.flac", (0.5, 1.0)), timed("audio/speech.flac", *IN_SPEECH, (3.9, 3.95))),
        ("avg_logprob", {"avg_logprob": -1.2}, {"avg_logprob": -0.9}),
        ("avg_logprob", {"avg_logprob": -1.01}, {"avg_logprob": None}),
        ("agreement", labels(REPORT, "Thank you, Mr President, for the accident report."), labels(REPORT, REPORT.lower().replace(",", ""))),
        ("agreement", labels(REPORT, ""), labels(REPORT)),
    ],
)
def test_each_default_rule_drops_what_must_go_and_keeps_what_only_looks_like_it(
    context: PartContext, rule: str, goes: dict[str, Any], stays: dict[str, Any]
) -> None:
    bad, good = filtered([scored(context, goes), scored(context, stays)])
    assert bad["drop_reason"] == rule
    assert bad["drop_detail"].startswith(f"{rule}: {DEFAULT_RULES[rule][:39]}")
    assert good["drop_reason"] is None, good["drop_detail"]


TEXT_RULES = {"text_language", "charset", "repetition", "text_compression_ratio", "hallucination"}


def test_every_default_rule_has_a_row_that_goes() -> None:
    (cases,) = [
        mark.args[1]
        for mark in test_each_default_rule_drops_what_must_go_and_keeps_what_only_looks_like_it.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]
    assert {rule for rule, _, _ in cases} == set(DEFAULT_RULES)


def test_the_default_rules_about_text_lose_no_real_transcript_and_few_texts_of_another_language_pass(context: PartContext) -> None:
    score = Score(Score.Params())
    score.setup(context)
    rules = {name: rule for name, rule in DEFAULT_RULES.items() if name in TEXT_RULES}
    texts = {language: [prompt.text for prompt in prompts(language)] for language in ("en", "es", "fr")}
    for expected, other in (("en", "es"), ("es", "fr"), ("fr", "en")):
        rows = []
        for language in (expected, other):
            for text in texts[language]:
                row = {"text_raw": text, "text": normalise(text, expected), "language": expected, "duration": 3.0, "start": 0.0, "end": 3.0}
                rows.append(GOOD | row | score._of_text(row))
        done = filtered(rows, only=True, **rules)
        right, wrong = done[: len(texts[expected])], [row for row in done[len(texts[expected]) :] if len(row["text"]) >= 30]
        assert [row["text"] for row in right if row["drop_reason"] and row["text"]] == []
        assert sum(row["drop_reason"] == "text_language" for row in wrong) > 0.97 * len(wrong)


def test_all_failing_rules_are_named_with_the_values_they_saw() -> None:
    (row,) = filtered(
        [{"duration": 0.5, "language": "en", "channel": None, "title": "x" * 100}],
        ROW,
        only=True,
        long_enough="duration >= 1 AND title <> ''",
        dutch="language = 'nl'",
        known="channel <> 'bad'",
        fine="duration < 1",
    )
    assert row["drop_reason"] == "long_enough;dutch;known"
    assert row["drop_detail"] == (
        f"long_enough: duration >= 1 AND title <> '' (duration=0.5, title='{'x' * 39}…'); "
        "dutch: language = 'nl' (language='en'); known: channel <> 'bad' (channel=NULL)"
    )


def test_the_values_of_a_row_that_breaks_many_rules_fit_into_its_detail(context: PartContext) -> None:
    wrong = {"text_raw": "Вчера вечером я купил себе новый телефон в магазине.", "audio_language": "ru", "audio_language_probability": 0.5}
    (row,) = filtered([scored(context, wrong | {"avg_logprob": -1.5})])
    assert row["drop_reason"] == "audio_language;audio_language_probability;text_language;charset;avg_logprob"
    assert row["drop_detail"].endswith("avg_logprob: avg_logprob IS NULL OR avg_logprob >= -1 (avg_logprob=-1.5)")
    assert "(language='en', audio_language='ru')" in row["drop_detail"]


def test_what_cannot_be_measured_does_not_pass() -> None:
    rows = [{"duration": value, "channel": None} for value in (5.0, None, float("nan"), float("inf"))]
    kept = [row["drop_reason"] for row in filtered(rows, ROW, only=True, long="duration > 1")]
    assert kept == [None, "long", "long", None]  # to DuckDB alone NaN is greater than 1
    assert filtered([{"channel": None}], ROW, only=True, r="channel = 'a'")[0]["drop_reason"] == "r"
    assert filtered([{"channel": None}], ROW, only=True, r="channel IS NULL")[0]["drop_reason"] is None


def test_rows_keep_their_order_and_their_columns() -> None:
    rows = [{"source_id": str(n), "duration": float(n % 7)} for n in range(5000)]
    done = filtered(rows, ROW, only=True, some="duration >= 3")
    assert [row["source_id"] for row in done] == [row["source_id"] for row in rows]
    assert [row["drop_reason"] is None for row in done] == [row["duration"] >= 3 for row in rows]
    assert to_table(done, ROW).num_rows == 5000


def test_lists_and_structures_can_be_asked() -> None:
    schema = extend(ROW, pa.schema([("words", pa.list_(pa.struct([("word", pa.string()), ("score", pa.float32())])))]))
    rows = [{"words": [{"word": "a", "score": score}, {"word": "b", "score": 0.9}]} for score in (0.8, 0.1)]
    rule = "list_min(list_transform(words, lambda w: w.score)) > 0.5 AND words[1].word = 'a' AND [w.word for w in words] <> []"
    good, bad = filtered(rows, schema, only=True, words=rule)
    assert good["drop_reason"] is None
    assert bad["drop_detail"].endswith("(words=2 entries)")


def test_no_rules_keep_all_and_no_rows_are_fine() -> None:
    assert filtered([{"title": "a"}], ROW, only=True)[0]["drop_reason"] is None
    assert filtered([], ROW, only=True, r="duration > 1") == []


@pytest.mark.parametrize("off", [None, "", "  "])
def test_a_default_rule_is_switched_off_or_replaced(off: str | None) -> None:
    assert "duration" not in Filter.Params(rules={"duration": off}).rules  # type: ignore[dict-item]
    assert Filter.Params(rules={"duration": "duration > 2"}).rules == DEFAULT_RULES | {"duration": "duration > 2"}
    assert list(Filter.Params(rules={"zz": "true"}).rules) == [*DEFAULT_RULES, "zz"]


@pytest.mark.parametrize(
    "hostile",
    [
        "1; drop table x",
        "true) from row_; drop table row_ --",
        "true) union select (true",
        "read_csv('/etc/passwd')",
        "(select count(*) from read_text('/etc/passwd')) > 0",
        "exists(from '/etc/passwd')",
        "duration > (select max(duration) from row_)",
        "getenv('HOME') = 'x'",
        "current_setting('threads') > 0",
        "query('select 1')",
        "random() > 0.5",
        "now() > published",
        "current_localtimestamp() > published::timestamp",
        "age(published::timestamp) > interval 1 year",
        "(select 1 from read_csv('/etc/passwd'))",
        "read_text('/etc/passwd') is not null",
        "count(*) > 1",
        "row_number() over () > 1",
        "* > 1",
        "columns(*) > 1",
        "duration > $1",
        "#1 > 1",
        "duration >",
        "'open",
        "true)/*",
        "len(list_filter(words, w -> w.score > 1)) = 0",
        "title.upper() = 'A'",
    ],
)
def test_what_is_not_an_expression_over_one_row_is_refused_before_any_work(hostile: str) -> None:
    with pytest.raises(ValidationError, match="rule mine: "):
        Filter.Params(rules={"mine": hostile})


@pytest.mark.parametrize("name", ["a b", "1st", "a;b", "", "x-y", "é"])
def test_rules_are_named_by_identifiers(name: str) -> None:
    with pytest.raises(ValidationError, match="not a name for a rule"):
        Filter.Params(rules={name: "true"})


def test_a_wrong_column_is_reported_with_the_rule_and_the_nearest_one() -> None:
    with pytest.raises(SilverError, match=r"rule long: there is no column 'duratoin'; did you mean 'duration'\?"):
        filtered([{"duration": 1.0}], ROW, only=True, long="duratoin > 1")
    with pytest.raises(SilverError, match="no column 'current_date'"):
        filtered([{"duration": 1.0}], ROW, only=True, clock="current_date > published")
    with pytest.raises(SilverError, match="rule r: 'duration' is DOUBLE, not true or false"):
        filtered([{"duration": 1.0}], ROW, only=True, r="duration")
    with pytest.raises(SilverError, match=r"rule r: .*title::int.*Could not convert string 'x'"):
        filtered([{"title": "x"}], ROW, only=True, r="title::int > 1")
    with pytest.raises(SilverError, match="rule r: "):
        filtered([{"title": "x"}], ROW, only=True, r="no_such_column IS NULL")


def test_what_it_reads_is_what_its_rules_name() -> None:
    reads = Filter(
        Filter.Params(rules=dict.fromkeys(DEFAULT_RULES) | {"a": "Duration > 1 AND title = 'duration_2'", "b": "start < 9"})
    ).reads  # type: ignore[arg-type]
    assert set(reads) == {"duration", "title", "start"}
    assert Filter.reads == ()
