"""Share of a segment's samples that stand at full scale, 16 bit: loud peaks that were cut off and cannot be brought back.

decode counts those of the whole source before it resamples; here are those that a listener of the segment gets.
"""

from __future__ import annotations

import numpy as np

from stages.audio import Samples

FULL = 32767 / 32768


def clipping(samples: Samples) -> float | None:
    """0..1; None without audio.

    >>> clipping(np.array([0.0, 1.0, -1.0, 0.9], np.float32))
    0.5
    """
    return float((np.abs(samples) >= FULL).mean()) if len(samples) else None
