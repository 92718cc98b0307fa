"""Forced alignment with a CTC model: what the backends share, from the windows that the model hears to words with times and scores.

A row is heard in windows of at most 30 s that overlap, in batches that go across rows; the overlap is dropped, so that the emissions are
those of the whole row. Up to a minute or two the path is searched in one go, in longer rows piece by piece (see `stages.align.pieces`):
work and memory grow with the length, not with its square.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contract import ItemError, PartContext, SilverError
from stages.align import network
from stages.align.backend import Character, Item, Word
from stages.align.network import LogProbs
from stages.align.pieces import Greedy, Piece, search_in_pieces
from stages.align.spelling import WILDCARD, spell
from stages.align.viterbi import Ints, Spans, aligned_words
from stages.audio import Samples
from stages.whisper import WINDOW, read_window
from stages.words import written_words

if TYPE_CHECKING:
    from stages.align import Align

DEFAULT_MODEL = "MMS_FA"
"""Pratap et al. 2023, "Scaling Speech Technology to 1,000+ Languages": 1,130 languages, romanised."""

CONTEXT = 2.0
"""Seconds at each inner edge of a window that only its neighbour is asked about: what is cut there is heard badly. GigaSpeech 2 takes 3."""

BLANK = 0
"""Of the emissions once they are narrowed to the classes of a text."""


class CtcBackend(ABC):
    """A backend of Align (see `stages.align.backend.Backend`).

    A subclass says how words are found in emissions (`search`); one with a model that is not a `stages.align.network` also brings
    `identity`, `setup`, which sets `vocabulary`, `blank` and `stride`, and `emissions`.
    """

    vocabulary: Mapping[str, int]
    """Class of each character that the model spells with; of the space, where it has a class for what is between words."""
    blank: int
    """Class of no character."""
    stride: float
    """Seconds from one frame to the next."""

    def __init__(self, params: Align.Params) -> None:
        self._model = params.model or DEFAULT_MODEL
        self._batch_size = params.batch_size
        self._characters = params.characters

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""
        return network.identity(self._model)

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        import torch

        torch.set_num_threads(context.threads)
        self._network = network.load(self._model, context.device)
        if self._network.spell is not None:
            raise SilverError(
                f"{self._model} writes pieces of words, and cannot tell where a character is: align with one that was trained with pieces: 0"
            )
        self.vocabulary, self.blank, self.stride = self._network.vocabulary, self._network.blank, self._network.stride

    def emissions(self, rows: Sequence[Mapping[str, Any]], context: PartContext) -> list[LogProbs | ItemError]:
        """For each row (a span of a recording of at most 30 s), in order, its emissions, shape (frames, classes), or why there are none.

        `rows` are some batches of windows, so that those of similar length can go together.
        """
        waves = [_samples(row, context) for row in rows]
        found = iter(self._network.log_probs([wave for wave in waves if not isinstance(wave, ItemError)], self._batch_size))
        return [wave if isinstance(wave, ItemError) else next(found) for wave in waves]

    @abstractmethod
    def search(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], separator: int | None) -> list[Spans]:
        """Where each word, given its classes, is in finite emissions with the blank at 0, in frames. Raises ItemError."""

    def needed(self, spelled: Sequence[Sequence[int]]) -> Iterable[int]:
        """The classes that `search` looks at, besides those of the blank and the space: by default those of the text."""
        return chain.from_iterable(spelled)

    def align(self, items: Sequence[Item], context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item its words, or why it cannot be aligned."""
        windows = [_windows(item.row) for item in items]
        heard = self._listen(windows, context)
        for item, own in zip(items, windows, strict=True):
            try:
                yield self._words(item, own, heard)
            except ItemError as error:
                yield error

    def _listen(self, windows: Sequence[Sequence[Mapping[str, Any]]], context: PartContext) -> Iterator[LogProbs | ItemError]:
        """Emissions of the windows of each item, in order."""
        every = [(window, len(own) == 1) for own in windows for window in own]
        ahead = 2 * self._batch_size
        for at in range(0, len(every), ahead):
            batch = every[at : at + ahead]
            # The windows of a long row are nobody else's, and they are many: what an encoder made of them is not kept for later stages.
            shared = context if all(whole for _, whole in batch) else replace(context, memory=dict(context.memory))
            yield from self.emissions([window for window, _ in batch], shared)

    def _words(self, item: Item, windows: Sequence[Mapping[str, Any]], heard: Iterator[LogProbs | ItemError]) -> list[Word]:
        words = written_words(item.text)
        language = item.row.get("language") or item.row.get("audio_language")
        spelled = [spell(word, language, self.vocabulary) for word in words]
        space = self.vocabulary.get(" ", WILDCARD)
        kept = [self.blank, *sorted({space, *self.needed(spelled)} - {WILDCARD})]
        log_probs, most_probable = self._joined(windows, islice(heard, len(windows)), kept)
        if all(i == WILDCARD for word in spelled for i in word):
            raise ItemError("alignment", f"the aligner's model can spell nothing of the text: {item.text.strip()[:100]!r}")
        greedy = self._greedy(most_probable)
        column = {i: place for place, i in enumerate(kept)} | {WILDCARD: WILDCARD}

        def search(piece: Piece) -> list[Spans]:
            own = [[column[i] for i in word] for word in spelled[piece.first_word : piece.end_word]]
            return self.search(log_probs[piece.first : piece.end], own, None if space == WILDCARD else column[space])

        found = search_in_pieces(search, greedy, spelled, len(log_probs), self.stride)
        return self._told(item.row, words, spelled, found, greedy)

    def _joined(
        self, windows: Sequence[Mapping[str, Any]], heard: Iterable[LogProbs | ItemError], kept: list[int]
    ) -> tuple[LogProbs, Ints]:
        """The emissions of a row, of each window all but the context that a neighbour knows better: those of the classes `kept`, which is
        all that the search looks at, and the most probable of all classes, shape (frames,). Raises ItemError, when all are taken.
        """
        edge, step = round(CONTEXT / self.stride), round((WINDOW - 2 * CONTEXT) / self.stride)
        log_probs: list[LogProbs] = [np.zeros((0, len(kept)), np.float32)]
        most_probable: list[Ints] = [np.zeros(0, np.int64)]
        problem: ItemError | None = None
        for i, (window, found) in enumerate(zip(windows, heard, strict=True)):
            if isinstance(found, ItemError):
                problem = problem or found
            elif not np.isfinite(found).all():
                detail = f"the model's output is not a number in the window that starts at {window['start']:.2f} s"
                problem = problem or ItemError("alignment", detail)
            else:
                inner = found[: round((window["end"] - window["start"]) / self.stride)]  # a model may hear its own padding
                inner = inner[edge if i else 0 : edge + step if i < len(windows) - 1 else None]
                if len(inner):
                    log_probs.append(inner[:, kept])
                    most_probable.append(inner.argmax(axis=1))
        if problem:
            raise problem
        return np.concatenate(log_probs), np.concatenate(most_probable)

    def _greedy(self, most_probable: Ints) -> Greedy:
        """What the model would have written by itself: repetitions merged, blanks and all that is no character left out."""
        edges = np.flatnonzero(np.diff(most_probable, prepend=-1, append=-1))
        classes = most_probable[edges[:-1]]
        is_character = np.isin(classes, [i for character, i in self.vocabulary.items() if character != " "])
        return Greedy(classes[is_character], edges[:-1][is_character], edges[1:][is_character])

    def _told(
        self, row: Mapping[str, Any], words: Sequence[str], spelled: Sequence[Sequence[int]], found: Sequence[Spans], greedy: Greedy
    ) -> list[Word]:
        """Words with times in the recording; each character of `greedy` goes to the word whose half of the gap its middle is in."""
        character = {i: written for written, i in self.vocabulary.items()} | {WILDCARD: "*"}
        starts, ends = (np.array([edge[i] for edge, _ in found]) for i in (0, 1))
        owners = np.searchsorted((ends[:-1] + starts[1:]) / 2, (greedy.starts + greedy.ends) / 2, side="right")
        heard: list[list[str]] = [[] for _ in words]
        for owner, i in zip(owners.tolist(), greedy.classes.tolist(), strict=True):
            heard[owner].append(character[i])
        duration = row["end"] - row["start"]

        def at(frame: float) -> float:
            return float(row["start"] + min(frame * self.stride, duration))

        told = []
        for word, classes, own, (span, spans) in zip(words, spelled, heard, found, strict=True):
            letters = [character[i] for i in classes]
            timed = None
            if self._characters:
                timed = tuple(Character(c, at(s.start), at(s.end), s.score) for c, s in zip(letters, spans, strict=True) if c != " ")
            spelling = "".join(letters).replace(" ", "")
            told.append(Word(word, at(span.start), at(span.end), span.score, spelling, "".join(own), timed))
        return told


class PathBackend(CtcBackend):
    """Words are where they are on the most probable path; a subclass searches it."""

    def search(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], separator: int | None) -> list[Spans]:
        """See `aligned_words`."""
        return aligned_words(log_probs, spelled, BLANK, separator, self.path)

    @staticmethod
    @abstractmethod
    def path(log_probs: LogProbs, targets: Ints, blank: int) -> Ints:
        """See `stages.align.viterbi.Search`."""


def _windows(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The windows that a row is heard in, as rows; the row itself if it fits into one.

    >>> [(window["start"], window["end"]) for window in _windows({"start": 1.0, "end": 62.0})]
    [(1.0, 31.0), (27.0, 57.0), (53.0, 62.0)]
    """
    found = [row]
    while found[-1]["end"] - found[-1]["start"] > WINDOW + 0.01:
        rest = found.pop()
        found += [{**rest, "end": rest["start"] + WINDOW}, {**rest, "start": rest["start"] + WINDOW - 2 * CONTEXT}]
    return found


def _samples(row: Mapping[str, Any], context: PartContext) -> Samples | ItemError:
    try:
        return read_window(context, row)
    except ItemError as error:
        return error
