"""What a word is, for everything that pairs words with times or scores: aligners, labellers, the vote, the cut."""

from __future__ import annotations

import regex

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(rf"[^\w\s]*{_UNSPACED}[\p{{M}}ー]*[^\w\s]*|(?:(?!{_UNSPACED})\S)+")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each of the `written_words` begins and ends, in characters.

    >>> word_spans(" Well, 42!")
    [(1, 6), (7, 10)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def written_words(text: str) -> list[str]:
    """The words of a text; in scripts without spaces each character is one. Punctuation stays with its word.

    >>> written_words("Well, 42!"), written_words("你好,world。")
    (['Well,', '42!'], ['你', '好,', 'world。'])
    """
    return [match.group() for match in _WORD.finditer(text)]
