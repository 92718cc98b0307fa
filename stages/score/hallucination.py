"""Is a label one of the sentences that Whisper writes where nobody speaks?

Trained on subtitles of the web, it fills silence and music with their credits and farewells ("Thanks for watching!", "Subtitles by the
Amara.org community"; Koenecke et al. 2024, "Careless Whisper"; Baranski et al. 2025). The lists in `assets/hallucinations` hold whole
utterances, one a line. A label counts if it is one of them, whole, or several in a row: never if it only starts with one. All lists apply to
every label, because a labeller in doubt falls into other languages. A line after `~` is what people say as well ("thank you"): it counts
only beside a phrase that nobody says but a video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

import regex

from pipeline.contract import SilverError
from stages.normalise.text import normalise

_LONGEST = 2000
"""Characters; no hallucination of these phrases is longer than a window of 30 s."""

Phrases = Mapping[str, int]
"""Key of each phrase; 1 for a courtesy, 2 for what nobody says."""


def is_hallucination(text: str, phrases: Phrases | None = None) -> bool:
    """True if the label, as the labeller wrote it, holds nothing but phrases of the lists (by default the shipped ones).

    >>> is_hallucination("Thank you for watching!"), is_hallucination("Thank you, Mr President, for the excellent report")
    (True, False)
    """
    written = _key(text)
    if not written or len(written) > _LONGEST:
        return False
    phrases = shipped() if phrases is None else phrases
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
def shipped() -> Phrases:
    """All phrases of the lists in `assets/hallucinations`."""
    found: dict[str, int] = {}
    for file in sorted(resources.files("stages.score").joinpath("assets", "hallucinations").iterdir(), key=lambda file: file.name):
        found |= parse(file.read_text(encoding="utf-8"), file.name)
    return found


def read_list(path: str) -> Phrases:
    """The phrases of somebody's own list, in the form of the shipped ones.

    Raises:
        SilverError: it cannot be read, or holds a line that is no phrase.
    """
    try:
        return parse(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise SilverError(f"score.phrases: {path} cannot be read as UTF-8 text ({error})") from error


def revision(path: str) -> str:
    """First 16 hex of the sha256 of a list."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def parse(text: str, name: str) -> dict[str, int]:
    """The phrases of a list: one a line, `~` before a courtesy, the rest of a line after `#` is a comment. `name` is for the message.

    Raises:
        SilverError: a line could never match a label, as one without letters, or one that carries the count it had in a table.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        phrase = line.partition("#")[0].strip()
        if not phrase:
            continue
        courtesy = phrase.startswith("~")
        phrase = phrase.removeprefix("~").strip()
        if wrong := _wrong(phrase):
            raise SilverError(f"{name}, line {number}: {line.strip()[:80]!r} {wrong}; a line is one phrase, as a labeller writes it")
        found[_key(phrase)] = 1 if courtesy else 2
    if len(found) > 3 and sum(key.endswith("0") for key in found) > len(found) / 2:
        raise SilverError(f"{name}: most lines end in a number, as of a table of counts, and would match nothing; leave the numbers out")
    return found


def _wrong(phrase: str) -> str:
    key = _key(phrase)
    if "\t" in phrase or regex.search(r"^\d+[\s,;:]|[,;:]\d+$", phrase):
        return "carries a number, as of a table of counts"
    if len(key.replace("0", "")) < 2:
        return "has no letters to match"
    return "is too long to be matched" if len(key) > _LONGEST else ""
