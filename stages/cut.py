"""Cut one label where another is cut: a label without word times follows the one that has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stages.pairing import pair
from stages.score.agreement import spoken_words
from stages.words import written_words


def apart(text: str, pieces: Sequence[str], language: str | None) -> list[str]:
    """The text in as many parts as there are pieces of another label of the same audio; a part may be empty. No word is lost.

    A word goes where most of the words are that stand for what is said with it; one that the other label does not have goes with the word
    before it, at the beginning with the first piece.

    >>> apart("It's Debbie and packaging. Well, then", ["It is Debian packaging.", "And then?"], "en")
    ["It's Debbie and packaging.", 'Well, then']
    """
    written = written_words(text)
    reference = [(index, said) for index, piece in enumerate(pieces) for word in written_words(piece) for said in _said(word, language)]
    hypothesis = [(index, said) for index, word in enumerate(written) for said in _said(word, language)]
    votes = [Counter[int]() for _ in written]
    for to, at in pair([{said} for _, said in reference], [said for _, said in hypothesis]):
        if to is not None and at is not None:
            votes[hypothesis[at][0]][reference[to][0]] += 1
    parts = [""] * len(pieces)
    piece = place = 0
    for word, found in zip(written, votes, strict=True):
        end = text.index(word, place) + len(word)
        if found:
            piece = found.most_common(1)[0][0]
        parts[piece] += text[place:end]
        place = end
    return [part.strip() for part in parts]


def _said(word: str, language: str | None) -> list[str]:
    """What is said for a word, contractions apart: "it's" stands for "it is"."""
    return " ".join(spoken_words(word, language)).replace("'", " ").split()
