"""Forced alignment of one stretch: the most probable path through the emissions, as times and scores of words and their characters.

Kürzinger et al. 2020, "CTC-Segmentation"; torchaudio's forced alignment tutorial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.contract import ItemError
from stages.align.network import LogProbs
from stages.align.spelling import WILDCARD

WILDCARD_PROBABILITY = 0.5
"""Of the wildcard, at every frame: it takes those at which all else that the text allows is less likely than not. Pratap et al. 2023
(and torchaudio's tutorial) take 1; that eats the silence around it and all but one frame of the characters beside it."""

Ints = npt.NDArray[np.int64]

Search = Callable[[LogProbs, Ints, int], Ints]
"""Emissions of shape (frames, classes), targets of shape (characters,) and the blank, to the class of each frame, shape (frames,), on the
most probable path that spells the targets."""


class Span(NamedTuple):
    """First frame, frame after the last, and mean probability of these frames (NaN for a wildcard)."""

    start: float
    end: float
    score: float


class Spans(NamedTuple):
    """Where a word is, and where each of its characters is, in order (none: not known)."""

    word: Span
    characters: Sequence[Span]


def aligned_words(log_probs: LogProbs, spelled: Sequence[Sequence[int]], blank: int, separator: int | None, path: Search) -> list[Spans]:
    """Where each word is in the emissions, in frames. `spelled` are the classes of each word, none of them empty.

    The score of a word is the mean probability of the frames in which its characters are; blanks and wildcards say nothing (NaN where
    there is nothing else).

    Raises:
        ItemError: more characters than frames.
    """
    frames, classes = log_probs.shape
    targets: list[int] = []
    owners: list[int] = []  # index of the word that a target belongs to, -1 for a separator
    for index, word in enumerate(spelled):
        if index and separator is not None:
            targets.append(separator)
            owners.append(-1)
        targets += [classes if target == WILDCARD else target for target in word]
        owners += [index] * len(word)
    needed = len(targets) + sum(a == b for a, b in pairwise(targets))
    if needed > frames:
        raise ItemError("alignment", f"{needed} characters and blanks between them do not fit into {frames} frames")
    # Frames of certain blank in front change no path, and keep ctc-forced-aligner 1.0.2 (and torchaudio before it was mended)
    # inside the memory it takes: it writes past its end with fewer than two frames a target.
    front = max(0, 2 * len(targets) + 1 - frames)
    lattice = np.full((front + frames, classes + 1), -np.inf, np.float32)
    lattice[:front, blank] = 0
    lattice[front:, :classes] = log_probs
    lattice[front:, classes] = math.log(WILDCARD_PROBABILITY)
    found = path(lattice, np.asarray(targets, np.int64), blank)[front:]

    probabilities = np.exp(lattice[front:][np.arange(frames), found])
    probabilities[found == classes] = math.nan
    edges = np.flatnonzero(np.diff(found, prepend=-1, append=-1))
    heard = [(start, end) for start, end in pairwise(edges.tolist()) if found[start] != blank]
    words: list[list[Span]] = [[] for _ in spelled]
    for owner, (start, end) in zip(owners, heard, strict=True):
        if owner >= 0:
            words[owner].append(Span(start, end, float(probabilities[start:end].mean())))
    return [Spans(Span(word[0].start, word[-1].end, _mean(word)), word) for word in words]


def _mean(characters: Sequence[Span]) -> float:
    """Over the frames of the characters that are not wildcards."""
    known = [(end - start, score) for start, end, score in characters if not math.isnan(score)]
    return sum(frames * score for frames, score in known) / sum(frames for frames, _ in known) if known else math.nan
