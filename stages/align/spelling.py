"""From written words to the characters that a CTC model knows."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from stages.normalise.text import spoken

WILDCARD = -1
"""Stands for what the model cannot spell."""

_ISO_639_3 = {
    "ar": "ara", "be": "bel", "bg": "bul", "de": "deu", "el": "ell", "en": "eng", "fa": "fas", "he": "heb", "kk": "kaz", "ky": "kir",
    "lt": "lit", "lv": "lav", "mk": "mkd", "os": "oss", "ps": "pus", "ru": "rus", "sr": "srp", "tr": "tur", "ug": "uig", "uk": "ukr",
    "yi": "yid",
}  # fmt: skip
"""Languages for which uroman has rules of their own, by the code that it knows them by."""


def spell(word: str, language: str | None, vocabulary: Mapping[str, int]) -> list[int]:
    """Classes of a written word, never empty: as it is spoken, or that romanised, whichever the model spells with fewer wildcards.

    Punctuation and marks that the model does not know are silent; a run of letters or digits that it does not know is one wildcard.

    >>> spell("Ñu!", "es", {"n": 1, "u": 2}), spell("ñu", "es", {"ñ": 3, "u": 2}), spell("…", "es", {"a": 1})
    ([1, 2], [3, 2], [-1])
    """
    text = spoken(word, language).strip()
    best = _classes(text, vocabulary)
    if WILDCARD in best:
        best = min(best, _classes(_romanised(text, language), vocabulary), key=lambda classes: (classes.count(WILDCARD), -len(classes)))
    return best


def _classes(text: str, vocabulary: Mapping[str, int]) -> list[int]:
    classes: list[int] = []
    for character in text:
        known = next((vocabulary[c] for c in (character, character.lower(), character.upper()) if c in vocabulary), None)
        if known is not None:
            classes.append(known)
        elif unicodedata.category(character)[0] in "LN" and classes[-1:] != [WILDCARD]:
            classes.append(WILDCARD)
    return classes or [WILDCARD]


@cache
def _uroman() -> Any:
    import uroman

    return uroman.Uroman()


@lru_cache(1 << 16)
def _romanised(text: str, language: str | None) -> str:
    return str(_uroman().romanize_string(text, lcode=_ISO_639_3.get((language or "").split("-")[0].lower())))
