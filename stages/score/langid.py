"""A second opinion on the language a text is written in: langid.py (Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language
Identification Tool").

Naive Bayes over byte n-grams, 97 languages; the model (2.5 MB) comes with the package. It shares neither features nor training text with
fastText, so where both doubt the expected language there is reason to. Its probabilities, normalised over its languages, are nearly
always close to 0 or 1.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from stages.normalise.languages import split
from stages.score.language import Written, siblings


class Langid:
    """The identifier, loaded: two seconds, once a process.

    >>> Langid()("the quick brown fox jumps over the lazy dog", "en-GB").language
    'en'
    """

    def __init__(self) -> None:
        self._model = _load()

    def __call__(self, text: str, language: str | None) -> Written:
        """Judge a normalised text; nothing is said of an empty one."""
        if not text:
            return Written(None, None, None)
        counts = self._model.instance2fv(text)
        present = np.flatnonzero(counts)  # few of the thousands
        scores = counts[present] @ self._model.nb_ptc[present] + self._model.nb_pc
        shares = np.exp(scores - scores.max())
        probabilities = dict(zip(self._model.nb_classes, (shares / shares.sum()).tolist(), strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        expected, _ = split(language)
        known = [probabilities[one] for one in siblings(expected) if one in probabilities]
        return Written(best, probabilities[best], min(sum(known), 1.0) if expected in probabilities else None)


@cache
def _load() -> Any:
    from langid.langid import LanguageIdentifier, model

    return LanguageIdentifier.from_modelstring(model)
