"""Numbers as they are read aloud: whole numbers by num2words, everything around them (decimals, percent, money, ordinals) here.

num2words reads decimals and money differently in every language, and wrongly in some (Italian "3,5" as "tre"), so it is only asked
for what it does well. Its Amharic never returns for large numbers and is left out; its limit here is twelve digits, what is longer
(phone and card numbers) is read digit by digit, as is a number with leading zeros.
"""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import regex
from num2words import CONVERTER_CLASSES, num2words

from stages.normalise.languages import CURRENCIES, CURRENCY_NAMES, LANGUAGES, MAGNITUDES, ORDINALS, POINT_REGIONS, UNSPACED, split

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DIGITS = 12
REGIONS = {("en", "IN"), ("fr", "CH"), ("fr", "BE"), ("pt", "BR")}
YEARS = {"en", "de", "nl"}
"""Languages that read 1998 as nineteen ninety-eight: a bare number from 1100 to 1999 is taken for a year, in English to 2099."""

# The converters are tables of many authors: what they lack shows as any of these, and means "not in this language".
UNSUPPORTED = (NotImplementedError, OverflowError, LookupError, TypeError, ValueError, AttributeError)

_GROUPS = {
    ",": r"[0-9]{1,3}(?:[. ][0-9]{3})+(?![0-9])|[0-9]{1,3}(?:'[0-9]{3})+(?![0-9])",
    ".": r"[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?![0-9])|[0-9]{1,3}(?:'[0-9]{3})+(?![0-9])",
}


def can_count(language: str | None) -> bool:
    """True if numbers can be put into words in this language."""
    return split(language)[0] in LANGUAGES and cardinal(0, language) is not None


@lru_cache(maxsize=65536)
def cardinal(number: int, language: str | None, to: str = "cardinal") -> str | None:
    """A whole number of at most twelve digits in words; None where the language is not known. `to` as in num2words.

    >>> cardinal(21, "de"), cardinal(3, "en", "ordinal"), cardinal(1998, "en", "year"), cardinal(105, "zh"), cardinal(1, "xx")
    ('einundzwanzig', 'third', 'nineteen ninety eight', '一百零五', None)
    """
    base, region = split(language)
    if base in OWN:
        return OWN[base](number) if to == "cardinal" else None
    code = f"{base}_{region}" if (base, region) in REGIONS else {"kk": "kz"}.get(base, base)
    if base not in LANGUAGES or code not in CONVERTER_CLASSES:
        return None
    try:
        return str(num2words(number, lang=code, to=to)).replace("-", " ") or None
    except UNSUPPORTED:
        return None


def verbalise(text: str, language: str | None) -> str:
    """The text (in NFKC) with every number in words; unchanged where the language cannot be counted in.

    >>> verbalise("In 1998 waren es 3,5 % von 1.250 €", "de")
    'In neunzehnhundertachtundneunzig waren es drei Komma fünf Prozent von eintausendzweihundertfünfzig Euro'
    >>> verbalise("the 3rd of 1,000 at $2.50, $5 million", "en")
    'the third of one thousand at two dollars fifty cents, five million dollars'
    """
    if not can_count(language):
        return text
    text = regex.sub(r"\p{Nd}", lambda match: str(unicodedata.decimal(match[0], match[0])), text)
    if not regex.search("[0-9]", text):
        return text
    return _reader(language).read(text)


@cache
def _reader(language: str | None) -> _Reader:
    return _Reader(language)


