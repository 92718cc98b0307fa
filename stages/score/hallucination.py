"""Is a label one of the sentences that Whisper writes where nobody speaks?

Trained on subtitles of the web, it fills silence and music with their credits and farewells ("Thanks for watching!", "Subtitles by the
Amara.org community"; Koenecke et al. 2024, "Careless Whisper"; Baranski et al. 2025). The lists in `assets/hallucinations` hold whole
utterances, one a line. A label counts if it is one of them, whole, or several in a row: never if it only starts with one. All lists apply to
every label, because a labeller in doubt falls into other languages. A line after `~` is what people say as well ("thank you"): it counts
only beside a phrase that nobody says but a video.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import regex

from stages.normalise.text import normalise

_LONGEST = 2000
"""Characters; no hallucination of these phrases is longer than a window of 30 s."""


def is_hallucination(text: str) -> bool:
    """True if the label, as the labeller wrote it, holds nothing but phrases of the lists.

    >>> is_hallucination("Thank you for watching!"), is_hallucination("Thank you, Mr President, for the excellent report")
    (True, False)
    """
    written = _key(text)
    if not written or len(written) > _LONGEST:
        return False
    phrases = _phrases()
    lengths = sorted({len(phrase) for phrase in phrases})
    # What can be read from the start as whole phrases, up to each place: not at all (0), as courtesies only (1), with a phrase (2).
    read = [1] + [0] * len(written)
    for start in range(len(written)):
        if read[start]:
            for length in lengths:
                end = start + length
                if end <= len(written) and (kind := phrases.get(written[start:end])):
                    read[end] = max(read[end], read[start], kind)
    return read[-1] == 2


def _key(text: str) -> str:
    """The text without case (nor the Turkish dots that depend on it), punctuation, spaces; every number alike: the year of a broadcast."""
    return str(regex.sub(r"\d+", "0", normalise(text, None))).replace(" ", "").replace("ı", "i").replace("\u0307", "")


@lru_cache(maxsize=1)
def _phrases() -> dict[str, int]:
    """Key of each phrase of the lists; 1 for a courtesy, 2 for what nobody says."""
    found: dict[str, int] = {}
    for file in sorted(resources.files("stages.score").joinpath("assets", "hallucinations").iterdir(), key=lambda file: file.name):
        for line in file.read_text(encoding="utf-8").splitlines():
            phrase = line.partition("#")[0].strip()
            if phrase:
                courtesy = phrase.startswith("~")
                found[_key(phrase.removeprefix("~"))] = 1 if courtesy else 2
    return found
