"""Emissions of a CTC model that there is not: a made-up lattice in which the place of every character is known.

Each character is heard in one or two frames, as by a model that was trained with the CTC loss, between blanks; `wrong` of the
characters are heard as another, or not at all. Words are parted by pauses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from stages.align.network import LogProbs
from stages.align.pieces import Greedy

STRIDE = 0.02
CLASSES = 28
"""The blank and as many characters as a romanised model has."""


def made_up_words(count: int, seed: int = 0) -> list[list[int]]:
    """Words of a made-up language, some of them often, as in any language."""
    chance = random.Random(seed)
    known = [[chance.randint(1, CLASSES - 1) for _ in range(chance.randint(1, 9))] for _ in range(2000)]
    return chance.choices(known, weights=[1 / rank for rank in range(1, 2001)], k=count)


def lattice(
    words: Sequence[Sequence[int]], classes: int, wrong: float = 0.0, seed: int = 0, seconds: float = float("inf")
) -> tuple[LogProbs, list[tuple[int, int]]]:
    """Log-probabilities, shape (frames, classes), class 0 the blank, and of each word its first frame and the one after its last.

    No word starts after `seconds`.
    """
    rng = np.random.default_rng(seed)
    heard: list[int] = []
    times = []
    for word in words:
        heard += [0] * round(rng.uniform(0.04, 0.4) / STRIDE)
        if len(heard) * STRIDE > seconds:
            break
        start = len(heard)
        for i in word:
            said = i
            if rng.random() < wrong:
                said = int(rng.choice([0, rng.integers(1, classes)]))
            heard += [said] * int(rng.integers(1, 3)) + [0] * int(rng.integers(1, 4))
        times.append((start, len(heard)))
    heard += [0] * 10
    logits = rng.normal(scale=1.0, size=(len(heard), classes)).astype(np.float32)
    logits[np.arange(len(heard)), heard] += 7
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits, times


def greedy_of(log_probs: LogProbs) -> Greedy:
    """What a model with these emissions would write by itself."""
    best = log_probs.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    spoken = best[edges[:-1]] != 0
    return Greedy(best[edges[:-1]][spoken], edges[:-1][spoken], edges[1:][spoken])
