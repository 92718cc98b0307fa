"""Pace of a label: how much text stands on how much audio.

Nobody says more than about 40 characters a second, and a label of a few characters over many seconds misses speech (bounds of OLMoASR and
Granary: Koluguri et al. 2025).
"""

from __future__ import annotations

from stages.normalise.languages import UNSPACED, split


def chars_per_second(text: str, duration: float | None) -> float | None:
    """Characters of the normalised text without spaces, a second; None without audio.

    >>> chars_per_second("ten letters", 2.0), chars_per_second("a", 0.0)
    (5.0, None)
    """
    return len(text.replace(" ", "")) / duration if duration and duration > 0 else None


def words_per_second(text: str, language: str | None, duration: float | None) -> float | None:
    """Words a second; None where words are not written apart.

    >>> words_per_second("two words", "en", 1.0), words_per_second("สวัสดี", "th", 1.0)
    (2.0, None)
    """
    if not duration or duration <= 0 or split(language)[0] in UNSPACED:
        return None
    return len(text.split()) / duration
