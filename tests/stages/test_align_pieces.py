"""Long rows, on made-up lattices whose truth is known (`tests.lattices`): no model, so any error of the search is its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contract import ItemError
from stages.align import pieces
from stages.align.network import LogProbs
from stages.align.pieces import Piece, agreement, search_in_pieces
from stages.align.spelling import WILDCARD
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import Spans, aligned_words
from tests.lattices import CLASSES, STRIDE, greedy_of, lattice, made_up_words


def locate(log_probs: LogProbs, words: Sequence[Sequence[int]]) -> list[Spans]:
    def search(piece: Piece) -> list[Spans]:
        own = words[piece.first_word : piece.end_word]
        return aligned_words(log_probs[piece.first : piece.end], own, 0, None, Torchaudio.path)

    found = search_in_pieces(search, greedy_of(log_probs), words, len(log_probs), STRIDE)
    edges = [edge for word, _ in found for edge in word[:2]]
    assert edges == sorted(edges)  # no word overlaps its neighbour
    assert all(len(word) == len(spans.characters) for word, spans in zip(words, found, strict=True))
    return found


def late(found: Sequence[Spans], truth: Sequence[tuple[int, int]]) -> np.ndarray:
    """Seconds between where each word was found to start and where it starts."""
    return np.abs([word.start - start for (word, _), (start, _) in zip(found, truth, strict=True)]) * STRIDE


@pytest.fixture(scope="module")
def words() -> list[list[int]]:
    return made_up_words(2000)


@pytest.fixture(scope="module")
def twenty_minutes(words: list[list[int]]) -> tuple[LogProbs, list[tuple[int, int]]]:
    """20 in 100 characters are heard wrong."""
    return lattice(words, CLASSES, wrong=0.2)


def test_pieces_give_the_times_of_one_search_over_all(
    words: list[list[int]], twenty_minutes: tuple[LogProbs, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = twenty_minutes[1][300][0]
    log_probs = twenty_minutes[0][:frames]
    monkeypatch.setattr(pieces, "LARGEST", 3_000_000)
    in_pieces = locate(log_probs, words[:300])
    monkeypatch.setattr(pieces, "LARGEST", 10**9)
    at_once = locate(log_probs, words[:300])
    assert np.mean([a == b for a, b in zip(in_pieces, at_once, strict=True)]) >= 0.99


@pytest.mark.parametrize(("wrong", "within"), [(0.0, 0.05), (0.2, 0.5), (0.4, 1.0)])
def test_every_word_of_a_long_recording_is_found(words: list[list[int]], wrong: float, within: float) -> None:
    log_probs, truth = lattice(words, CLASSES, wrong)
    errors = late(locate(log_probs, words), truth)
    assert np.mean(errors <= within) >= 0.99
    assert np.median(errors) <= STRIDE


@pytest.mark.parametrize(("first", "last"), [(1000, 1040), (500, 1300), (0, 1000), (1000, 2000)])
def test_words_are_found_again_after_speech_that_nobody_wrote_down(
    words: list[list[int]], twenty_minutes: tuple[LogProbs, list[tuple[int, int]]], first: int, last: int
) -> None:
    log_probs, truth = twenty_minutes
    written = words[:first] + words[last:]
    errors = late(locate(log_probs, written), truth[:first] + truth[last:])
    assert np.mean(errors <= 0.5) >= 0.99
    # Up to a few beside the gap may be misplaced, none further off.
    beside = np.ones(len(written), bool)
    beside[max(0, first - 5) : first + 5] = False
    assert (errors[beside] <= 1.0).all()


@pytest.mark.parametrize(("first", "last"), [(1000, 1040), (500, 1300), (0, 1000), (1000, 2000)])
def test_words_that_nobody_said_score_nothing_and_cost_the_others_nothing(
    words: list[list[int]], twenty_minutes: tuple[LogProbs, list[tuple[int, int]]], first: int, last: int
) -> None:
    log_probs, truth = twenty_minutes
    begin, end = truth[first][0], truth[last - 1][1]
    found = locate(np.concatenate([log_probs[:begin], log_probs[end:]]), words)
    errors = late(found[:first] + found[last:], truth[:first] + [(a - end + begin, b - end + begin) for a, b in truth[last:]])
    assert np.mean(errors <= 0.5) >= 0.99
    assert (errors <= 4.0).all()
    assert np.mean([word.score for word, _ in found[first:last]]) < 0.2
    assert np.mean([word.score for word, _ in found[:first] + found[last:]]) > 0.7


@pytest.mark.parametrize("loudness", [0, 4])
def test_words_are_found_again_after_ten_minutes_of_music(
    words: list[list[int]], twenty_minutes: tuple[LogProbs, list[tuple[int, int]]], loudness: float
) -> None:
    """Made-up emissions of music: blank all along, or characters that mean nothing."""
    log_probs, truth = twenty_minutes
    music = np.random.default_rng(1).normal(size=(30_000, CLASSES)) * loudness
    music[:, 0] += 6 - loudness
    music = (music - np.log(np.exp(music).sum(axis=1, keepdims=True))).astype(np.float32)
    at = truth[1000][0]
    found = locate(np.concatenate([log_probs[:at], music, log_probs[at:]]), words)
    errors = late(found, truth[:1000] + [(a + len(music), b + len(music)) for a, b in truth[1000:]])
    assert np.mean(errors <= 0.5) >= 0.99


@pytest.mark.parametrize("period", [10, 200])
def test_what_is_said_again_and_again_is_found_in_order(words: list[list[int]], period: int) -> None:
    repeated = (words[:period] * 2000)[:2000]
    log_probs, truth = lattice(repeated, CLASSES, wrong=0.05)
    assert np.mean(late(locate(log_probs, repeated), truth) <= 0.5) >= 0.99


def test_another_text_is_refused(twenty_minutes: tuple[LogProbs, list[tuple[int, int]]]) -> None:
    with pytest.raises(ItemError, match=r"alignment: the text is not what is heard: \d+ of its \d+ characters"):
        locate(twenty_minutes[0], made_up_words(2000, seed=1))


def test_silence_is_refused(words: list[list[int]]) -> None:
    silence = np.full((90_000, CLASSES), -20.0, np.float32)
    silence[:, 0] = 0
    with pytest.raises(ItemError, match="0 of its"):
        locate(silence, words)


def test_a_text_that_cannot_be_spoken_in_the_time_is_refused() -> None:
    with pytest.raises(ItemError, match="do not fit into 1500 frames"):
        locate(np.full((1500, CLASSES), -3.3, np.float32), made_up_words(40_000))


def test_wildcards_in_a_long_text_stay_between_their_neighbours(
    words: list[list[int]], twenty_minutes: tuple[LogProbs, list[tuple[int, int]]]
) -> None:
    log_probs, truth = twenty_minutes
    places = range(5, 2000, 100)
    found = locate(log_probs, [[WILDCARD] if i in places else word for i, word in enumerate(words)])
    errors = late(found, truth)
    assert np.mean(errors <= 0.5) >= 0.98
    assert all(np.isnan(found[i].word.score) for i in places)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=120), st.lists(st.integers(1, 3), max_size=120), st.lists(st.integers(0, 120), max_size=3))
def test_what_agrees_is_equal_and_in_order(heard: list[int], written: list[int], cuts: list[int]) -> None:
    for cut in cuts:  # so that the two have something in common
        heard = [*heard[:cut], *written[cut : cut + 30], *heard[cut:]]
    runs = agreement(np.array(heard, np.int64), np.array(written, np.int64))
    for run in runs:
        assert run.length > 0
        assert heard[run.heard : run.heard + run.length] == written[run.text : run.text + run.length]
    for before, after in pairwise(runs):
        assert before.heard + before.length <= after.heard
        assert before.text + before.length <= after.text


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6]), st.integers(1, 200))
def test_pieces_hold_every_word_once_and_never_too_much(seed: int, wrong: float, left_out: int) -> None:
    words = made_up_words(300, seed)
    log_probs, _ = lattice(words, CLASSES, wrong, seed)
    words = words[:50] + words[50 + left_out :]
    taken: list[Piece] = []

    def search(piece: Piece) -> list[Spans]:
        taken.append(piece)
        raise ItemError("alignment", "nothing fits in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LARGEST", 2_000_000)
        patch.setattr(pieces, "LEAST", -1)
        found = search_in_pieces(search, greedy_of(log_probs), words, len(log_probs), STRIDE)
    assert len(found) == len(words)
    assert all(word.start == word.end and word.score == 0 for word, _ in found)
    for piece in taken:
        assert (piece.end - piece.first) * (2 * sum(map(len, words[piece.first_word : piece.end_word])) + 1) <= 2_000_000
    for before, after in pairwise(taken):
        assert before.end <= after.first
        assert before.end_word <= after.first_word
