"""What is written about a word, in many scripts, on made-up emissions of its spelling (`tests.lattices`).

There is no model that hears all these languages here: what is real in these tests is everything but the ears.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import ItemError, PartContext
from stages.align import Align
from stages.align.backend import Item, Word
from stages.align.network import LogProbs
from stages.align.spelling import WILDCARD, spell
from stages.align.torchaudio import Torchaudio
from stages.words import written_words
from tests.lattices import STRIDE, lattice

LATIN = {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz'", start=1)}
CLASSES = 29
"""The last is nobody's: it is heard where something is said that the model cannot spell."""


class Toy(Torchaudio):
    """Hears what a lattice says."""

    def __init__(self, log_probs: LogProbs) -> None:
        super().__init__(Align.Params(backend="torchaudio", characters=True))
        self.log_probs = log_probs
        self.vocabulary, self.blank, self.stride = LATIN, 0, STRIDE

    def emissions(self, rows: Any, _context: PartContext) -> list[LogProbs | ItemError]:
        return [self.log_probs[round(row["start"] / STRIDE) : round(row["end"] / STRIDE)] for row in rows]


@pytest.fixture
def context(tmp_path: Path) -> PartContext:
    return PartContext(store=Store(str(tmp_path)))


def aligned(text: str, language: str | None, context: PartContext, wrong: float = 0.0) -> tuple[list[Word], list[tuple[int, int]]]:
    """The words of `text`, and their true frames, in a recording in which just that is said."""
    spelled = [[CLASSES - 1 if i == WILDCARD else i for i in spell(word, language, LATIN)] for word in written_words(text)]
    log_probs, truth = lattice(spelled, CLASSES, wrong)
    row: Row = {"start": 0.0, "end": len(log_probs) * STRIDE, "language": language}
    [words] = Toy(log_probs).align([Item(row, text)], context)
    assert not isinstance(words, ItemError), words
    return words, truth


@pytest.mark.parametrize(
    ("language", "text", "spelled"),
    [
        ("en", "On May 3rd, 1998 she paid $21.50 — 15% less!",
         "on may third nineteenninetyeight she paid twentyonedollarsfiftycents * fifteenpercent less"),
        ("en", "Dr. O'Neill’s e-mail to NATO", "dr o'neill's email to nato"),
        ("de", "Über 2 Größen", "ueber zwei groessen"),
        ("fr", "Ça coûte 80 €, déjà.", "sa coute quatrevingts * deja"),
        ("ru", "Съешь 2 булки!", None),
        ("el", "Αθήνα", "athena"),
        ("ar", "شكرا، ٣ كتب جديدة", None),
        ("he", "שלום עולם, 5 ילדים", None),
        ("fa", "سلام، حال شما؟", None),
        ("hi", "नमस्ते दुनिया", None),
        ("th", "สวัสดีครับ 3 คน", None),
        ("zh", "你好,世界。我有3本书", None),
        ("ja", "カレーを iPhone15で 食べる", None),
        ("ko", "안녕하세요 세계", None),
        ("xx", "habari ya asubuhi", "habari ya asubuhi"),
        (None, "kia ora koutou", "kia ora koutou"),
    ],
)  # fmt: skip
def test_every_script_keeps_its_written_form_and_gets_times_on_a_made_up_lattice(
    language: str | None, text: str, spelled: str | None, context: PartContext
) -> None:
    words, truth = aligned(text, language, context)
    assert [word.word for word in words] == written_words(text)
    assert spelled is None or [word.spelled for word in words] == spelled.split()
    for word, (start, end) in zip(words, truth, strict=True):
        if word.spelled == "*":
            assert np.isnan(word.score)
        else:
            assert word.start == pytest.approx(start * STRIDE, abs=0.021)
            assert start * STRIDE < word.end <= end * STRIDE + 0.021
            assert word.heard == (word.spelled or "").replace("*", "")
            assert word.score > 0.8
        letters = word.characters
        assert letters is not None
        assert "".join(letter.character for letter in letters) == word.spelled
        assert (letters[0].start, letters[-1].end) == (word.start, word.end)
        assert all(a.start < a.end <= b.start < b.end for a, b in pairwise(letters))
    assert all(before.end <= after.start for before, after in pairwise(words))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("abcdefghij", min_size=1, max_size=6), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.integers(0, 99),
)
def test_all_that_was_heard_is_in_exactly_one_word(said: list[str], wrong: float, seed: int) -> None:
    log_probs, _ = lattice([[LATIN[letter] for letter in word] for word in said], CLASSES, wrong, seed)
    best = log_probs.argmax(axis=1)
    greedy = [int(i) for i, before in zip(best, [0, *best[:-1]], strict=True) if i not in (0, CLASSES - 1) and i != before]
    row: Row = {"start": 0.0, "end": len(log_probs) * STRIDE, "language": "en"}
    written = " ".join(said[::2])
    [words] = Toy(log_probs).align([Item(row, written)], PartContext(store=Store("/nowhere")))
    assert not isinstance(words, ItemError)
    assert [LATIN[letter] for word in words for letter in word.heard or ""] == greedy
    assert [word.spelled for word in words] == said[::2]


