"""The same audio in two places of a corpus: recordings that were uploaded again or encoded anew, jingles and adverts.

Fingerprints are those of `stages.heldout.fingerprint` (Haitsma and Kalker 2002). Of every recording they are made once and kept beside the audio, 0.3 kB a
second (a fiftieth of the FLAC). One frame in sixteen is a landmark, chosen by its own bits, so that copies have the same ones; equal landmarks are looked for over the
whole corpus by sorting (12 bytes each, five a second of sound: 6.5 GB at 30,000 hours), each linked to the first of its kind and to the one before it, so that a jingle in ten thousand episodes
is linear. Where two landmarks say the same of two recordings, all their bits there are compared.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from manifests.store import Store
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE
from stages.heldout.fingerprint import BLOCK, ENOUGH, FRAME, HOP, RATE, SAME, VERSION, Bits, Flags, fingerprint

FOLDER = "fingerprints"
SHARE = 16
"""One frame in so many is a landmark."""
VOTES = 2
"""Landmarks that must agree on where the copies lie to each other before all bits are compared: one is chance."""
NEAR = 2
"""Frames by which two offsets of one copy may differ."""
SHORT, EDGE = 32, 0.3
"""Frames (0.4 s) around the ends of a copy, and the share of wrong bits up to which they belong to it."""
SECONDS = HOP / RATE
_CHUNK = 46_875  # frames, 600 s, in memory at once
_AT_ONCE = 8  # recordings of a task
_PARTS = 17  # in which landmarks are sorted; prime to the multiplier that chooses them

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """A recording, and where its FLAC lies: it may be another corpus."""

    recording: str
    root: str
    audio_path: str


@dataclass(frozen=True)
class Repeat:
    """The same audio, from `a_start` to `a_end` of recording `a` and from `b_start` to `b_end` of `b`, seconds; `wrong` is the share of bits that differ.

    Both may be one recording, then `a_start < b_start`.
    """

    a: str
    a_start: float
    a_end: float
    b: str
    b_start: float
    b_end: float
    wrong: float


def repeats(
    store: Store, places: Sequence[Place], each: Callable[..., Iterable[Any]] = map, report: Callable[[str], None] = lambda _line: None
) -> list[Repeat]:
    """All audio of three seconds or more that is in two of the places; of what is in many, each with the first (in the order given) and with the one before it.

    `each(function, items)` is `map` over the workers. Fingerprints are kept in `store`.

    Raises:
        SilverError: a recording cannot be read.
    """
    bits, owners, frames = [], [], []
    done = 0
    for group, found in zip(_batched(places), each(partial(_landmarks, store), _batched(places)), strict=True):
        for number, (some, at) in enumerate(found, done):
            bits.append(some)
            frames.append(at)
            owners.append(np.full(len(some), number, np.int32))
        done += len(group)
        if done % 512 < _AT_ONCE or done == len(places):
            report(f"fingerprints of {done} of {len(places)} recordings")
    if not bits:
        return []
    candidates = _candidates(np.concatenate(bits), np.concatenate(owners), np.concatenate(frames))
    jobs = [(places[a], places[b], offsets) for (a, b), offsets in sorted(candidates.items())]
    found_in = each(partial(_compared, store), _batched(jobs))
    return [repeat for some in found_in for repeat in some]


def _candidates(bits: Bits, owners: npt.NDArray[np.int32], frames: npt.NDArray[np.int32]) -> dict[tuple[int, int], list[int]]:
    """Pairs of recordings with the offsets (frames of the second less those of the first) that enough landmarks agree on, the most voted first."""
    found: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    for part in range(_PARTS):  # sorting takes room
        some = np.flatnonzero(bits % _PARTS == part)
        for one, other, shift, votes in _linked(bits[some], owners[some], frames[some]):
            offsets = found[one, other]
            offsets[shift] = offsets.get(shift, 0) + votes
    chosen: dict[tuple[int, int], list[int]] = {}
    for pair, offsets in found.items():
        near = {shift: sum(offsets.get(shift + by, 0) for by in range(-NEAR, NEAR + 1)) for shift in offsets}
        taken: list[int] = []
        for shift in sorted(near, key=lambda shift: (-near[shift], -offsets[shift], shift)):
            if near[shift] >= VOTES and all(abs(shift - other) > NEAR for other in taken):
                taken.append(shift)
        if taken:
            chosen[pair] = taken
    return chosen


def _linked(bits: Bits, owners: npt.NDArray[np.int32], frames: npt.NDArray[np.int32]) -> Iterator[tuple[int, int, int, int]]:
    """Recording, recording, offset and votes of equal landmarks: each with the first of its kind, and with the one before it."""
    order = np.lexsort((frames, owners, bits))
    bits, owners, frames = bits[order], owners[order], frames[order]
    begins = np.ones(len(bits), bool)
    begins[1:] = bits[1:] != bits[:-1]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(bits)), 0))
    here = np.flatnonzero(~begins)
    before = np.concatenate([first[here], (here - 1)[first[here] != here - 1]])
    after = np.concatenate([here, here[first[here] != here - 1]])
    a, b = owners[before].astype(np.int64), owners[after].astype(np.int64)
    offset = frames[after].astype(np.int64) - frames[before]
    apart = (a != b) | (np.abs(offset) >= BLOCK)
    lines, counts = np.unique(np.stack([a[apart], b[apart], offset[apart]]), axis=1, return_counts=True)
    yield from zip(*lines.tolist(), counts.tolist(), strict=True)


def _compared(store: Store, jobs: Sequence[tuple[Place, Place, list[int]]]) -> list[Repeat]:
    return [repeat for a, b, offsets in jobs for offset in offsets for repeat in _spans(store, a, b, offset)]


def _spans(store: Store, a: Place, b: Place, offset: int) -> Iterator[Repeat]:
    """Maximal spans in which the recordings have the same bits at this offset."""
    (bits_a, live_a), (bits_b, live_b) = _kept(store, a), _kept(store, b)
    first, last = max(0, -offset), min(len(bits_a), len(bits_b) - offset)
    if last - first < BLOCK:
        return
    live = live_a[first:last] & live_b[first + offset : last + offset]
    wrong = np.where(live, np.bitwise_count(bits_a[first:last] ^ bits_b[first + offset : last + offset]), 0)
    sums = [np.concatenate([[0], np.cumsum(column, dtype=np.int64)]) for column in (wrong, live)]
    errors, sound = (column[BLOCK:] - column[:-BLOCK] for column in sums)
    good = np.flatnonzero((sound >= ENOUGH) & (errors < SAME * 32 * sound))
    if not len(good):
        return
    around = np.clip(np.arange(len(live)) - SHORT // 2, 0, max(0, len(live) - SHORT))
    short_errors, short_sound = (column[around + SHORT] - column[around] for column in sums)
    for run in np.split(good, np.flatnonzero(np.diff(good) > BLOCK) + 1):
        begin, end = int(run[0]), int(run[-1]) + BLOCK
        # A block is half over before it is no copy any more: the ends are where short stretches still are one.
        alike = live[begin:end] & (short_errors[begin:end] < EDGE * 32 * np.maximum(1, short_sound[begin:end]))
        if not alike.any():
            continue
        sounding = np.flatnonzero(alike)
        begin, end = begin + int(sounding[0]), begin + int(sounding[-1]) + 1
        share = float((sums[0][end] - sums[0][begin]) / (32 * max(1, sums[1][end] - sums[1][begin])))
        at, to = (first + begin) * SECONDS, (first + end) * SECONDS + FRAME / RATE
        yield Repeat(a.recording, at, to, b.recording, at + offset * SECONDS, to + offset * SECONDS, share)


def _landmarks(store: Store, places: Sequence[Place]) -> list[tuple[Bits, npt.NDArray[np.int32]]]:
    found = []
    for place in places:
        bits, live = _kept(store, place)
        chosen = np.flatnonzero(live & ((bits * np.uint32(2654435761)) >> np.uint32(28) == 0))
        found.append((bits[chosen], chosen.astype(np.int32)))
    return found


@lru_cache(maxsize=16)
def _kept(store: Store, place: Place) -> tuple[Bits, Flags]:
    """The fingerprint of a recording: read, or made and kept."""
    path = f"{FOLDER}/{place.recording[:2]}/{place.recording}-{VERSION}.npz"
    if store.exists(path):
        with np.load(io.BytesIO(store.read(path))) as file:
            return file["bits"], np.unpackbits(file["live"])[: len(file["bits"])].astype(bool)
    bits, live = _made(Store(place.root), place)
    sink = io.BytesIO()
    np.savez(sink, bits=bits, live=np.packbits(live))
    store.write(path, sink.getvalue())
    return bits, live


def _made(store: Store, place: Place) -> tuple[Bits, Flags]:
    pieces = []
    chunk, overlap = round(_CHUNK * SECONDS * SAMPLE_RATE), round((FRAME + HOP) / RATE * SAMPLE_RATE)
    try:
        with store.open(place.audio_path) as handle, soundfile.SoundFile(handle) as audio:
            for begin in range(0, audio.frames, chunk):
                audio.seek(begin)
                bits, live = fingerprint(audio.read(chunk + overlap, dtype="float32"))
                pieces.append((bits[:_CHUNK], live[:_CHUNK]))
    except (FileNotFoundError, soundfile.LibsndfileError) as error:
        raise SilverError(
            f"the recording {store.uri(place.audio_path)} cannot be read, so copies of it cannot be found: {error}"
        ) from error
    return np.concatenate([bits for bits, _ in pieces]), np.concatenate([live for _, live in pieces])


def _batched(items: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    source = iter(items)
    while batch := tuple(islice(source, _AT_ONCE)):
        yield batch
