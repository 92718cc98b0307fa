"""Noise on the audio that a student hears: the lesson is harder than the hearing that made its labels.

Each step happens with its own chance, so that most audio has some and little has all. All random numbers are those of the generator that is given.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import soxr
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import fftconvolve

from stages.audio import SAMPLE_RATE, Samples
from stages.train.codecs import CODECS, through

Array = npt.NDArray[Any]
Range = tuple[float, float]


class Noise(BaseModel):
    """How often, and how much."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    speed: float = Field(
        0.67,
        ge=0,
        le=1,
        description="chance of another speed, pitch with it: by default a third each of 0.9, 1 and 1.1 (Ko et al. 2015)",
    )
    speeds: tuple[float, ...] = Field((0.9, 1.1), min_length=1, description="which speeds")
    additive: float = Field(0.5, ge=0, le=1, description="chance of noise of any colour from white to brown")
    snr: Range = Field((10.0, 35.0), description="dB of the segment over it, pauses included")
    reverberation: float = Field(0.3, ge=0, le=1, description="chance of a room: an exponential tail of 0.1 to 0.5 s to -60 dB")
    telephone: float = Field(0.1, ge=0, le=1, description="chance of a telephone's band (300 to 3,400 Hz) and its 8 bit mu-law")
    codec: float = Field(
        0.2, ge=0, le=1, description="chance of a lossy codec: MP3 at 16 to 32 kbit/s, Opus at 6 to 24, or AMR at 4.75 to 12.2"
    )

    def apply(self, samples: Samples, chance: np.random.Generator, longest: float) -> Samples:
        """Another copy of 16 kHz samples in -1..1, as they might have been recorded: of at most `longest` seconds, if they were."""
        if chance.random() < self.speed:
            samples = faster(samples, max(chance.choice(self.speeds), len(samples) / (longest * SAMPLE_RATE)))
        if chance.random() < self.reverberation:
            decay, strength = chance.uniform(0.1, 0.5), chance.uniform(0.1, 0.7)
            samples = in_a_room(samples, chance.normal(size=round(decay * SAMPLE_RATE)), decay, strength).astype(np.float32)
        if chance.random() < self.additive:
            snr, colour = chance.uniform(*self.snr), chance.uniform(0, 1)
            samples = with_noise(samples, coloured(chance.normal(size=len(samples)), colour), snr).astype(np.float32)
        samples = unclipped(samples)
        if chance.random() < self.telephone:
            samples = by_telephone(samples)
        if chance.random() < self.codec:
            codec = CODECS[chance.integers(len(CODECS))]
            samples = through(samples, codec, int(chance.choice(codec.bit_rates)))
        return unclipped(samples)


SILENT = Noise(speed=0, additive=0, reverberation=0, telephone=0, codec=0)
"""No noise at all."""


def unclipped(samples: Samples) -> Samples:
    """No louder than 1."""
    peak = float(np.abs(samples).max(initial=0))
    changed: Samples = (samples / peak if peak > 1 else samples).astype(np.float32)
    return changed


def faster(samples: Samples, by: float) -> Samples:
    """Played `by` times as fast, higher by as much."""
    found = soxr.resample(samples.astype(np.float32), by * SAMPLE_RATE, SAMPLE_RATE)
    return found if len(found) else samples


def in_a_room(samples: Array, white: Array, decay: float, strength: float) -> Array:
    """With reverberation of white noise, shape (decay * SAMPLE_RATE,), that falls by 60 dB in `decay` seconds; nothing moves in time, for the
    direct sound comes first.
    """
    tail = white * 10 ** (-3 * (np.arange(len(white)) / SAMPLE_RATE) / decay)
    tail *= strength / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return cast("Array", fftconvolve(samples, tail)[: len(samples)])


def coloured(white: Array, colour: float) -> Array:
    """White noise whose amplitude now falls with the frequency to the power of `colour` (0 white, 1 brown)."""
    falling = np.maximum(np.fft.rfftfreq(len(white), 1 / SAMPLE_RATE), 50) ** -colour
    return np.fft.irfft(np.fft.rfft(white) * falling, len(white))


def with_noise(samples: Array, noise: Array, snr: float) -> Array:
    """With noise of the same length `snr` dB below it."""
    return cast("Array", samples + noise * np.sqrt(np.mean(samples**2) / np.maximum(1e-20, np.mean(noise**2)) / 10 ** (snr / 10)))


def by_telephone(samples: Samples) -> Samples:
    """Through 300 to 3,400 Hz and 256 steps of mu-law (ITU-T G.711)."""
    spectrum, at = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    band = np.clip(np.fft.irfft(spectrum * ((at > 300) & (at < 3400)), len(samples)), -1, 1)
    squeezed = np.round(127 * np.sign(band) * np.log1p(255 * np.abs(band)) / np.log(256)) / 127
    changed: Samples = (np.sign(squeezed) * (256 ** np.abs(squeezed) - 1) / 255).astype(np.float32)
    return changed
