"""Forced alignment that needs no download and hardly any time: a CTC network of our own on what Whisper's encoder has heard already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.contract import ItemError, PartContext
from stages import whisper
from stages.align import head
from stages.align.network import LogProbs
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import Spans

if TYPE_CHECKING:
    from stages.align import Align


class Embedded(Torchaudio):
    """Whisper base's encoder and the romanised network in `assets/` (see `stages.align.head`); the path is torchaudio's.

    Windows that transcribe heard with the same Whisper are not encoded again.
    """

    def __init__(self, params: Align.Params) -> None:
        super().__init__(params)
        self._compute_type = params.compute_type
        self._encoder = head.read_config(head.SHIPPED).encoder

    def identity(self) -> Mapping[str, str]:
        """The encoder's weights and the network's."""
        return {**whisper.identity(self._encoder), "head": head.digest(head.SHIPPED)}

    def setup(self, context: PartContext) -> None:
        """Load both."""
        import torch

        torch.set_num_threads(context.threads)
        self._whisper = whisper.load(self._encoder, self._compute_type, context)
        self._head = head.load(head.SHIPPED, context.device)
        self.vocabulary, self.blank, self.stride = self._head.vocabulary, self._head.blank, self._head.stride

    def search(self, log_probs: LogProbs, spelled: Sequence[Sequence[int]], separator: int | None) -> list[Spans]:
        """See `CtcBackend`. The network is sure of a character only some time after it began: starts are moved back."""
        return started_earlier(super().search(log_probs, spelled, separator), self._head.config.delay / self.stride)

    def emissions(self, rows: Sequence[Mapping[str, Any]], context: PartContext) -> list[LogProbs | ItemError]:
        """See `CtcBackend`: one frame each 20 ms, of the whole 30 s that Whisper hears, padding included."""
        outputs = whisper.encode(context, self._whisper, rows)
        found = iter(self._head.log_probs([output for output in outputs if not isinstance(output, ItemError)], self._batch_size))
        return [output if isinstance(output, ItemError) else next(found) for output in outputs]


def started_earlier(words: Sequence[Spans], frames: float) -> list[Spans]:
    """The words with every character starting so many frames earlier, but not before the end of the one before it.

    >>> from stages.align.viterbi import Span
    >>> started_earlier([Spans(Span(1, 9, 0.5), [Span(1, 2, 0.4), Span(8, 9, 0.6)])], 3)
    [Spans(word=Span(start=0.0, end=9, score=0.5), characters=[Span(start=0.0, end=2, score=0.4), Span(start=5, end=9, score=0.6)])]
    """
    earlier = []
    end = 0.0
    for word, characters in words:
        moved = []
        for character in characters:
            moved.append(character._replace(start=max(end, character.start - frames)))
            end = character.end
        earlier.append(Spans(word._replace(start=moved[0].start), moved))
    return earlier
