"""Forced alignment by whisperX (Bain et al. 2023), for results that compare with a corpus made by it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pipeline.contract import ItemError, PartContext
from stages.align.backend import Item, Word
from stages.align.ctc import WILDCARD, CtcBackend
from stages.align.network import LogProbs
from stages.audio import SAMPLE_RATE

_PRIVATE = 0xF0000
"""Each class is shown to whisperX as one character of Unicode's private use area, so that what it does to
letters (lower case, dictionary of its own) cannot part words from ours."""


class WhisperX(CtcBackend):
    """The path is searched by `whisperx.alignment.align`, over the same emissions and spellings as the other backends."""

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        super().setup(context)
        from nltk.tokenize.punkt import PunktSentenceTokenizer
        from whisperx import alignment

        # It would download sentence models to look for sentences, of which our text, without punctuation, has one.
        alignment.nltk_load = lambda _path: PunktSentenceTokenizer()
        self._alignment = alignment
        self._dictionary = {chr(_PRIVATE + i): i for i in self._network.vocabulary.values()} | {"<pad>": self._network.blank}
        if self._network.separator is not None:
            self._dictionary["|"] = self._network.separator

    def align(self, items: Sequence[Item], _context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item its words, or why it cannot be aligned."""
        for item, log_probs in zip(items, self.emissions(items), strict=True):
            words, spelled = self.spelled(item)
            text = " ".join("".join(chr(_PRIVATE + (0xFFFD if i == WILDCARD else i)) for i in word) for word in spelled)
            if len(text) > len(log_probs):
                yield ItemError("alignment", f"{len(text)} characters do not fit into {len(log_probs)} frames")
                continue
            found = self._words(item, log_probs, text)
            if len(found) != len(words):
                yield ItemError("alignment", f"whisperX found {len(found)} of {len(words)} words")
            else:
                yield [Word(word, *times) for word, times in zip(words, found, strict=True)]

    def _words(self, item: Item, log_probs: LogProbs, text: str) -> list[tuple[float, float, float]]:
        """Start and end in seconds in the recording, and score, of each word of `text`; none if there is no path."""
        import torch

        emissions = torch.from_numpy(log_probs)[None]
        segment = {"text": text, "start": 0.0, "end": len(item.samples) / SAMPLE_RATE}
        aligned = self._alignment.align(
            [segment],
            lambda _wave, **_: (emissions, None),
            {"dictionary": self._dictionary, "language": "", "type": "torchaudio"},
            item.samples,
            "cpu",
        )
        start = item.row["start"]
        return [
            (start + float(word["start"]), start + float(word["end"]), float(word.get("score", math.nan)))
            for word in aligned["word_segments"]
        ]