def test_a_wrong_word_is_heard_as_what_was_said(context: PartContext) -> None:
    said = ["the", "cat", "sat"]
    log_probs, _ = lattice([[LATIN[letter] for letter in word] for word in said], CLASSES)
    row: Row = {"start": 0.0, "end": len(log_probs) * STRIDE, "language": "en"}
    [words] = Toy(log_probs).align([Item(row, "The dog sat.")], context)
    assert not isinstance(words, ItemError)
    assert [(word.word, word.spelled, word.heard) for word in words] == [
        ("The", "the", "the"),
        ("dog", "dog", "cat"),
        ("sat.", "sat", "sat"),
    ]
    assert words[1].score < 0.1 < 0.8 < words[0].score


def test_windows_of_a_long_row_are_joined_without_a_seam_on_a_made_up_lattice(context: PartContext) -> None:
    said = [word for _ in range(60) for word in ("never", "gonna", "give", "you", "up", "hello", "darkness", "my", "old", "friend")]
    spelled = [[LATIN[letter] for letter in word] for word in said]
    log_probs, truth = lattice(spelled, CLASSES)
    before = 1000  # frames of something else before the row
    toy = Toy(np.concatenate([np.full((before, CLASSES), -np.log(CLASSES), np.float32), log_probs]))
    row: Row = {"start": before * STRIDE, "end": (before + len(log_probs)) * STRIDE, "language": "en"}
    assert row["end"] - row["start"] > 200
    [words] = toy.align([Item(row, " ".join(said))], context)
    assert not isinstance(words, ItemError)
    assert [word.start for word in words] == pytest.approx([(before + start) * STRIDE for start, _ in truth], abs=0.021)
    assert [word.heard for word in words] == said


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("😀 — !!! …", "can spell nothing of the text: '😀 — !!! …'"),
        ("[Music] ♪", "can spell nothing of the text"),
        ("\u200b", "can spell nothing of the text"),
        ("far too many words for one second " * 20, "do not fit into 50 frames"),
        ("a" * 100_000, "do not fit into 50 frames"),
    ],
)
def test_a_text_that_cannot_be_aligned_says_why(text: str, detail: str, context: PartContext) -> None:
    log_probs, _ = lattice([[1, 2, 3]] * 20, CLASSES)
    row: Row = {"start": 0.0, "end": 1.0, "language": "en"}
    good = Item({"start": 0.0, "end": len(log_probs) * STRIDE, "language": "en"}, "abc " * 20)
    bad, after = Toy(log_probs).align([Item(row, text), good], context)
    assert isinstance(bad, ItemError)
    assert bad.reason == "alignment"
    assert detail in bad.detail
    assert not isinstance(after, ItemError)
    assert len(after) == 20


@pytest.mark.parametrize("worse", [np.nan, np.inf, -np.inf])
def test_emissions_that_are_no_numbers_cost_their_row_only(worse: float, context: PartContext) -> None:
    log_probs, _ = lattice([[1, 2, 3]] * 20, CLASSES)
    broken = log_probs.copy()
    broken[7, 3] = worse
    row: Row = {"start": 0.0, "end": 4.0, "language": "en"}
    broken = np.concatenate([broken, np.tile(log_probs, (20, 1))])
    long = row | {"end": 60.0}
    bad, after = Toy(broken).align([Item(long, "abc"), Item(row | {"start": 40.0, "end": 44.0}, "abc")], context)
    assert isinstance(bad, ItemError)
    assert bad.detail == "the model's output is not a number in the window that starts at 0.00 s"
    assert not isinstance(after, ItemError)
