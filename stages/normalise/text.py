"""From what a labeller wrote to what was said: the verbatim form of a text.

The verbatim form is NFKC, lower case, without punctuation, bracketed remarks and control characters, numbers written as words in
the language (num2words). It is what WER is counted on and what an aligner spells. Applying it twice changes nothing.
"""

from __future__ import annotations

import unicodedata
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import regex
from num2words import CONVERTER_CLASSES, num2words

REMARK = regex.compile(r"\[[^\[\]]*\]|\([^()]*\)|\*[^*]+\*|♪+[^♪]*♪+|[♪♫]+")
"""What Whisper writes for sounds: [Music], (laughs), *coughs*, song between notes."""
NUMBER = regex.compile(
    r"(?P<currency>[$€£¥₹])?\s?(?P<number>[0-9]{1,3}(?:[ \u00a0\u202f][0-9]{3})+(?![0-9])|[0-9]+(?:[.,][0-9]+)*)"
    r"(?P<tail>\s?[%€$£¥₹]|(?:st|nd|rd|th)\b|[ºª°])?"
)
INSIDE = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])['’ʼ·-](?=[\p{L}\p{M}\p{N}])")
"""Apostrophes and hyphens that are part of a word."""
MAX_DIGITS = 15
"""A longer number is an identifier: it is read digit by digit."""
DECIMAL_POINT = {"en", "th", "zh", "ja", "ko", "he", "hi", "bn", "ta", "te", "ur", "sw", "ms", "tl", "mt", "ga", "cy"}
"""Languages that write 1,000.5; the others write 1.000,5."""
CURRENCY = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
PERCENT = {
    "en": "percent", "es": "por ciento", "fr": "pour cent", "de": "prozent", "it": "per cento", "nl": "procent", "pt": "por cento", "pl": "procent",
    "cs": "procent", "ru": "процентов", "el": "τοις εκατό", "tr": "yüzde", "sv": "procent", "da": "procent", "no": "prosent", "ro": "la sută",
    "id": "persen", "vi": "phần trăm", "th": "เปอร์เซ็นต์",
}  # fmt: skip


def normalise(text: str, language: str | None) -> str:
    """The verbatim form of a text; `language` is BCP 47 or None (numbers stay digits then).

    >>> normalise("It's 25% — [Music] Mr. O’Neil-Smith!", "en")
    "it's twenty five percent mr o'neil-smith"
    >>> normalise("1.250,5 €", "de") == normalise(normalise("1.250,5 €", "de"), "de")
    True
    """
    code = primary(language)
    text = unicodedata.normalize("NFKC", REMARK.sub(" ", text)).replace("\x00", " ").replace("\x01", " ")
    text = NUMBER.sub(lambda match: f" {_spoken_number(match, code)} ", text)
    text = _lower(text, code)
    text = INSIDE.sub(lambda match: "\x00" if match[0] != "-" else "\x01", text)
    text = regex.sub(r"[^\p{L}\p{M}\p{N}\s\x00\x01]", " ", text)
    text = text.replace("\x00", "'").replace("\x01", "-")
    return unicodedata.normalize("NFC", " ".join(text.split()))


def spoken(word: str, language: str | None) -> str:
    """How one written word is spoken; may be several words, or nothing (a dash).

    >>> spoken("42,", "fr")
    'quarante deux'
    """
    return normalise(word, language)


def punctuated(text: str) -> str:
    """The text as it was written, NFC, without control characters and doubled spaces.

    >>> punctuated(" Hello,\\u200b  world.\\n")
    'Hello, world.'
    """
    clean = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf")
    )
    return unicodedata.normalize("NFC", " ".join(clean.split()))


def primary(language: str | None) -> str | None:
    """The language without script and region.

    >>> primary("pt-BR"), primary(None)
    ('pt', None)
    """
    return language.replace("_", "-").split("-")[0].lower() if language else None


def _lower(text: str, code: str | None) -> str:
    if code in ("tr", "az"):
        text = text.replace("I", "ı").replace("İ", "i")
    return unicodedata.normalize("NFC", text.lower())


def _spoken_number(match: regex.Match[str], code: str | None) -> str:
    written, tail, currency = match["number"], (match["tail"] or "").strip(), match["currency"]
    value = _value(written, code)
    if code not in CONVERTER_CLASSES:
        return str(match[0])
    if value is None:  # 1.2.3: a version or a date
        return " ".join(_words(Decimal(part), code) for part in regex.split(r"\D+", written))
    if value == value.to_integral_value() and (len(str(int(value))) > MAX_DIGITS or (written.startswith("0") and len(written) > 1)):
        return " ".join(_words(Decimal(digit), code) for digit in written if digit.isdigit())
    if tail in ("st", "nd", "rd", "th", "º", "ª"):
        return _words(value, code, ordinal=value == value.to_integral_value())
    said = _words(value, code)
    if tail == "%":
        percent = PERCENT.get(code, "%")
        return f"{percent} {said}" if code == "tr" else f"{said} {percent}"
    if symbol := (currency or (tail if tail in CURRENCY else None)):
        return _money(value, CURRENCY[symbol], code) or f"{said} {symbol}"
    return said


def _value(written: str, code: str | None) -> Decimal | None:
    point, comma = (".", ",") if code in DECIMAL_POINT else (",", ".")
    digits = regex.sub(r"\s", "", written)
    whole, *groups = digits.split(comma)
    if groups and all(len(group.split(point)[0]) == 3 for group in groups) and len(whole) <= 3:
        digits = digits.replace(comma, "")  # thousands
    digits = digits.replace(comma, ".").replace(point, ".")
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None


@lru_cache(maxsize=65536)
def _words(value: Decimal, code: str, *, ordinal: bool = False) -> str:
    number = int(value) if value == value.to_integral_value() else value
    try:
        said = str(num2words(number, lang=code, to="ordinal" if ordinal else "cardinal"))
    except (NotImplementedError, TypeError, ValueError, OverflowError, KeyError, IndexError):
        return str(value)  # num2words lacks this kind of number in this language
    return said.replace("-", " ")


@lru_cache(maxsize=4096)
def _money(value: Decimal, currency: str, code: str) -> str:
    try:
        said = str(num2words(float(value), lang=code, to="currency", currency=currency))
    except (NotImplementedError, TypeError, ValueError, OverflowError, KeyError, IndexError, AttributeError):
        return ""
    return regex.sub(r",\s*(zero|cero|zéro|null|nul|zéros) \S+$", "", said)
