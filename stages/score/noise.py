"""Signal-to-noise ratio of a segment, estimated blindly: WADA-SNR (Kim and Stern, Interspeech 2008).

Amplitudes of clean speech follow a gamma distribution of shape 0.4, noise a normal one; the gap between the logarithm of the mean and
the mean of the logarithm of the absolute amplitude tells the mixture. It needs no pauses, which a segment cut at pauses does not have. A
figure to compare segments by: on 10 s of voice prompts with white noise at 5 to 25 dB it reads 2 to 6 dB low on average, within 8 dB of
that; music and other voices are not noise to it.
"""

from __future__ import annotations

import numpy as np

from stages.audio import Samples

DECIBELS = np.arange(-20.0, 65.0, 5.0)
GAPS = np.array(
    [0.4097, 0.4100, 0.4123, 0.4241, 0.4620, 0.5438, 0.6676, 0.8127, 0.9561, 1.0852, 1.1949, 1.2851, 1.3578, 1.4164, 1.4635, 1.5006, 1.5304]
)
"""Of four million samples of that mixture at each of `DECIBELS`."""


def snr(samples: Samples) -> float | None:
    """dB, from -20 to 60; None for digital silence. Samples of exactly zero (padding, muting) tell nothing and are left out.

    >>> snr(np.zeros(16000, np.float32)) is None
    True
    """
    amplitudes = np.abs(samples[samples != 0], dtype=np.float64)
    if len(amplitudes) < 1600:  # a tenth of a second: no distribution
        return None
    gap = float(np.log(amplitudes.mean()) - np.log(amplitudes).mean())
    return float(np.interp(gap, GAPS, DECIBELS))
