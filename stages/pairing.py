"""Which word of one text stands for which of another: an edit distance that knows that words which share letters sound alike."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from operator import itemgetter

from rapidfuzz.distance import Levenshtein

_GAP = 3.0
_FREE = 2.0
"""Costs are those of NIST's sclite: a gap 3, a substitution 4, or less (but more than 3) for words that share letters. A gap where there is one
already is cheaper, yet a word is rather put beside another than between two gaps."""


def pair(
    slots: Sequence[AbstractSet[str]], words: Sequence[str], free: Sequence[bool] | None = None
) -> list[tuple[int | None, int | None]]:
    """The cheapest alignment of `words` with `slots`, each of which any of some words fills: pairs of indices in order, None for a gap.

    Slots that are `free` may be empty: a gap there is cheaper. Time and memory are the product of the two lengths: windows, not whole recordings.

    >>> pair([{"the"}, {"cat", "bat"}, {"sat"}], ["the", "cat", "sad", "down"])
    [(0, 0), (1, 1), (2, 2), (None, 3)]
    """
    skip = [_FREE if free and free[index] else _GAP for index in range(len(slots))]
    # Of each pair of prefixes: the least cost, and the last step to it (how many slots and words it takes).
    paths = [[(0.0, (0, 0))] * (len(words) + 1) for _ in range(len(slots) + 1)]
    for i, j in product(range(len(slots) + 1), range(len(words) + 1)):
        steps = []
        if i and j:
            steps.append((paths[i - 1][j - 1][0] + _difference(slots[i - 1], words[j - 1]), (1, 1)))
        if i:
            steps.append((paths[i - 1][j][0] + skip[i - 1], (1, 0)))
        if j:
            steps.append((paths[i][j - 1][0] + _GAP, (0, 1)))
        paths[i][j] = min(steps, key=itemgetter(0), default=(0.0, (0, 0)))
    pairs: list[tuple[int | None, int | None]] = []
    i, j = len(slots), len(words)
    while i or j:
        slot, word = paths[i][j][1]
        i, j = i - slot, j - word
        pairs.append((i if slot else None, j if word else None))
    return pairs[::-1]


def _difference(slot: AbstractSet[str], word: str) -> float:
    return 0.0 if word in slot else _GAP + min(Levenshtein.normalized_distance(word, other) for other in slot)