class _Reader:
    """The patterns of one language over one text, widest first. Each replaces what it reads; what is left are bare digits."""

    def __init__(self, language: str | None) -> None:
        self.language = language
        self.base, region = split(language)
        self.names = CURRENCY_NAMES.get(f"{self.base}-{region}") or CURRENCY_NAMES.get(self.base, {})
        self.words = LANGUAGES[self.base]
        self.mark = "." if f"{self.base}-{region}" in POINT_REGIONS else self.words.mark
        self.point = "punto" if (self.base, self.mark) == ("es", ".") else self.words.point
        self.gap = "" if self.base in UNSPACED else " "
        other = "." if self.mark == "," else ","
        # Not inside a longer chain of figures: dates, addresses and versions are read figure by figure.
        decimals = rf"[{self.mark}{other}][0-9]+" if self.mark == "," else r"\.[0-9]+"
        self.number = rf"(?<![0-9]|[0-9][.,])(?:{_GROUPS[self.mark]}|[0-9]+)(?:{decimals})?(?![.,]?[0-9])"

    def read(self, text: str) -> str:
        text = text.translate({0x66B: self.mark, 0x66C: "." if self.mark == "," else ","})
        sign = rf"(?P<sign>(?<!\p{{L}})(?:{'|'.join(regex.escape(sign) for sign in CURRENCIES)}))"
        number = rf"(?P<number>{self.number})"
        magnitude = rf"(?:\s(?P<scale>{MAGNITUDES[self.base]})\b)?" if self.base in MAGNITUDES else "(?P<scale>(?!))?"
        text = self._sub(rf"{sign}\s?{number}{magnitude}", self._money, text)
        text = self._sub(rf"{number}{magnitude}\s?{sign}", self._money, text)
        text = self._sub(rf"{number}\s?%" + (rf"|%\s?{number}" if self.words.percent_first else ""), self._percent, text)
        if self.base in ORDINALS:
            ending = rf"(?P<ending>{ORDINALS[self.base]})(?![\p{{L}}\p{{N}}])"
            text = self._sub(rf"(?<![0-9]|[0-9][.,])(?P<number>[0-9]{{1,6}}){ending}", self._ordinal, text)
        if self.base in YEARS:
            century = "1[1-9]|20" if self.base == "en" else "1[1-9]"
            text = self._sub(
                rf"(?<![0-9\p{{L}}]|[0-9][.,])(?P<number>(?:{century})[0-9][0-9])(?![0-9\p{{L}}]|[.,:][0-9])", self._year, text
            )
        if self.base == "en":
            text = self._sub(r"(?<![0-9\p{L}]|[0-9][.,])(?P<number>(?:1[0-9]|20)?[0-9]0)'?s(?!\p{L})", self._decade, text)
        text = self._sub(number, lambda match: self._number(match["number"]), text)
        return self._sub(r"(?P<number>[0-9]+)", lambda match: self._whole(match["number"]), text)

    def _sub(self, pattern: str, spoken: Callable[[regex.Match[str]], str | None], text: str) -> str:
        """Replace each match that has words, with spaces towards letters and figures where the script has spaces."""

        def replacement(match: regex.Match[str]) -> str:
            words = spoken(match)
            if words is None:
                return str(match[0])
            start, end = match.span()
            before, after = text[max(start - 1, 0) : start], text[end : end + 1]
            # A hyphen beside a number is a range, a minus or a compound: none is a letter of the word.
            return (self.gap if before.isalnum() or before == "-" else "") + words + (self.gap if after.isalnum() or after == "-" else "")

        return str(regex.sub(pattern, replacement, text))

    def _whole(self, digits: str) -> str:
        if len(digits) <= MAX_DIGITS and not (len(digits) > 1 and int(digits[0]) == 0):
            words = cardinal(int(digits), self.language)
            if words is not None:
                return words
        return (self.gap or "").join(cardinal(int(digit), self.language) or digit for digit in digits)

    def _parts(self, figure: str) -> tuple[str, str]:
        """Whole digits and decimals, without separators."""
        grouped = regex.match(_GROUPS[self.mark], figure)
        whole = grouped[0] if grouped else regex.match(r"[0-9]+", figure)[0]
        return regex.sub(r"\D", "", whole), figure[len(whole) + 1 :]

    def _number(self, figure: str) -> str:
        whole, decimals = self._parts(figure)
        if not decimals:
            return self._whole(whole)
        return self.gap.join([self._whole(whole), self.point, *(self._whole(digit) for digit in decimals)])

    def _percent(self, match: regex.Match[str]) -> str:
        words, percent = self._number(match["number"]), self.words.percent
        return self.gap.join([percent, words] if self.words.percent_first else [words, percent])

    def _ordinal(self, match: regex.Match[str]) -> str | None:
        words, ending = cardinal(int(match["number"]), self.language, "ordinal"), match["ending"]
        if words and ending in {"re", "ère", "ères"}:  # French writes them behind 1 only
            return "première" if words == "premier" else None
        if words and self.base in {"es", "it", "pt"} and ending.endswith("a"):
            return " ".join(word[:-1] + "a" if word.endswith("o") else word for word in words.split())
        return words.removesuffix("o") if words and (self.base, ending) == ("es", "er") else words

    def _year(self, match: regex.Match[str]) -> str | None:
        return cardinal(int(match["number"]), self.language, "year")

    def _decade(self, match: regex.Match[str]) -> str | None:
        words = self._year(match) or ""
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    def _money(self, match: regex.Match[str]) -> str:
        currency = CURRENCIES[match["sign"]]
        whole, decimals = self._parts(match["number"])
        if scale := match["scale"]:
            of = "" if scale in {"mil", "mille", "mila"} else {"es": "de ", "fr": "de ", "it": "di ", "pt": "de "}.get(self.base, "")
            unit = (of + self._unit(currency)).replace("de e", "d'e" if self.base == "fr" else "de e")
            return self.gap.join([self._number(match["number"]), scale, unit])
        if len(whole) > MAX_DIGITS or len(decimals) not in {0, 2}:
            return self.gap.join(filter(None, [self._number(match["number"]), self._unit(currency)]))
        return self._amount(int(whole), int(decimals or 0), currency)

    def _amount(self, whole: int, cents: int, currency: str) -> str:
        """A sum with the name of its currency, declined where the language declines it."""
        number = self._whole(str(whole))
        if name := self.names.get(currency):
            return self.gap.join([number, name, *([self._whole(str(cents))] if cents else [])])
        if self.base not in {"kn", "te"} and self.base in CONVERTER_CLASSES:  # these two have English names
            try:
                words = num2words(Decimal(100 * whole + cents) / 100, lang=self.base, to="currency", currency=currency, separator="|")
            except UNSUPPORTED:
                pass
            else:
                main, _, small = str(words).replace("-", " ").partition("|")
                return " ".join(f"{main.strip().removesuffix(' sterling')} {small if cents else ''}".split())
        return self.gap.join([number, *([self._whole(str(cents))] if cents else [])])

    def _unit(self, currency: str) -> str:
        """The name of a currency behind a number above one."""
        return self._amount(2, 0, currency).removeprefix(self._whole("2")).strip()


def _chinese(number: int) -> str:
    """Mandarin cardinals: groups of four digits, a zero for a gap, 十 without 一 at the start."""
    if number == 0:
        return "零"
    digits, groups, unit = "零一二三四五六七八九", [], 0
    while number:
        number, group = divmod(number, 10_000)
        if group:
            words, gap = "", False
            for power, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
                digit = group // power % 10
                if digit:
                    words += ("零" if gap and words else "") + digits[digit] + name
                gap = not digit
            lead = "零" if number and group < 1000 else ""
            groups.append(lead + words + ("", "万", "亿", "万亿")[unit])
        unit += 1
    words = "".join(reversed(groups))
    return words.removeprefix("一") if words.startswith("一十") else words


OWN: dict[str, Callable[[int], str]] = {"zh": _chinese}
