"""Forced alignment of a long row piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from stages.align.viterbi import Ints, Spans


class Greedy(NamedTuple):
    """The characters that the model would have written by itself, in order: class, first frame, frame after the last; shape (n,) each."""

    classes: Ints
    starts: Ints
    ends: Ints


class Piece(NamedTuple):
    """A stretch of a row, and the words in it: first frame and frame after the last, first word and word after the last."""

    first: int
    end: int
    first_word: int
    end_word: int


def search_in_pieces(
    search: Callable[[Piece], list[Spans]], greedy: Greedy, spelled: Sequence[Sequence[int]], frames: int, stride: float
) -> list[Spans]:
    """Where each word is, in frames of the row."""
    return search(Piece(0, frames, 0, len(spelled)))
