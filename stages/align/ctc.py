"""Forced alignment with a CTC model: what the backends share, from written words to their times and scores.

A word is spelled with the model's characters; the Viterbi path through the model's emissions says which frames each
character was heard in (Kürzinger et al. 2020, "CTC-Segmentation"; torchaudio's forced alignment tutorial).
"""

from __future__ import annotations

import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.contract import ItemError, PartContext
from stages.align import network
from stages.align.backend import Item, Word
from stages.align.network import LogProbs
from stages.audio import SAMPLE_RATE
from stages.normalise.text import spoken
from stages.words import written_words

if TYPE_CHECKING:
    from stages.align import Align

DEFAULT_MODEL = "MMS_FA"
"""Pratap et al. 2023, "Scaling Speech Technology to 1,000+ Languages": 1,130 languages, romanised."""

LONGEST = 120
"""Seconds of a segment at most: memory and time grow with the square of the length."""

WILDCARD = -1
"""Stands for what the model cannot spell, until `aligned_words` gives it a class of its own."""

WILDCARD_PROBABILITY = 0.5
"""Of the wildcard, at every frame: it takes those at which all else that the text allows is less likely than not. Pratap et al. 2023
(and torchaudio's tutorial) take 1; that eats the silence around it and all but one frame of the characters beside it."""

Ints = npt.NDArray[np.int64]

Search = Callable[[LogProbs, Ints, int], Ints]

_ISO_639_3 = {
    "ar": "ara", "be": "bel", "bg": "bul", "de": "deu", "el": "ell", "en": "eng", "fa": "fas", "he": "heb", "kk": "kaz", "ky": "kir",
    "lt": "lit", "lv": "lav", "mk": "mkd", "os": "oss", "ps": "pus", "ru": "rus", "sr": "srp", "tr": "tur", "ug": "uig", "uk": "ukr",
    "yi": "yid",
}  # fmt: skip
"""Languages for which uroman has rules of their own, by the code that it knows them by."""


def spell(word: str, language: str | None, vocabulary: Mapping[str, int]) -> list[int]:
    """Classes of a written word, never empty: as it is spoken, or that romanised, whichever the model spells with fewer wildcards.

    Punctuation and marks that the model does not know are silent; a run of letters or digits that it does not know is one wildcard.

    >>> spell("Ñu!", "es", {"n": 1, "u": 2}), spell("ñu", "es", {"ñ": 3, "u": 2}), spell("…", "es", {"a": 1})
    ([1, 2], [3, 2], [-1])
    """
    text = spoken(word, language).strip()
    best = _classes(text, vocabulary)
    if WILDCARD in best:
        best = min(best, _classes(_romanised(text, language), vocabulary), key=lambda classes: (classes.count(WILDCARD), -len(classes)))
    return best


def _classes(text: str, vocabulary: Mapping[str, int]) -> list[int]:
    classes: list[int] = []
    for character in text:
        known = next((vocabulary[c] for c in (character, character.lower(), character.upper()) if c in vocabulary), None)
        if known is not None:
            classes.append(known)
        elif unicodedata.category(character)[0] in "LN" and classes[-1:] != [WILDCARD]:
            classes.append(WILDCARD)
    return classes or [WILDCARD]


@cache
def _uroman() -> Any:
    import uroman

    return uroman.Uroman()


@lru_cache(1 << 16)
def _romanised(text: str, language: str | None) -> str:
    return str(_uroman().romanize_string(text, lcode=_ISO_639_3.get((language or "").split("-")[0].lower())))


Times = list[tuple[float, float, float]]
"""Of each word: start and end in seconds from the beginning of the segment, and score."""


