"""How far labellers agree: 1 - WER of one against another, not below 0; of more than two, the mean over all pairs.

Words where the language writes them apart, characters where it does not (1 - CER). YODAS-Granary and OWSM v4 keep what two models
label with a WER of at most 10 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import jiwer

from stages.normalise.languages import UNSPACED, split
from stages.normalise.text import normalise


def agreement(labels: Sequence[str], language: str | None) -> float | None:
    """0..1 over the normalised labels, hyphens apart ("twenty-one" and "21" agree); None with fewer than two.

    >>> agreement(["Good morning, Vietnam!", "good morning vietnam"], "en"), agreement(["a b c d", "a b c e", "a b c d"], "en"), agreement(["a"], "en")
    (1.0, 0.8333333333333334, None)
    """
    if len(labels) < 2:
        return None
    texts = [comparable(label, language) for label in labels]
    return statistics.fmean(similarity(first, second, language) for first, second in combinations(texts, 2))


def comparable(label: str, language: str | None) -> str:
    """The form of a label that `similarity` takes."""
    return normalise(label, language).replace("-", " ")


@lru_cache(maxsize=65536)
def spoken_words(word: str, language: str | None) -> tuple[str, ...]:
    """What is said for one written word, as labels are compared: nothing, a word, or several.

    >>> spoken_words("Twenty-one,", "en"), spoken_words("21", "en"), spoken_words("—", "en")
    (('twenty', 'one'), ('twenty', 'one'), ())
    """
    return tuple(comparable(word, language).split())


def similarity(reference: str, hypothesis: str, language: str | None) -> float:
    """1 - WER (or CER) of two `comparable` texts, not below 0."""
    if not reference or not hypothesis:
        return float(reference == hypothesis)
    rate = jiwer.cer if split(language)[0] in UNSPACED else jiwer.wer
    return max(0.0, 1.0 - float(rate(reference, hypothesis)))
