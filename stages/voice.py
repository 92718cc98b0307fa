"""Voice activity: Silero's model over a recording of any length, and from its probabilities the regions of speech."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipeline.contract import SilverError
from stages.audio import Samples

WINDOW = 512
"""Samples of one probability."""
WINDOW_MS = 32
_CONTEXT = 64  # samples before the window that the model sees again
BLOCK = 1024 * WINDOW
"""Samples to hand over at a time: a whole number of windows, 33 s. Longer is not faster."""

Probabilities = npt.NDArray[np.float32]
Region = tuple[int, int]
"""Start and end in milliseconds."""


def model_path() -> Path:
    """The model as the silero-vad package ships it: the one that takes a sequence of windows in one call."""
    spec = find_spec("silero_vad")  # not imported: that would load torch
    path = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise SilverError("the package silero-vad (6.2.3 or later) with its ONNX models is not installed; run `make setup`")
    return path


def model_revision() -> str:
    """First 16 hex of the sha256 of the model."""
    return hashlib.sha256(model_path().read_bytes()).hexdigest()[:16]


class Vad:
    """Silero VAD (github.com/snakers4/silero-vad), many windows a call.

    Each call hands its state on to the next, so the result is that of the published loop over single windows, three times as fast.
    """

    def __init__(self, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # it warns of unused weights
        self._session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])

    def probabilities(self, blocks: Iterable[Samples]) -> Probabilities:
        """Probability of speech in each window of 32 ms, shape (ceil(n / 512),); blocks are `BLOCK` long but for the last."""
        hidden = cell = np.zeros((1, 1, 128), np.float32)
        before = np.zeros(_CONTEXT, np.float32)
        results = [np.zeros(0, np.float32)]
        for block in blocks:
            count = -(-len(block) // WINDOW)
            if not count:
                continue
            samples = np.zeros(_CONTEXT + count * WINDOW, np.float32)
            samples[:_CONTEXT] = before
            samples[_CONTEXT : _CONTEXT + len(block)] = block
            windows = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + WINDOW)[::WINDOW]
            result, hidden, cell = self._session.run(None, {"input": np.ascontiguousarray(windows), "h": hidden, "c": cell})
            results.append(result)
            before = samples[-_CONTEXT:]
        return np.concatenate(results)


def speech_regions(probabilities: Probabilities, threshold: float, min_speech_ms: int, min_silence_ms: int) -> list[Region]:
    """Regions of speech, by hysteresis, as Silero's own `get_speech_timestamps` finds them before it pads.

    Speech starts at a probability of `threshold` and ends where it falls under `threshold - 0.15`, unless it is back at `threshold` within
    `min_silence_ms`. Regions shorter than `min_speech_ms` are not speech.
    """
    marks = np.where(probabilities >= threshold, 1, np.where(probabilities < max(threshold - 0.15, 0.01), 0, -1))
    last = np.maximum.accumulate(np.where(marks >= 0, np.arange(len(marks)), -1))
    speech = np.where(last >= 0, marks[last], 0)  # in between, what was before goes on
    edges = np.flatnonzero(np.diff(speech, prepend=0, append=0)) * WINDOW_MS
    regions: list[Region] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if regions and start - regions[-1][1] < min_silence_ms + WINDOW_MS:  # the window that ends it must be silent itself
            regions[-1] = (regions[-1][0], end)
        else:
            regions.append((start, end))
    return [(start, end) for start, end in regions if end - start >= min_speech_ms]
