"""Forced alignment that needs no download and hardly any time: our own CTC network on what Whisper's encoder has heard already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contract import ItemError, PartContext
from stages import whisper
from stages.align import head
from stages.align.backend import Item, Word
from stages.align.network import LogProbs
from stages.align.torchaudio import Torchaudio
from stages.whisper import WINDOW, Encoded

if TYPE_CHECKING:
    from stages.align import Align

CONTEXT = 2.0
"""Seconds at each inner edge of a window that only the neighbouring window is asked about: what is cut there is heard badly."""


class Embedded(Torchaudio):
    """Whisper base's encoder and the romanised network in `assets/` (see `stages.align.head`); the path is torchaudio's.

    Windows that transcribe heard with the same Whisper are not encoded again. What is longer than a window is heard in several.
    """

    def __init__(self, params: Align.Params) -> None:
        super().__init__(params)
        self._compute_type = params.compute_type
        self._config = head.read_config(head.SHIPPED)

    def identity(self) -> Mapping[str, str]:
        """The encoder's weights and the network's."""
        return {**whisper.identity(self._config.encoder), "head": head.digest(head.SHIPPED)}

    def setup(self, context: PartContext) -> None:
        """Load both."""
        import torch

        torch.set_num_threads(context.threads)
        self._whisper = whisper.load(self._config.encoder, self._compute_type, context)
        self._head = head.load(head.SHIPPED, context.device)
        self._network: Any = self._head
        self._device = context.device

    def align(self, items: Sequence[Item], context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item its words, or why it cannot be aligned."""
        for item, log_probs in zip(items, self.emissions(items, context), strict=True):
            try:
                yield log_probs if isinstance(log_probs, ItemError) else self._words(item, log_probs)
            except ItemError as error:
                yield error

    def emissions(self, items: Sequence[Item], context: PartContext) -> Iterator[LogProbs | ItemError]:
        """For each item, in order, its emissions, one frame each 20 ms; or why it could not be heard."""
        for at in range(0, len(items), self._batch_size):
            rows = [item.row for item in items[at : at + self._batch_size]]
            outputs = [self._encode(row, context) for row in rows]
            windows = [output for row in outputs if not isinstance(row, ItemError) for output in row]
            found = iter(self._head.log_probs(windows, self._batch_size, self._device))
            for row, output in zip(rows, outputs, strict=True):
                yield output if isinstance(output, ItemError) else self._join(row, [next(found) for _ in output])

    def _encode(self, row: Mapping[str, Any], context: PartContext) -> list[Encoded] | ItemError:
        windows = _windows(row["start"], row["end"])
        # The windows of a long row are nobody else's, and a long recording has many: they are not kept.
        shared = context if len(windows) == 1 else replace(context, memory={})
        found: list[Encoded] = []
        for start, end in windows:
            [output] = whisper.encode(shared, self._whisper, [{**row, "start": start, "end": end}])
            if isinstance(output, ItemError):
                return output
            found.append(output)
        return found

    def _join(self, row: Mapping[str, Any], windows: Sequence[LogProbs]) -> LogProbs:
        """The frames of a row: of each window all but the context that a neighbour knows better."""
        stride = self._config.stride
        frames = round((row["end"] - row["start"]) / stride)
        edge, step = round(CONTEXT / stride), round((WINDOW - 2 * CONTEXT) / stride)
        kept = [window[edge if i else 0 : edge + step if i < len(windows) - 1 else None] for i, window in enumerate(windows)]
        return np.concatenate(kept)[:frames]


def _windows(start: float, end: float) -> list[tuple[float, float]]:
    """Start and end of the windows that a row is heard in; the row itself if it fits into one.

    >>> _windows(1.0, 31.0), _windows(0.0, 61.0)
    ([(1.0, 31.0)], [(0.0, 30.0), (26.0, 56.0), (52.0, 61.0)])
    """
    found = [(start, end)]
    while found[-1][1] - found[-1][0] > WINDOW + 0.01:
        begin, _ = found.pop()
        found += [(begin, begin + WINDOW), (begin + WINDOW - 2 * CONTEXT, end)]
    return found
