"""Cheap signals of a whole recording, measured while it streams by: loudness and bandwidth.

Both come from one Fourier transform of each 100 ms, so that they cost a thirtieth of decoding.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stages.audio import SAMPLE_RATE, Samples

_BLOCK = SAMPLE_RATE // 10
_BAND = 10  # bins: bandwidth is measured in steps of 100 Hz
BANDWIDTH_FLOOR = 60.0
"""dB under the strongest 100 Hz. Speech up to 8 kHz lies 40 to 55 dB under its peak there; what resampling from 8 kHz or a codec's low-pass
leaves lies 80 and more under it."""
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0


def _k_weighting() -> npt.NDArray[np.float32]:
    """Power response of the two filters of ITU-R BS.1770-5, annex 1, tables 1 and 2 (given for 48 kHz), at the bins of one block."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(_BLOCK, 1 / SAMPLE_RATE) / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (1 - 1.69065929318241 * z + 0.73248077421585 * z**2)
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    response: npt.NDArray[np.float32] = (np.abs(shelf * high_pass) ** 2).astype(np.float32)
    return response


_WEIGHTS = _k_weighting()
_WEIGHTS[1:-1] *= 2  # a real signal's bins between the first and the last stand for two
_WEIGHTS /= _BLOCK**2


class Meter:
    """Feed it a recording in blocks of any length, 16 kHz mono in -1..1; ask it at the end."""

    def __init__(self) -> None:
        self._rest: Samples = np.zeros(0, np.float32)
        self._energies: list[npt.NDArray[np.float32]] = []  # K-weighted mean square of each 100 ms
        self._spectrum = np.zeros(_BLOCK // 2 - 1)

    def add(self, samples: Samples) -> None:
        """The next block, shape (n,)."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // _BLOCK * _BLOCK
        self._rest = samples[whole:].copy()
        if not whole:
            return
        spectra = np.fft.rfft(samples[:whole].reshape(-1, _BLOCK))
        power = np.square(spectra.real) + np.square(spectra.imag)
        self._energies.append(power @ _WEIGHTS)
        # A Hann window, applied to the spectrum: without it the low frequencies leak over the high ones.
        smooth = spectra[:, 1:-1] - 0.5 * (spectra[:, :-2] + spectra[:, 2:])
        self._spectrum += np.square(smooth.real).sum(axis=0, dtype=np.float64) + np.square(smooth.imag).sum(axis=0, dtype=np.float64)

    def loudness(self) -> float | None:
        """Integrated loudness in LUFS of the mono mix (ITU-R BS.1770-5: blocks of 400 ms every 100 ms, gates at -70 LUFS and 10 LU).

        The K-weighting is applied to the spectrum of each 100 ms instead of in time, which moves the result by about 0.1 LU.
        None: nothing is louder than -70 LUFS. Under 400 ms the whole is one block.
        """
        if not self._energies:
            return None
        hops = np.concatenate(self._energies).astype(np.float64)
        span = min(4, len(hops))
        blocks = np.convolve(hops, np.full(span, 1 / span), mode="valid")
        loud = blocks[_lufs(blocks) > _ABSOLUTE_GATE]
        if not len(loud):
            return None
        gate = max(_ABSOLUTE_GATE, float(_lufs(loud.mean())) + _RELATIVE_GATE)
        return float(_lufs(loud[_lufs(loud) > gate].mean()))

    def bandwidth(self) -> float | None:
        """Upper edge in Hz, at most 8000, of the highest 100 Hz whose mean power is within `BANDWIDTH_FLOOR` of the strongest 100 Hz.

        It tells telephone speech (3400 to 4000) in a wide-band file. None: silence.
        """
        padded = np.concatenate([[0.0], self._spectrum])  # bin 0 holds direct current, which is no sound
        bands = padded.reshape(-1, _BAND).sum(axis=1)
        if not (peak := bands.max(initial=0.0)):
            return None
        highest = int(np.flatnonzero(bands > peak * 10 ** (-BANDWIDTH_FLOOR / 10))[-1])
        return (highest + 1) * _BAND * SAMPLE_RATE / _BLOCK


def _lufs(mean_square: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    return -0.691 + 10 * np.log10(np.maximum(mean_square, math.ulp(0.0)))
