"""Word times out of Whisper's attention, on real speech whose pauses are known to the sample."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext
from stages import whisper
from stages.align.attention import Attention
from stages.align.backend import Item, Word
from stages.audio import SAMPLE_RATE
from tests.models import tiny_en_model
from tests.speech import prompts
from tests.windows import context, store_windows

PAUSE = 0.7


@pytest.fixture(scope="module")
def joined(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PartContext, Row, list[tuple[float, float, str]]]:
    """A window of three prompts without their own silence, and where each lies: its text is what is said."""
    pause = np.random.default_rng(0).normal(0, 1e-4, round(PAUSE * SAMPLE_RATE)).astype(np.float32)
    pieces, spans, at = [pause], [], PAUSE
    for prompt in [prompt for prompt in prompts("en") if 5 <= len(prompt.text.split()) <= 9][:3]:
        samples = soundfile.read(prompt.path, dtype="float32")[0]
        loud = np.flatnonzero(np.abs(samples) > 0.01)
        samples = samples[loud[0] : loud[-1]]
        pieces += [samples, pause]
        spans.append((at, at + len(samples) / SAMPLE_RATE, prompt.text))
        at += len(samples) / SAMPLE_RATE + PAUSE
    root = tmp_path_factory.mktemp("corpus")
    lead = np.zeros(2 * SAMPLE_RATE, np.float32)
    row = store_windows(root, [lead, np.concatenate(pieces)], "en")[1]  # a window that does not start at 0
    spans = [(start + 2, end + 2, text) for start, end, text in spans]
    return context(root), row | {"text_raw": " ".join(text for _, _, text in spans)}, spans


def align(shared: PartContext, rows: list[Row], **params: Any) -> list[list[Word] | ItemError]:
    backend = Attention(SimpleNamespace(**({"model": "base", "compute_type": "auto"} | params)))
    backend.identity()
    backend.setup(shared)
    return list(backend.align([Item(row, row["text_raw"]) for row in rows], shared))


def written(words: list[Word] | ItemError) -> list[str]:
    assert not isinstance(words, ItemError), words
    return [word.word for word in words]


def test_words_lie_where_they_are_said(joined: tuple[PartContext, Row, list[tuple[float, float, str]]]) -> None:
    shared, row, spans = joined
    words = align(shared, [row])[0]
    assert " ".join(written(words)) == row["text_raw"]
    assert isinstance(words, list)
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert np.mean([word.score for word in words]) > 0.7
    first = 0
    for start, end, text in spans:
        last = first + len(text.split()) - 1
        assert words[first].start == pytest.approx(start, abs=0.08)
        assert words[last].end == pytest.approx(end, abs=0.08)
        first = last + 1


def test_a_wrong_word_has_a_low_score(joined: tuple[PartContext, Row, list[tuple[float, float, str]]]) -> None:
    shared, row, _ = joined
    texts = row["text_raw"].split()
    texts[2] = "zebra"
    right, wrong = align(shared, [row, row | {"text_raw": " ".join(texts)}])
    assert isinstance(right, list)
    assert isinstance(wrong, list)
    assert wrong[2].score < 0.1 < right[2].score


@pytest.mark.parametrize(
    "text",
    [
        'Well, "my friend" - it\'s 20% (or so)... — yes, naïve!',
        "«Bonjour» dit-il : oui !",
        "x",
        "...",
        "Ωραία, τι κάνεις;  two   spaces",
        "the the the",
    ],
)
def test_the_words_are_the_text_again(joined: tuple[PartContext, Row, list[tuple[float, float, str]]], text: str) -> None:
    shared, row, _ = joined
    words = align(shared, [row | {"text_raw": text}])[0]
    assert written(words) == text.split()


def test_languages_without_spaces(joined: tuple[PartContext, Row, list[tuple[float, float, str]]]) -> None:
    shared, row, _ = joined
    words = written(align(shared, [row | {"language": "ja", "text_raw": "元気ですか。はい、元気です。"}])[0])
    assert "".join(words) == "元気ですか。はい、元気です。"
    assert len(words) > 4
    assert all(word.strip("、。") for word in words)


def test_what_cannot_be_aligned_costs_itself_only(joined: tuple[PartContext, Row, list[tuple[float, float, str]]]) -> None:
    shared, row, _ = joined
    too_much, klingon, good = align(shared, [row | {"text_raw": "no " * 600}, row | {"language": "tlh"}, row])
    assert isinstance(too_much, ItemError)
    assert isinstance(klingon, ItemError)
    assert written(good) == row["text_raw"].split()
    crowded = align(shared, [row | {"end": row["start"] + 0.05, "text_raw": "far more words than there is time for"}])[0]
    assert len(written(crowded)) == 8


def test_neighbours_change_nothing(joined: tuple[PartContext, Row, list[tuple[float, float, str]]]) -> None:
    shared, row, _ = joined
    rows = [row, row | {"text_raw": "something else"}, row | {"text_raw": "You"}]
    assert align(shared, rows) == [align(shared, [row])[0] for row in rows]


def test_the_tokens_are_those_that_the_model_writes(base_model: Path) -> None:
    """Whisper's published multilingual tokenizers split " the" in two; the model has one token for it."""
    for folder in (base_model, tiny_en_model()):
        tokenizer = whisper.read_tokenizer(folder)
        assert tokenizer.encode(" the", add_special_tokens=False).tokens == ["Ġthe"]
