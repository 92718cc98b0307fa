"""Forced alignment that needs no download and hardly any time: a CTC network of our own on what Whisper's encoder has heard already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.contract import ItemError, PartContext
from stages import whisper
from stages.align import head
from stages.align.network import LogProbs
from stages.align.torchaudio import Torchaudio

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

    def emissions(self, rows: Sequence[Mapping[str, Any]], context: PartContext) -> list[LogProbs | ItemError]:
        """See `CtcBackend`: one frame each 20 ms, of the whole 30 s that Whisper hears, padding included."""
        # What nobody has encoded yet is not kept: nobody is likely to ask for it again, and a long recording has many windows.
        outputs = whisper.encode(replace(context, memory=dict(context.memory)), self._whisper, rows)
        found = iter(self._head.log_probs([output for output in outputs if not isinstance(output, ItemError)], self._batch_size))
        return [output if isinstance(output, ItemError) else next(found) for output in outputs]
