"""How good a segment would sound to people, 1 to 5: overall quality by DNSMOS P.835 (Reddy et al. 2022), as the package speechmos ships it.

The network hears 9.01 s at a time; what is shorter it hears again and again. Microsoft's script moves on by a second and takes the mean; here
each second is heard once, except that the last 9.01 s end with the segment: a ninth of the work, and that is half a second for each 9 s.
GigaSpeech-like corpora keep what is noisy; from 3 on audio is fit for synthesis.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from stages.audio import SAMPLE_RATE, Samples
from stages.score.packages import model_file

_WINDOW = round(9.01 * SAMPLE_RATE)
_OVERALL = np.polynomial.Polynomial([0.04602535, 1.11546468, -0.06766283])
"""From the network's output to the scale of people, as published with it."""


class Dnsmos:
    """The network, loaded."""

    def __init__(self, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(str(self.model()), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def model() -> Path:
        """Its weights. Raises SilverError without the package."""
        return model_file("dnsmos", "speechmos", "dnsmos_models/sig_bak_ovr.onnx")

    def __call__(self, samples: Samples) -> float | None:
        """Mean over the windows; None without audio."""
        if not len(samples):
            return None
        if len(samples) < _WINDOW:
            samples = np.tile(samples, -(-_WINDOW // len(samples)))[:_WINDOW]
        starts = sorted({*range(0, len(samples) - _WINDOW + 1, _WINDOW), len(samples) - _WINDOW})
        raw = [self._session.run(None, {"input_1": samples[None, start : start + _WINDOW]})[0][0, 2] for start in starts]
        return float(_OVERALL(np.array(raw, np.float64)).mean())
