"""Forced alignment by whisperX (Bain et al. 2023), for results that compare with a corpus made by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.contract import ItemError, PartContext
from stages.align.ctc import BLANK, CtcBackend
from stages.align.network import LogProbs
from stages.align.spelling import WILDCARD
from stages.align.viterbi import Span, Spans
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

    def needed(self, spelled: Sequence[Sequence[int]]) -> Iterable[int]:
        """All classes: where it knows no character, as between words, whisperX takes the most probable."""
        del spelled
        return self.vocabulary.values()

    def search(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], separator: int | None) -> list[Spans]:
        """Words by whisperX, without their characters. Raises ItemError where it finds no path."""
        import torch

        text = " ".join("".join(chr(_PRIVATE + (0xFFFD if i == WILDCARD else i)) for i in word) for word in spelled)
        if len(text) > len(log_probs):
            raise ItemError("alignment", f"{len(text)} characters do not fit into {len(log_probs)} frames")
        dictionary = {chr(_PRIVATE + i): i for i in range(log_probs.shape[1]) if i != BLANK} | {"<pad>": BLANK}
        if separator is not None:
            dictionary["|"] = separator
        emissions = torch.from_numpy(log_probs)[None]
        duration = len(log_probs) * self.stride
        aligned = self._alignment.align(
            [{"text": text, "start": 0.0, "end": duration}],
            lambda _wave, **_: (emissions, None),
            {"dictionary": dictionary, "language": "", "type": "torchaudio"},
            np.zeros(round(duration * SAMPLE_RATE), np.float32),  # it looks at the length only
            "cpu",
        )["word_segments"]
        if len(aligned) != len(spelled):
            raise ItemError("alignment", f"whisperX found {len(aligned)} of {len(spelled)} words")
        found: list[Spans] = []
        for word in aligned:
            start = max(float(word["start"]) / self.stride, found[-1].word.end if found else 0.0)
            found.append(Spans(Span(start, max(start, float(word["end"]) / self.stride), float(word["score"])), ()))
        return found
