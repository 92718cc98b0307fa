"""Forced alignment of a long row piece by piece: work and memory grow with its length, not with the square of it.

What the model would have written by itself is laid beside the spelled text: where long enough runs of characters agree, it is known which
word is heard when, and there the row is cut, in pauses if it can be, into pieces of 15 to 30 s that are searched exactly. Anchors of a
recogniser's output in the text go back to Moreno et al. 1998, "A recursive algorithm for the forced alignment of very long audio
segments"; runs of equal k-mers, chained with a cost for jumps, are how genomes are aligned (Li 2018, "Minimap2"). Unlike a search that
goes forward with a beam, it finds its way again after any stretch of music, unwritten speech or unspoken text.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from pipeline.contract import ItemError
from stages.align.spelling import WILDCARD
from stages.align.viterbi import Ints, Span, Spans

LARGEST = 30_000_000
"""Cells (frames x twice the characters) that are searched at once; bytes in torchaudio. About 140 s of fluent speech."""

SHORTEST, LONGEST = 15.0, 30.0
"""Seconds of a piece. It is longer where less than it takes to cut agrees."""

SEED = 6
"""Characters that must agree in a row. With 40 in 100 heard wrong that still happens every 35 characters."""

JUMP = 3 * SEED
"""What it costs, in characters that agree, to go on elsewhere in the text or the audio: no chance run of a few characters pays it twice."""

FAR = 96
"""Characters by which the model and the text drift apart between two runs, left out or invented, that cost as much as a jump."""

STRIPE = 8
"""Diagonals (text less audio, in characters) of which only the best chain is remembered."""

PARTED = 16
"""Characters of drift from which on the row is cut on both sides of it."""

LEAST = 0.03
"""Share of the characters (of the text or of what was heard, whichever is less) that must agree. Unrelated text of the same language
comes to 0.01 by chance; a model that hears 40 characters in 100 wrong to 0.16."""

REPEATS = 16
"""Places in the text that are looked at for one seed: of what is said over and over, those nearest to where it would be at an even pace."""

MARGIN = 0.25
"""Seconds that a word at the edge of a stretch without counterpart gets beyond the middle of its last character."""


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


class Run(NamedTuple):
    """Characters that agree: first one heard, first one of the text, how many."""

    heard: int
    text: int
    length: int


class _Cut(NamedTuple):
    frame: int
    word: int  # the one after it
    gap: int  # frames between the characters on both sides
    run: int


def search_in_pieces(
    search: Callable[[Piece], list[Spans]], greedy: Greedy, spelled: Sequence[Sequence[int]], frames: int, stride: float
) -> list[Spans]:
    """Where each word is, in frames of the row; `search` does a piece, in frames of the piece. What is small enough is one piece.

    Words for which there is no audio (a piece too short to speak them in, or one too long to search in which nothing agrees) are put at
    the middle of their piece, with no duration and score 0.

    Raises:
        ItemError: the words do not fit into a small row, or are not what is heard in a large one.
    """
    if _cells(frames, spelled) <= LARGEST or sum(map(len, spelled)) > frames:
        return search(Piece(0, frames, 0, len(spelled)))
    text = np.array(list(chain.from_iterable(spelled)), np.int64)
    runs = agreement(greedy.classes, text)
    agreed = sum(run.length for run in runs)
    if agreed <= LEAST * min(len(text), len(greedy.classes)):
        raise ItemError("alignment", f"the text is not what is heard: {agreed} of its {len(text)} characters were found in the audio")
    cuts = [(0, 0), *_cuts(runs, greedy, spelled, frames, stride), (frames, len(spelled))]
    found: list[Spans] = []
    for (first, first_word), (end, end_word) in pairwise(cuts):
        words = spelled[first_word:end_word]
        try:
            if _cells(end - first, words) > LARGEST:
                found += _nowhere(first, end, words)
            elif words:
                found += _shifted(search(Piece(first, end, first_word, end_word)), first)
        except ItemError:
            found += _nowhere(first, end, words)
    return found


def _cells(frames: int, spelled: Sequence[Sequence[int]]) -> int:
    return frames * (2 * sum(map(len, spelled)) + 1)


def _shifted(found: Sequence[Spans], frames: int) -> list[Spans]:
    return [Spans(_later(word, frames), [_later(character, frames) for character in characters]) for word, characters in found]


def _later(span: Span, frames: int) -> Span:
    return Span(span.start + frames, span.end + frames, span.score)


def _nowhere(first: int, end: int, spelled: Sequence[Sequence[int]]) -> list[Spans]:
    middle = (first + end) / 2
    return [Spans(Span(middle, middle, 0.0), [Span(middle, middle, math.nan if i == WILDCARD else 0.0) for i in word]) for word in spelled]


def agreement(heard: Ints, text: Ints) -> list[Run]:
    """Runs of characters that agree, in order in both, none overlapping: the best chain (see `SEED`, `JUMP`, `FAR`)."""
    runs = _runs(heard, text)
    best: list[float] = []  # of the chains that end with each run
    before: list[int] = []
    anywhere = _Prefixes(len(text))
    ended: list[tuple[int, int]] = []  # where in the audio a run ends, and which: those that a jump cannot start from yet
    near: dict[int, int] = {}  # on each stripe of diagonals, the run that the best chain ends with
    for i, run in enumerate(runs):
        while ended and ended[0][0] <= run.heard:
            _, j = heapq.heappop(ended)
            anywhere.add(runs[j].text + runs[j].length, best[j], j)
        score, source = anywhere.best(run.text)
        score, source = max((run.length + score - JUMP, source), (float(run.length), -1))
        diagonal = run.text - run.heard
        for stripe in range((diagonal - FAR) // STRIPE, (diagonal + FAR) // STRIPE + 1):
            j = near.get(stripe, -1)
            if j >= 0 and (added := run.length - _overlap(runs[j], run)) > 0:
                reached = best[j] + added - JUMP / FAR * abs(diagonal - runs[j].text + runs[j].heard)
                if reached > score:
                    score, source = reached, j
        best.append(score)
        before.append(source)
        heapq.heappush(ended, (run.heard + run.length, i))
        if best[near.setdefault(diagonal // STRIPE, i)] <= score:
            near[diagonal // STRIPE] = i
    chained: list[Run] = []
    i = int(np.argmax(best)) if best else -1
    while i >= 0:
        chained.append(runs[i])
        i = before[i]
    chained.reverse()
    for i in range(1, len(chained)):
        over = _overlap(chained[i - 1], chained[i])
        chained[i] = Run(chained[i].heard + over, chained[i].text + over, chained[i].length - over)
    return chained


class _Prefixes:
    """The best score at or before each place, and whose it is (a Fenwick tree)."""

    def __init__(self, places: int) -> None:
        self._tree = [(-math.inf, -1)] * (places + 1)

    def add(self, place: int, score: float, owner: int) -> None:
        """A score at a place from 1 on."""
        while place < len(self._tree):
            self._tree[place] = max(self._tree[place], (score, owner))
            place += place & -place

    def best(self, place: int) -> tuple[float, int]:
        """The best of places up to this one; minus infinity where there is none."""
        found = (-math.inf, -1)
        while place:
            found = max(found, self._tree[place])
            place -= place & -place
        return found


def _overlap(before: Run, after: Run) -> int:
    return max(0, before.heard + before.length - after.heard, before.text + before.length - after.text)


def _runs(heard: Ints, text: Ints) -> list[Run]:
    """All runs of at least `SEED` characters that agree, ordered by where they are heard; of too many, the longest."""
    if min(len(heard), len(text)) < SEED:
        return []
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(SEED, dtype=np.uint64)  # a polynomial hash, modulo 2^64
    seeds, places = (
        (np.lib.stride_tricks.sliding_window_view(each, SEED).astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)
        for each in (heard, text)
    )
    order = np.argsort(places, kind="stable")
    first = np.searchsorted(places[order], seeds, side="left")
    counts = np.searchsorted(places[order], seeds, side="right") - first
    pace = len(text) / len(heard)
    for i in np.flatnonzero(counts > REPEATS).tolist():
        nearest = int(np.searchsorted(order[first[i] : first[i] + counts[i]], i * pace))
        first[i] += min(max(0, nearest - REPEATS // 2), counts[i] - REPEATS)
    counts = np.minimum(counts, REPEATS)
    at_heard = np.repeat(np.arange(len(seeds)), counts)
    nth = np.arange(len(at_heard)) - np.repeat(np.cumsum(counts) - counts, counts)
    at_text = order[np.repeat(first, counts) + nth]

    diagonal = at_text - at_heard
    order = np.lexsort((at_heard, diagonal))
    at_heard, at_text, diagonal = at_heard[order], at_text[order], diagonal[order]
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(diagonal) != 0) | (np.diff(at_heard) != 1)])) if len(order) else order
    lengths = np.diff(np.append(begins, len(order))) + SEED - 1
    off = np.abs(at_text[begins] - at_heard[begins] * pace)
    longest = np.lexsort((off, -lengths))[: max(1000, len(heard) // 4)]
    return sorted(Run(*each) for each in np.stack([at_heard[begins], at_text[begins], lengths], axis=1)[longest].tolist())


def _cuts(runs: Sequence[Run], greedy: Greedy, spelled: Sequence[Sequence[int]], frames: int, stride: float) -> list[tuple[int, int]]:
    """Frames to cut at, and the word after each."""
    margin = round(MARGIN / stride)
    starts = np.cumsum([0, *map(len, spelled)]).tolist()  # of each word, its first character in the text
    cuts: list[_Cut] = []
    for number, run in enumerate(runs):
        for word in range(max(1, bisect_left(starts, run.text)), min(len(spelled), bisect_right(starts, run.text + run.length))):
            into = starts[word] - run.text
            after = run.heard + into
            left = int(greedy.ends[after - 1]) if after else 0
            right = int(greedy.starts[after]) if after < len(greedy.starts) else frames
            gap = right - left
            half = gap // 2 if 0 < into < run.length else min(gap // 2, margin)
            cuts.append(_Cut(right - half if into == 0 else left + half, word, gap, number))
    # Where the text and the audio part, the cuts nearest to it, so that what has no counterpart is in a piece of its own.
    forced = set()
    ends = [Run(0, 0, 0), *runs, Run(len(greedy.classes), starts[-1], 0)]
    of_run = [cut.run for cut in cuts]
    for number, (a, b) in enumerate(pairwise(ends)):
        if abs((b.heard - a.heard - a.length) - (b.text - a.text - a.length)) > PARTED:
            at = bisect_left(of_run, number)
            forced |= {at - 1, at}
    return _chosen(cuts, sorted(at for at in forced if 0 <= at < len(cuts)), round(SHORTEST / stride), round(LONGEST / stride))


def _chosen(cuts: Sequence[_Cut], forced: Sequence[int], shortest: int, longest: int) -> list[tuple[int, int]]:
    """The forced cuts, and between them the widest gap in each stretch from `shortest` to `longest` frames after the cut before."""
    chosen: list[tuple[int, int]] = []
    frames = [cut.frame for cut in cuts]
    at = 0
    while at < len(cuts):
        last = chosen[-1][0] if chosen else 0
        stop = next(iter(forced[bisect_left(forced, at) :]), len(cuts))
        low, high = bisect_left(frames, last + shortest, at, stop), bisect_right(frames, last + longest, at, stop)
        at = max(range(low, high), key=lambda i: cuts[i].gap) if low < high else high
        if at < len(cuts):
            chosen.append((cuts[at].frame, cuts[at].word))
        at += 1
    return chosen
