"""How far the first two labellers agree: 1 - WER of the second against the first, not below 0.

Words where the language writes them apart, characters where it does not (1 - CER). YODAS-Granary and OWSM v4 keep what two models
label with a WER of at most 10 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import jiwer

from stages.normalise.languages import UNSPACED, split
from stages.normalise.text import normalise


def agreement(labels: Sequence[str], language: str | None) -> float | None:
    """0..1 over the normalised labels, hyphens apart ("twenty-one" and "21" agree); None with fewer than two.

    >>> agreement(["Good morning, Vietnam!", "good morning vietnam"], "en"), agreement(["a b c d", "a b c e", "x"], "en"), agreement(["a"], "en")
    (1.0, 0.75, None)
    """
    if len(labels) < 2:
        return None
    first, second = (normalise(label, language).replace("-", " ") for label in labels[:2])
    if not first or not second:
        return float(first == second)
    rate = jiwer.cer if split(language)[0] in UNSPACED else jiwer.wer
    return max(0.0, 1.0 - float(rate(first, second)))
