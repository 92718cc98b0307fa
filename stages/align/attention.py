"""Word times from Whisper's own cross-attention: no second model, and none of the encoder's work done again.

The attention weights of the heads that follow the audio (listed in the model's config) are aligned with the tokens by dynamic time
warping, as in OpenAI's Whisper (`whisper/timing.py`, https://github.com/openai/whisper); CTranslate2 does that part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.contract import ItemError, PartContext
from stages import models, whisper
from stages.align.backend import Item, Word
from stages.audio import SAMPLE_RATE, Samples
from stages.transcribe.labeller import language_of, unknown_language

_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Whisper's languages that are written without spaces: each character counts as a word."""

_TOKENS_PER_SECOND = 50  # of the encoder's output
_FRAMES_PER_SECOND = 100  # of the mel features


@dataclass
class _Piece:
    """A written word: its text, and the places (in the row's tokens) of those of its tokens that are spoken."""

    text: str
    tokens: list[int] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)


class Attention:
    """Times of 20 ms; the score of a word is the mean probability of its tokens, punctuation left out."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self._name: str = params.model or "large-v3"
        self._model: Any = None

    def identity(self) -> Mapping[str, str]:
        """The model's weights."""
        return whisper.identity(self._name)

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._model = whisper.load(self._name, self.params.compute_type, context)

    def align(self, items: Sequence[Item], context: PartContext) -> Iterator[list[Word] | ItemError]:
        """See `Backend`. One window at a time: in a batch, CTranslate2 lets the padding of the shorter texts into their times."""
        problems = [whisper.too_long(item.row) for item in items]
        outputs = iter(
            whisper.encode(context, self._model, [item.row for item, problem in zip(items, problems, strict=True) if not problem])
        )
        for item, problem in zip(items, problems, strict=True):
            output = problem or next(outputs)
            if isinstance(output, ItemError):
                yield output
                continue
            code = language_of(item.row) or whisper.detect(self._model, output)
            if not whisper.knows(self._model, code):
                yield unknown_language(code, models.title(self._name))
                continue
            try:
                yield self._align(item, output, code, whisper.read_window(context, item.row))
            except ItemError as error:
                yield error

    def _align(self, item: Item, output: whisper.Encoded, code: str, samples: Samples) -> list[Word]:
        """Raises ItemError."""
        tokenizer = whisper.tokenizer(self._model, code)
        spaced = code not in _UNSPACED
        text = " ".join(item.text.split())
        tokens = tokenizer.encode(" " + text if spaced else text)
        if len(tokens) > self._model.max_length - len(tokenizer.sot_sequence) - 2:  # "no timestamps" and the end of text
            raise ItemError("alignment", f"{len(tokens)} tokens of text are more than Whisper can read at once")
        frames = max(2, round(len(samples) / SAMPLE_RATE * _FRAMES_PER_SECOND))
        alignment = self._model.model.align(whisper.storage([output]), tokenizer.sot_sequence, [tokens], frames)[0]
        return _words(item.row["start"], samples, _pieces(tokenizer, tokens, spaced=spaced), alignment)


def _pieces(tokenizer: Any, tokens: list[int], *, spaced: bool) -> list[_Piece]:
    """Tokens as written words. Joined by spaces they are the text again, where the language is written with spaces."""
    texts, groups = tokenizer.split_tokens_on_unicode(tokens)
    pieces: list[_Piece] = []
    place = 0
    for text, group in zip(texts, groups, strict=True):
        places = list(range(place, place + len(group)))
        place += len(group)
        spoken = any(unicodedata.category(character)[0] in "LNM" or character in "%&@€$£+=°" for character in text)
        if not pieces or (text.startswith(" ") if spaced else spoken and pieces[-1].spoken):
            pieces.append(_Piece(""))
        pieces[-1].text += text
        pieces[-1].tokens += places
        if spoken:
            pieces[-1].spoken += places
    return pieces


def _words(offset: float, samples: Samples, pieces: list[_Piece], alignment: Any) -> list[Word]:
    first: dict[int, int] = {}  # of each token, the first frame of the path
    for token, frame in alignment.alignments:
        first.setdefault(token, frame)
    spans = []
    for piece in pieces:
        places = piece.spoken or piece.tokens
        spans.append((first[places[0]] / _TOKENS_PER_SECOND, first[places[-1] + 1] / _TOKENS_PER_SECOND))
    spans = _snap(spans, _silences(samples), len(samples) / SAMPLE_RATE)
    probabilities = [float(np.mean([alignment.text_token_probs[place] for place in piece.spoken or piece.tokens])) for piece in pieces]
    return [
        Word(piece.text.strip(), offset + start, offset + end, probability)
        for piece, (start, end), probability in zip(pieces, spans, probabilities, strict=True)
    ]


def _silences(samples: Samples) -> list[tuple[float, float]]:
    """Spans of at least 0.1 s, in seconds, that are much quieter than the speech; none where the background is about as loud."""
    hop = SAMPLE_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    if not len(frames):
        return []
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    loud = float(np.percentile(level, 95))
    quiet = max(float(np.percentile(level, 5)), loud - 50)
    if loud - quiet < 15:
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], level < quiet + 0.25 * (loud - quiet), [False]]).astype(int)))
    return [(start / 100, end / 100) for start, end in edges.reshape(-1, 2).tolist() if end - start >= 10]


def _snap(spans: list[tuple[float, float]], silences: list[tuple[float, float]], duration: float) -> list[tuple[float, float]]:
    """Move word boundaries onto the silence they are near.

    The path says well which word a frame belongs to, but not where a pause lies between two words: it ends the word before a pause some
    0.3 s early. A silence that reaches into the later half of a word or the earlier half of the next is taken for the pause between them.
    """
    if not silences:
        return spans
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    for after in range(len(spans) + 1):  # the boundary before word `after`
        left = (starts[after - 1] + ends[after - 1]) / 2 if after else 0.0
        right = (starts[after] + ends[after]) / 2 if after < len(spans) else duration
        near = [silence for silence in silences if silence[1] > left and silence[0] <= right]
        middle = starts[after] if after < len(spans) else ends[-1]
        pause = min(near, key=lambda silence: max(silence[0] - middle, middle - silence[1], 0.0), default=None)
        if after:
            ends[after - 1] = pause[0] if pause else middle
            ends[after - 1] = max(ends[after - 1], starts[after - 1])
        if after < len(spans):
            starts[after] = max(pause[1] if pause else middle, ends[after - 1] if after else 0.0)
            ends[after] = max(ends[after], starts[after])
    return list(zip(starts, ends, strict=True))
