"""Whether two recordings hold the same audio, though one was encoded again, made louder or cut.

The robust hash of Haitsma and Kalker 2002, "A highly robust audio fingerprinting system" (ISMIR): 32 bits every 13 ms, each the sign of how the
energy difference between two neighbouring bands (300 to 2000 Hz) changes from one frame to the next. Places where 32 bits agree are looked
up; there, the bits of three seconds are compared. The paper takes less than 0.35 wrong bits for the same; here it is 0.25. Half of the speech
that the tests use (seven languages, nine speakers) against the other half of the same speakers, two hours each: 0.34 and more, but for six
hits (those that were looked at are prompts that exist twice or share a half). The same speech stayed below 0.1 on average down to MP3 at 24 and Opus at 16 kbit/s, and was
found in white noise at 5 dB and up to 2 % faster. Another microphone, or a tempo changed by 5 %, is another audio to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from manifests.store import Store
from stages.audio import SAMPLE_RATE, Samples

VERSION = 1
"""Of the fingerprint: what was compared with another one is compared again."""
SAME, SAME_SHORT = 0.25, 0.1
"""Share of wrong bits below which three seconds are the same audio; below the second one less will do, see `ENOUGH`."""
RATE = 5_000
FRAME, HOP = 2_048, 64
"""Samples at `RATE`: frames overlap so much that it does not matter where they begin."""
BANDS = np.geomspace(300, 2000, 34)
BLOCK = 256
"""Frames that are compared together: 3.3 s."""
ENOUGH, LEAST = 128, 24
"""Frames of these that must hold sound, so that chance cannot make them alike: 1.6 s, or 0.3 s where they are more alike. Of 2,685 windows of
one second that were encoded again (MP3 at 32 kbit/s) 2,610 are found below 0.1, and no other speech is. What is shorter cannot be told."""
QUIET = 1e-4
"""Energy, of that of loud frames (the 95th percentile), below which a frame is a pause: pauses are alike everywhere."""
COMMON = 50
"""Places with the same 32 bits from which on they say nothing, such as those of a long tone."""
CHUNK = 600.0
"""Seconds of a recording in memory at once."""
OVERLAP = (BLOCK * HOP + FRAME) / RATE
"""Seconds by which chunks overlap, so that every block lies whole in one of them."""

Bits = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Match:
    """The same audio: window `window` from `held_start` on, and the recording from `start` on, in seconds; `wrong` is the share of wrong bits."""

    window: int
    held_start: float
    start: float
    wrong: float


def fingerprint(samples: Samples) -> tuple[Bits, Flags]:
    """Bits of each frame of some 16 kHz audio, and whether it holds sound; shape (frames,) each, `HOP / RATE` seconds apart."""
    slow = soxr.resample(np.asarray(samples, np.float32), SAMPLE_RATE, RATE, quality="LQ")
    if len(slow) < FRAME + HOP:
        return np.zeros(0, np.uint32), np.zeros(0, bool)
    frames = np.lib.stride_tricks.sliding_window_view(slow, FRAME)[::HOP]
    window, bands = _shapes()
    energy = np.concatenate(
        [np.abs(np.fft.rfft(frames[at : at + 4096] * window, axis=1)) ** 2 @ bands for at in range(0, len(frames), 4096)]
    )
    slopes = energy[:, :-1] - energy[:, 1:]
    bits = np.packbits(slopes[1:] > slopes[:-1], axis=1).view(">u4")[:, 0].astype(np.uint32)
    loudness = energy[1:].sum(1)
    return bits, loudness > max(QUIET * float(np.percentile(loudness, 95)), 1e-9)


@cache
def _shapes() -> tuple[Samples, Samples]:
    """Hann window, shape (frame,), and which bins are of which band, shape (bins, 33)."""
    bins = np.fft.rfftfreq(FRAME, 1 / RATE)[:, None]
    return np.hanning(FRAME).astype(np.float32), ((bins >= BANDS[:-1]) & (bins < BANDS[1:])).astype(np.float32)


class Index:
    """Fingerprints of windows, to look recordings up in. The work is linear in the audio of the recordings."""

    def __init__(self, windows: Iterable[Samples]) -> None:
        prints = [fingerprint(samples) for samples in windows]
        lengths = [len(bits) for bits, _ in prints]
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._window = np.repeat(np.arange(len(prints)), lengths)
        self._bits: Bits = np.concatenate([np.zeros(0, np.uint32), *(bits for bits, _ in prints)])
        self._live: Flags = np.concatenate([np.zeros(0, bool), *(live for _, live in prints)])
        places = np.flatnonzero(self._live)
        self._places = places[np.argsort(self._bits[places], kind="stable")]
        self._keys = self._bits[self._places]

    def matches(self, store: Store, path: str) -> list[Match]:
        """Of each window that a recording of the store holds audio of, the best match."""
        best: dict[int, Match] = {}
        with store.open(path) as handle, soundfile.SoundFile(handle) as audio:
            for begin, samples in _chunks(audio):
                for match in self._search(samples, begin):
                    if match.window not in best or match.wrong < best[match.window].wrong:
                        best[match.window] = match
        return [best[window] for window in sorted(best)]

    def _search(self, samples: Samples, begin: float) -> Iterator[Match]:
        bits, live = fingerprint(samples)
        heard = np.flatnonzero(live)
        low, high = (np.searchsorted(self._keys, bits[heard], side) for side in ("left", "right"))
        found = np.where(high - low <= COMMON, high - low, 0)
        place = np.repeat(heard, found)
        within = np.arange(len(place)) - np.repeat(np.cumsum(found) - found, found)
        held = self._places[np.repeat(low, found) + within]
        # Hits of one alignment in one stretch are one candidate.
        block = held // (BLOCK // 2)
        candidates = np.unique(np.stack([held - place, block, self._window[held]]), axis=1)
        for at in range(0, candidates.shape[1], 4096):
            yield from self._compared(candidates[:, at : at + 4096], bits, begin)

    def _compared(self, candidates: Places, bits: Bits, begin: float) -> Iterator[Match]:
        shift, block, window = candidates
        first = self._ends[window] - np.diff(self._ends, prepend=0)[window]
        start = np.maximum(np.minimum(block * (BLOCK // 2) - BLOCK // 4, self._ends[window] - BLOCK), first)
        held = start[:, None] + np.arange(BLOCK)
        place = held - shift[:, None]
        valid = (held < self._ends[window][:, None]) & (place >= 0) & (place < len(bits))
        held, place = np.where(valid, held, 0), np.where(valid, place, 0)
        valid &= self._live[held]
        wrong = np.where(valid, np.bitwise_count(self._bits[held] ^ bits[place]), 0).sum(1)
        sound = valid.sum(1)
        share = wrong / np.maximum(1, 32 * sound)
        for n in np.flatnonzero((sound >= LEAST) & (share < np.where(sound >= ENOUGH, SAME, SAME_SHORT))):
            at = int(np.argmax(valid[n]))
            seconds = HOP / RATE
            yield Match(
                int(window[n]),
                float(start[n] + at - first[n]) * seconds,
                begin + float(start[n] + at - shift[n]) * seconds,
                float(share[n]),
            )


def _chunks(audio: soundfile.SoundFile) -> Iterator[tuple[float, Samples]]:
    """Second at which it begins, and samples, of each chunk of a recording."""
    begin = 0
    while True:
        audio.seek(begin)
        yield begin / SAMPLE_RATE, audio.read(round((CHUNK + OVERLAP) * SAMPLE_RATE), dtype="float32")
        begin += round(CHUNK * SAMPLE_RATE)
        if begin >= audio.frames:
            return
