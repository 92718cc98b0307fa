"""The verbatim label: what was said, in the letters of the language and nothing else.

`normalise` is what labels are compared and trained on. It is idempotent, keeps letters and combining marks of every script, and
knows a language only where that changes the answer: the Turkish i, decimal marks, number words.
"""

from __future__ import annotations

import unicodedata

import regex

from stages.normalise.languages import LANGUAGES, split
from stages.normalise.numbers import can_count, verbalise

# Format and control characters: direction marks, joiners, soft hyphens, byte order marks; variation selectors and keycaps are marks
# that only dress the character before them. Tatweel stretches a word and is not a letter of it.
_INVISIBLE = regex.compile(
    r"[\p{Cf}\p{Cc}\p{Co}\p{Cs}\p{Me}\uFE00-\uFE0F\U000E0100-\U000E01EF\u034F\u0640--[\t\n\v\f\r\x1c-\x1f\x85]]", regex.V1
)
# The joiners U+200C and U+200D are orthography in Persian and in Indic scripts: the written tier keeps them.
_CONTROL = regex.compile(r"[\p{Cf}\p{Cc}\p{Co}\p{Cs}--[\u200C\u200D\t\n\v\f\r\x1c-\x1f\x85]]", regex.V1)
_SPACE = regex.compile(r"[\s\x1c-\x1f]+")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ‛ʹ＇`´׳ꞌ", "'") | dict.fromkeys("‐‑‒", "-"))
# Marks that stand inside a word without dividing it: Hebrew gershayim, Armenian question, exclamation and stress marks.
_INSIDE = regex.compile(r'(?<=[\p{L}\p{M}])[\u05F4\u055B\u055C\u055E]|(?<=\p{Hebrew})"(?=\p{Hebrew})')
_REMARK = regex.compile(r"\[[^\[\]]*\]|\([^()]*\)|【[^【】]*】|\*[^*]+\*|[♪♫]+[^♪♫]*[♪♫]+|</?\p{L}[^<>]*>")
_PUNCTUATION = regex.compile(
    r"(?<=[\p{L}\p{M}\p{N}])['\-·](?=[\p{L}\p{N}])(*SKIP)(*FAIL)|(?<=\p{N})[.,:/](?=\p{N})(*SKIP)(*FAIL)|[^\p{L}\p{M}\p{N}\s]"
)
_PUNCTUATION_READ = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])['\-·](?=[\p{L}\p{N}])(*SKIP)(*FAIL)|[^\p{L}\p{M}\p{N}\s]")
_TURKIC = str.maketrans({"I": "ı", "İ": "i"})


def normalise(text: str, language: str | None) -> str:
    """The verbatim form of a label: NFKC, lower case, numbers in words, no punctuation, single spaces.

    Apostrophes and hyphens inside words stay. Remarks in brackets, between asterisks or notes, and tags are not speech and go
    ([Music], (laughs), *coughs*, ♪ la la ♪). Where the language is unknown digits stay, with the marks between them.

    >>> normalise("[Music] “Don't”, he said – 21 e-mails…", "en")
    "don't he said twenty one e-mails"
    >>> normalise("ILIK SICAK", "tr"), normalise("It’s 3.5%", None), normalise("(applause)", "en")
    ('ılık sıcak', "it's 3.5", '')
    """
    base, _region = split(language)
    text = _INVISIBLE.sub("", text)
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    text = _without_remarks(_INSIDE.sub("", text))
    if ampersand := LANGUAGES[base].ampersand if base in LANGUAGES else "":
        text = regex.sub(r"(?<=\s)&(?=\s)", ampersand, text)
    text = verbalise(text, language)
    text = text.translate(_TURKIC).lower() if base in {"tr", "az"} else text.lower()
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).translate(_APOSTROPHES))
    text = (_PUNCTUATION_READ if can_count(language) else _PUNCTUATION).sub(" ", text)
    return str(_SPACE.sub(" ", text)).strip() if regex.search(r"[\p{L}\p{N}]", text) else ""


def spoken(word: str, language: str | None) -> str:
    """What is said for one written token: nothing, a word, or several.

    >>> spoken("21%,", "en"), spoken("—", "en")
    ('twenty one percent', '')
    """
    return normalise(word, language)


def punctuated(text: str) -> str:
    r"""The punctuated tier: the text as it is, in NFC, without control characters and with single spaces.

    >>> punctuated("  Hello,\n\x07 World!\u200b ")
    'Hello, World!'
    """
    return str(_SPACE.sub(" ", unicodedata.normalize("NFC", _CONTROL.sub("", text)))).strip()


def _without_remarks(text: str) -> str:
    for _depth in range(8):  # brackets in brackets, from the inside out
        before, text = text, str(_REMARK.sub(" ", text))
        if text == before:
            break
    return text
