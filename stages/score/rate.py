"""Pace of a label: how much text stands on how much audio.

Nobody says more than about 40 letters a second, and a label of a few letters over many seconds misses speech (bounds of OLMoASR and Granary:
Koluguri et al. 2025, on languages of letters). A Chinese character is a syllable, so the same bound on characters says nothing of Chinese.
`letters_per_second` counts each character as the letters that it is read as, one yardstick for every language.
"""

from __future__ import annotations

import regex

from stages.normalise.languages import UNSPACED, split

LETTERS = {"Han": 3.1, "Hangul": 2.8, "Hiragana": 1.8, "Katakana": 1.6, "Ethiopic": 2.0}
"""Latin letters that a character of a script is read as: length of uroman's romanisation (Hermjakob et al. 2018) of the phrases in
`assets/hallucinations` over theirs (Ethiopic: of a greeting). All other scripts measured 1.0 to 1.3 and count 1."""
_MORE = regex.compile("|".join(rf"(?P<{script}>\p{{{script}}})" for script in LETTERS))


def chars_per_second(text: str, duration: float | None) -> float | None:
    """Characters of the normalised text without spaces, a second; None without audio.

    >>> chars_per_second("ten letters", 2.0), chars_per_second("a", 0.0)
    (5.0, None)
    """
    return len(text.replace(" ", "")) / duration if duration and duration > 0 else None


def letters_per_second(text: str, duration: float | None) -> float | None:
    """Characters a second, each counted as the letters it is read as; None without audio.

    >>> letters_per_second("ten letters", 2.0), round(letters_per_second("你好世界", 2.0), 1)
    (5.0, 6.2)
    """
    if not duration or duration <= 0:
        return None
    more = sum(LETTERS[found.lastgroup] - 1 for found in _MORE.finditer(text))
    return (len(text.replace(" ", "")) + float(more)) / duration


def words_per_second(text: str, language: str | None, duration: float | None) -> float | None:
    """Words a second; None where words are not written apart.

    >>> words_per_second("two words", "en", 1.0), words_per_second("สวัสดี", "th", 1.0)
    (2.0, None)
    """
    if not duration or duration <= 0 or split(language)[0] in UNSPACED:
        return None
    return len(text.split()) / duration
