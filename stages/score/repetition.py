"""Share of a text that a labeller wrote while it was stuck in a loop.

Decoders loop: the same words again and again until the window is full (Holtzman et al. 2020, "The Curious Case of Neural Text
Degeneration"). Rae et al. 2021 (Gopher, appendix A.1) drop web text by the share of characters in repeated n-grams; speech repeats
itself as well ("no, no, no"), so here only n-grams count that stand at least three times in a row and fill eight words with it; their first
copy does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import regex

LONGEST_UNIT = 64
"""Words (or characters of a script without spaces) in the longest loop that is looked for."""
SHORTEST_LOOP = 8
"""Words (or characters) of all copies together: what is shorter, people say."""
LONG_WORD = 24
"""Characters; a longer word is looked at character by character: "hahahahahaha..."."""

_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


def repetition(text: str) -> float | None:
    """0..1 of the characters without spaces; None for an empty text.

    >>> repetition("no no no that is not what i said"), repetition("thank you " * 10), repetition("谢谢" * 10)
    (0.0, 0.9, 0.95)
    """
    tokens = [token for word in text.split() for token in (word if len(word) > LONG_WORD or _UNSPACED.search(word) else [word])]
    if not tokens:
        return None
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    sequence = np.array([numbers[token] for token in tokens])
    looping = np.zeros(len(sequence), bool)
    for unit in range(1, min(LONGEST_UNIT, len(sequence) // 3) + 1):
        looping[unit:] |= _runs(sequence[unit:] == sequence[:-unit], max(2 * unit, SHORTEST_LOOP - unit))
    sizes = np.array([len(token) for token in tokens])
    return float(sizes[looping].sum() / sizes.sum())


def _runs(same: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """True where `same` is true `least` times or more in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    runs = np.zeros(len(same), bool)
    for start, end in edges.reshape(-1, 2):
        runs[start:end] = end - start >= least
    return runs
