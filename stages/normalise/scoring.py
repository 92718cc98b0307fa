"""The scoring form of a text: what two transcripts are compared in, so that their word error rate compares with published ones.

English as Whisper's normaliser has it (numbers as figures, British spelling as American, contractions in full, fillers gone; package
`whisper-normalizer`), other languages as its basic one: NFKC, lower case, remarks in brackets out, punctuation and symbols to spaces; and where
words are not divided by spaces each character counts as one, so that the rate is a character error rate. After Radford et al. 2022,
"Robust speech recognition via large-scale weak supervision", appendix C.

Two deviations. Whisper's basic normaliser turns combining marks into spaces, which takes the words of Indic scripts and of Thai apart (and
is known to flatter their rates): here they stay. And the rules are applied until nothing changes, because the English ones leave lone full
stops and spaces behind; so the form is idempotent.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable

import regex

from stages.normalise.languages import UNSPACED, split
from stages.normalise.text import normalise
from stages.words import written_words

_REMARK = regex.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")
_NO_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_TURKIC = str.maketrans({"I": "ı", "İ": "i"})
_LIMIT = 16  # applications; real text needs two at most


def scoring_form(text: str, language: str | None) -> str:
    """The words that count, divided by single spaces; empty for a text without any. Idempotent.

    >>> scoring_form("Mr. Neil won't pay $20 for the colour, uh, thirty-one!", "en-GB")
    'mister neil will not pay $20 for the color 31'
    >>> scoring_form("L’été (rires) – 21 €…", "fr"), scoring_form("你好，世界", "zh")
    ('l été 21', '你 好 世 界')
    """
    base = split(language)[0]
    step = _english if base == "en" else functools.partial(_basic, base=base)
    return _settled(step, text)


def scoring_words(text: str, language: str | None, *, fold_accents: bool = False) -> list[str]:
    """Words of a label or of a transcript as they are compared: numbers are read as `normalise` reads those of labels, then `scoring_form`.

    `fold_accents` takes combining marks away on both sides, for transcripts that were typed without them.

    >>> scoring_words("El 21 está aquí", "es"), scoring_words("está", "es", fold_accents=True)
    (['el', 'veintiuno', 'está', 'aquí'], ['esta'])
    """
    form = scoring_form(normalise(text, language), language)
    if fold_accents:
        form = "".join(character for character in unicodedata.normalize("NFD", form) if not unicodedata.combining(character))
    return form.split()


def _settled(step: Callable[[str], str], text: str) -> str:
    """`step` applied until nothing changes; of texts that come in a circle the least."""
    seen: list[str] = []
    while text not in seen and len(seen) < _LIMIT:
        seen.append(text)
        text = step(text)
    return min(seen[seen.index(text) :]) if text in seen else text


def _english(text: str) -> str:
    normaliser = _english_normaliser()
    text = " ".join(_closed(text).split())  # long runs of spaces take its patterns quadratic time too
    try:
        text = normaliser(text)
    except (ValueError, AssertionError):
        # A number of more than 4,300 digits, which Python does not print ("decillion" over and over, from a model in a loop).
        text = " ".join(normaliser(word) for word in regex.sub(r"\d{1000}", r"\g<0> ", text).split())
    return " ".join(text.split())


def _basic(text: str, base: str) -> str:
    text = text.translate(_TURKIC) if base in {"tr", "az"} else text
    text = _NO_WORD.sub(" ", _REMARK.sub("", _closed(unicodedata.normalize("NFKC", text.lower()).lower())))
    text = unicodedata.normalize("NFC", text)
    return " ".join(written_words(text) if base in UNSPACED else text.split())


def _closed(text: str) -> str:
    """The text without brackets that are never closed: the patterns would look for the end of each, in quadratic time."""
    for opening, closing in ((r"[\[<]", "]>"), (r"\(", ")")):
        last = max(text.rfind(mark) for mark in closing) + 1
        text = text[:last] + regex.sub(opening, " ", text[last:])
    return text


@functools.cache
def _english_normaliser() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normaliser: Callable[[str], str] = EnglishTextNormalizer()
    return normaliser
