"""Emissions of a CTC model that there is not: a made-up lattice in which the place of every character is known.

Each character is heard in one or two frames, as by a model that was trained with the CTC loss, between blanks; `wrong` of the
characters are heard as another, or not at all. Words are parted by pauses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.align.network import LogProbs

STRIDE = 0.02


def lattice(
    words: Sequence[Sequence[int]], classes: int, wrong: float = 0.0, seed: int = 0, pauses: tuple[float, float] = (0.04, 0.4)
) -> tuple[LogProbs, list[tuple[int, int]]]:
    """Log-probabilities, shape (frames, classes), class 0 the blank, and of each word its first frame and the one after its last."""
    rng = np.random.default_rng(seed)
    heard: list[int] = []
    times = []
    for word in words:
        heard += [0] * round(rng.uniform(*pauses) / STRIDE)
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
