"""Noise on the audio that a student hears: the lesson is harder than the hearing that made its labels.

Each step happens with its own chance, so that most audio has some and little has all. All random numbers are those of the generator that is given.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import fftconvolve

from stages.audio import SAMPLE_RATE, Samples

Range = tuple[float, float]


class Noise(BaseModel):
    """How often, and how much. `{}` of everything: `{speed: 0, additive: 0, reverberation: 0, telephone: 0}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    speed: float = Field(0.5, ge=0, le=1, description="chance of another speed, 0.9 to 1.1, pitch with it (Ko et al. 2015)")
    additive: float = Field(0.5, ge=0, le=1, description="chance of noise of any colour from white to brown")
    snr: Range = Field((10.0, 35.0), description="dB of the speech over it")
    reverberation: float = Field(0.3, ge=0, le=1, description="chance of a room: an exponential tail of 0.1 to 0.5 s to -60 dB")
    telephone: float = Field(0.1, ge=0, le=1, description="chance of a telephone's band (300 to 3,400 Hz) and its 8 bit mu-law")

    def apply(self, samples: Samples, chance: np.random.Generator) -> Samples:
        """Another copy of 16 kHz samples in -1..1, as they might have been recorded."""
        if chance.random() < self.speed:
            samples = faster(samples, chance.uniform(0.9, 1.1))
        if chance.random() < self.reverberation:
            samples = in_a_room(samples, chance.uniform(0.1, 0.5), chance.uniform(0.1, 0.7), chance)
        if chance.random() < self.additive:
            samples = with_noise(samples, chance.uniform(*self.snr), chance.uniform(0, 1), chance)
        if chance.random() < self.telephone:
            samples = by_telephone(samples)
        peak = float(np.abs(samples).max(initial=0))
        changed: Samples = (samples / peak if peak > 1 else samples).astype(np.float32)
        return changed


def faster(samples: Samples, by: float) -> Samples:
    """Played `by` times as fast, higher by as much."""
    places = np.linspace(0, len(samples) - 1, max(1, round(len(samples) / by)))
    changed: Samples = (np.interp(places, np.arange(len(samples)), samples)).astype(np.float32)
    return changed


def in_a_room(samples: Samples, decay: float, strength: float, chance: np.random.Generator) -> Samples:
    """With reverberation that falls by 60 dB in `decay` seconds; nothing moves in time, for the direct sound comes first."""
    time = np.arange(round(decay * SAMPLE_RATE)) / SAMPLE_RATE
    tail = chance.normal(size=len(time)) * 10 ** (-3 * time / decay)
    tail *= strength / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    changed: Samples = (fftconvolve(samples, tail)[: len(samples)]).astype(np.float32)
    return changed


def with_noise(samples: Samples, snr: float, colour: float, chance: np.random.Generator) -> Samples:
    """With noise `snr` dB below it, whose amplitude falls with the frequency to the power of `colour` (0 white, 1 brown)."""
    spectrum = np.fft.rfft(chance.normal(size=len(samples))) * np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 50) ** -colour
    noise = np.fft.irfft(spectrum, len(samples))
    loudness = np.sqrt(np.mean(samples**2) / max(1e-20, float(np.mean(noise**2))) / 10 ** (snr / 10))
    changed: Samples = (samples + noise * loudness).astype(np.float32)
    return changed


def by_telephone(samples: Samples) -> Samples:
    """Through 300 to 3,400 Hz and 256 steps of mu-law (ITU-T G.711)."""
    spectrum, at = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    band = np.clip(np.fft.irfft(spectrum * ((at > 300) & (at < 3400)), len(samples)), -1, 1)
    squeezed = np.round(127 * np.sign(band) * np.log1p(255 * np.abs(band)) / np.log(256)) / 127
    changed: Samples = (np.sign(squeezed) * (256 ** np.abs(squeezed) - 1) / 255).astype(np.float32)
    return changed
