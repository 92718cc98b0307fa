"""Which texts are unlike their corpus, and what a recording may not say in favour of itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from manifests.part import Counts, PartRef, to_table, write_part
from manifests.schema import ROW, Row, extend
from manifests.store import Store
from pipeline.contract import CorpusContext
from stages import perplexity as stage_module
from stages.ngrams import NGrams
from stages.normalise.text import normalise
from stages.perplexity import Perplexity, Samples
from tests.speech import prompts

SCHEMA = extend(ROW, pa.schema([("text", pa.string()), ("audio_language", pa.string())]))


def spoken(language: str) -> list[str]:
    return [text for prompt in prompts(language) if (text := normalise(prompt.text, language))]


def rows_of(texts: Iterable[str | None], recordings: int = 20, **columns: Any) -> list[Row]:
    return [
        {"segment_id": f"{n}", "recording_id": f"r{n % recordings}", "language": "en", "text": text, "duration": 2.0} | columns
        for n, text in enumerate(texts)
    ]


def scored(root: Path, *parts: list[Row], shuffle: bool = False) -> list[list[float | None]]:
    """The column of each part. `shuffle`: the parts come to the sample in another order, as on a cluster that lost some."""
    store = Store(str(root))
    refs = [write_part(store, "manifests/score/feed", f"{n}", to_table(rows, SCHEMA), Counts.of(rows)) for n, rows in enumerate(parts)]
    context = CorpusContext(
        store=store, previous=[], part_seconds=900, fingerprint="f00d", recipe={}, map=_backwards_first if shuffle else map
    )
    tables = list(Perplexity(Perplexity.Params()).run(refs, context))
    assert [table.num_rows for table in tables] == [len(rows) for rows in parts]
    assert not store.exists("models/perplexity/f00d")
    assert all(table.schema == extend(SCHEMA, Perplexity.adds) for table in tables)
    return [table.column("perplexity").to_pylist() for table in tables]


def _backwards_first(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    listed = list(items)
    done = [function(item) for item in reversed(listed)]
    return iter(done if isinstance(listed[0], PartRef) and isinstance(done[0], dict) else done[::-1])


@pytest.fixture(autouse=True)
def small_corpora_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "LEAST", 1500)


def test_probabilities_of_a_context_sum_to_one() -> None:
    texts = spoken("en")[:60]
    model = NGrams.fit(texts, 6)
    for context in ("", "t", "th", "the ", "zzz", "please", "q"):
        letters = [*map(chr, model.alphabet.tolist()), "☃"]
        before = np.log(model.perplexities([context])[0]) * len(context) if context else 0.0
        total = sum(math.exp(before - np.log(model.perplexities([context + letter])[0]) * (len(context) + 1)) for letter in letters)
        assert total == pytest.approx(1, abs=1e-4)


def test_a_model_is_kept_and_read_back() -> None:
    model = NGrams.fit(["hello world", "你好 мир"], 4)
    again = NGrams.from_bytes(model.to_bytes())
    texts = ["hello", "мир", "xyz", ""]
    np.testing.assert_array_equal(model.perplexities(texts), again.perplexities(texts))
    assert NGrams.fit(["hello world", "你好 мир"], 4).to_bytes() == model.to_bytes()
    assert np.isnan(model.perplexities([""])).all()
    assert np.isfinite(NGrams.fit(["a", "b"], 6).perplexities(["a", "ab", "abcdefgh", "\U0001f600"])).all()


def test_garbled_and_foreign_texts_stand_out_in_a_real_corpus(tmp_path: Path) -> None:
    english, spanish = spoken("en"), [text for text in spoken("es") if len(text) > 20][:5]
    rng = random.Random(0)
    garbled = ["".join(rng.sample(text, len(text))) for text in english if len(text) > 30][:5]
    rows = rows_of([*english, *spanish, *garbled])
    for row in rows[len(english) :]:
        row["recording_id"] = "another"
    (values,) = scored(tmp_path, rows)
    usual = float(np.median([value for value in values[: len(english)] if value is not None]))
    assert 1 < usual < 8
    assert min(values[len(english) : -5]) > 2 * usual  # type: ignore[type-var]
    assert min(values[-5:]) > 4 * usual  # type: ignore[type-var]


def test_a_recording_does_not_vouch_for_itself(tmp_path: Path) -> None:
    english = spoken("en")
    loop = "xylophone quartz jukebox vamp"
    rows = rows_of([*english, *[f"{loop} {n}" for n in range(40)]])
    for row in rows[len(english) :]:
        row["recording_id"] = "the stuck one"
    (values,) = scored(tmp_path, rows)
    assert min(values[len(english) :]) > 10  # type: ignore[type-var]


def test_a_phrase_that_a_labeller_writes_everywhere_counts_once(tmp_path: Path) -> None:
    phrase, english = "xylophone quartz jukebox vamp", spoken("en")
    (once,) = scored(tmp_path / "a", rows_of([*english, *[phrase] * 2]))
    (often,) = scored(tmp_path / "b", rows_of([*english, *[phrase] * 400]))
    assert often[len(english)] > 0.5 * once[len(english)]  # type: ignore[operator]


def test_each_language_has_its_own_model_and_what_has_none_is_null(tmp_path: Path) -> None:
    rows = [
        *rows_of(spoken("en"), language="en-GB"),
        *rows_of(spoken("es"), language=None, audio_language="es"),
        *rows_of(["hello there", None, ""], language="en"),
        *rows_of(["tack så mycket"], language="sv"),
        *rows_of(["no language at all"], language=None),
        *rows_of(["please hold"], drop_reason="no_words"),
        *rows_of(["por favor espere 😀 \u0e2a"], language="es"),
        *rows_of(["../../etc/passwd"], language="../../../x"),
    ]
    (values,) = scored(tmp_path, rows)
    nulls = [row["text"] for row, value in zip(rows, values, strict=True) if value is None]
    assert nulls == [None, "", "tack så mycket", "no language at all", "please hold", "../../etc/passwd"]
    assert np.median([value for row, value in zip(rows, values, strict=True) if row.get("audio_language") == "es"]) < 10
    assert values[-2] > 1  # type: ignore[operator]


def test_the_same_bytes_whatever_the_order_and_the_parts(tmp_path: Path) -> None:
    rows = rows_of([*spoken("en"), *spoken("fr")])
    whole = scored(tmp_path / "a", rows)[0]
    parts = scored(tmp_path / "b", rows[:50], [], rows[50:120], rows[120:], shuffle=True)
    assert [value for part in parts for value in part] == whole
    assert scored(tmp_path / "c") == []
    assert scored(tmp_path / "d", []) == [[]]
    assert scored(tmp_path / "e", rows[:3]) == [[None] * 3], "too little text"


def test_samples_keep_within_their_room_and_forget_the_order() -> None:
    texts = {("en", 0): {n * 7919 % 100_003: "a" * (1 + n % 9) for n in range(20_000)}, ("fr", 1): dict.fromkeys(range(5000), "bb")}
    chosen = []
    for keys in (1, -1):
        samples = Samples(each=20_000, together=24_000)
        for group, found in list(texts.items())[::keys]:
            listed = list(found.items())[::keys]
            for start in range(0, len(listed), 700):
                samples.add({group: dict(listed[start : start + 700])})
        chosen.append(samples.chosen())
    assert chosen[0] == chosen[1]
    assert {group: sum(map(len, found)) for group, found in chosen[0].items()} == {
        ("en", 0): pytest.approx(12_000, abs=9),
        ("fr", 1): 10_000,
    }