class CtcBackend(ABC):
    """A backend of Align (see `stages.align.backend.Backend`); a subclass says how times are found in the model's emissions."""

    def __init__(self, params: Align.Params) -> None:
        self._model = params.model or DEFAULT_MODEL
        self._batch_size = params.batch_size

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""
        return network.identity(self._model)

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        import torch

        torch.set_num_threads(context.threads)
        self._network = network.load(self._model, context.device)

    def align(self, items: Sequence[Item], _context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item its words, or why it cannot be aligned."""
        limit = LONGEST * SAMPLE_RATE
        waves = [item.samples if len(item.samples) <= limit else item.samples[:0] for item in items]
        for item, log_probs in zip(items, self._network.log_probs(waves, self._batch_size), strict=True):
            try:
                yield self._words(item, log_probs)
            except ItemError as error:
                yield error

    def _words(self, item: Item, log_probs: LogProbs) -> list[Word]:
        duration = len(item.samples) / SAMPLE_RATE
        if duration > LONGEST:
            raise ItemError("too_long", f"{duration:.2f} s: at most {LONGEST} s are aligned at once; put `segment` before this stage")
        if not np.isfinite(log_probs).all():
            raise ItemError("alignment", "the model's output is not a number")
        words = written_words(item.row["text_raw"])
        language = item.row.get("language") or item.row.get("audio_language")
        times = self.times(log_probs, [spell(word, language, self._network.vocabulary) for word in words], duration)
        begin = item.row["start"]
        return [Word(word, begin + start, begin + end, score) for word, (start, end, score) in zip(words, times, strict=True)]

    @abstractmethod
    def times(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], duration: float) -> Times:
        """Times of words, given their classes, in finite emissions of `duration` seconds. Raises ItemError."""


class ViterbiBackend(CtcBackend):
    """Times are those of the most probable path; a subclass searches it."""

    def times(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], duration: float) -> Times:
        """See `aligned_words`."""
        stride = self._network.stride
        found = aligned_words(log_probs, spelled, self._network.blank, self._network.vocabulary.get(" "), self.path)
        return [(start * stride, min(end * stride, duration), score) for start, end, score in found]

    @staticmethod
    @abstractmethod
    def path(log_probs: LogProbs, targets: Ints, blank: int) -> Ints:
        """The most probable class of each frame, shape (frames,), on a path that spells `targets`."""


def aligned_words(
    log_probs: LogProbs, spelled: Sequence[Sequence[int]], blank: int, separator: int | None, path: Search
) -> list[tuple[int, int, float]]:
    """First frame, frame after the last, and score of each word; `path` as in `ViterbiBackend.path`.

    The score is the mean probability of the frames in which the word's characters are; blanks and wildcards say nothing (NaN where
    there is nothing else).

    Raises:
        ItemError: more characters than frames.
    """
    frames, classes = log_probs.shape
    targets: list[int] = []
    owners: list[int] = []  # index of the word that a target belongs to, -1 for a separator
    for index, word in enumerate(spelled):
        if index and separator is not None:
            targets.append(separator)
            owners.append(-1)
        targets += [classes if target == WILDCARD else target for target in word]
        owners += [index] * len(word)
    needed = len(targets) + sum(a == b for a, b in pairwise(targets))
    if needed > frames:
        raise ItemError("alignment", f"{needed} characters and blanks between them do not fit into {frames} frames")
    # Frames of certain blank in front change no path, and keep ctc-forced-aligner 1.0.2 (and torchaudio before it was mended)
    # inside the memory it takes: it writes past its end with fewer than two frames a target.
    front = max(0, 2 * len(targets) + 1 - frames)
    lattice = np.full((front + frames, classes + 1), -np.inf, np.float32)
    lattice[:front, blank] = 0
    lattice[front:, :classes] = log_probs
    lattice[front:, classes] = math.log(WILDCARD_PROBABILITY)
    found = path(lattice, np.asarray(targets, np.int64), blank)[front:]

    edges = np.flatnonzero(np.diff(found, prepend=-1, append=-1))
    spans = [(start, end) for start, end in pairwise(edges.tolist()) if found[start] != blank]
    times: list[list[tuple[int, int]]] = [[] for _ in spelled]
    for owner, span in zip(owners, spans, strict=True):
        if owner >= 0:
            times[owner].append(span)
    return [(of_word[0][0], of_word[-1][1], _score(lattice[front:], found, of_word)) for of_word in times]


def _score(lattice: LogProbs, found: Ints, spans: Sequence[tuple[int, int]]) -> float:
    wildcard = lattice.shape[1] - 1
    heard = [frame for start, end in spans if found[start] != wildcard for frame in range(start, end)]
    return float(np.exp(lattice[heard, found[heard]]).mean()) if heard else math.nan
