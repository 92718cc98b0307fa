"""Recordings in which the same person speaks, by embeddings of speakers: a speaker may be on several channels.

The network is that of `stages.score.speakers` (GE2E, Wan et al. 2018; weights of Resemblyzer). Of every recording some segments are heard;
those that sound alike are one voice of it, and two recordings with a voice alike enough are one cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.part import PartRef, read_part
from manifests.schema import Row
from manifests.store import Store
from stages.audio import read_audio
from stages.score.packages import revision
from stages.score.speakers import Speakers

ALIKE, WITHIN = 0.9, 0.85
"""Cosine from which on the voices of two recordings are one person's, and the segments of one recording one voice. Nine speakers of recorded prompts and
dialogues in seven languages: two voices of eight segments each were .98 and more of one speaker, .82 and less of two, but for two studio voices at .88.
Single segments of ten seconds of one speaker go down to .85 (median .93), of two speakers up to .86: a recording of one or two segments may be missed."""
HEARD = 8
"""Segments of a recording that are heard at most."""
LEAST = 3.0
"""Seconds of a segment that is worth hearing: embeddings of less say little."""
LONGEST = 10.0
"""Seconds of it that are heard."""
_ROWS = 2048  # voices that are compared with all others at once

Voices = npt.NDArray[np.float32]


def model_digest() -> str:
    """Of the weights. Raises SilverError without the package."""
    return revision(Speakers.model())


def same_voice(store: Store, parts: Sequence[PartRef], each: Callable[..., Iterable[Any]] = map) -> list[tuple[str, ...]]:
    """Groups of recordings that share a voice. What is alike is one: a chain of voices, each like the next, is one group.

    Embeddings are 1 kB a segment that is heard; comparing is quadratic in voices, 30,000 of them take about a minute.
    """
    heard: dict[str, list[Row]] = defaultdict(list)
    columns = ["segment_id", "recording_id", "audio_path", "start", "end", "duration", "drop_reason"]
    for ref in parts:
        for row in read_part(store, ref, columns).to_pylist():
            if row["drop_reason"] is None and row["duration"] >= LEAST:
                some = heard[row["recording_id"]]
                some.append(row)
                some.sort(key=lambda row: blake2b(row["segment_id"].encode(), digest_size=8).digest())
                del some[HEARD:]
    names = sorted(heard)
    voices = list(each(partial(_voices, store), [heard[name] for name in names]))
    owner = [name for name, found in zip(names, voices, strict=True) for _ in found]
    return list(_groups(np.concatenate([np.zeros((0, 256), np.float32), *voices]), owner))


def _groups(voices: Voices, owner: Sequence[str]) -> Iterator[tuple[str, ...]]:
    parent = list(range(len(owner)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    for first in range(0, len(voices), _ROWS):
        for a, b in zip(*np.nonzero(voices[first : first + _ROWS] @ voices.T >= ALIKE), strict=True):
            if (one := root(first + int(a))) != (other := root(int(b))):
                parent[max(one, other)] = min(one, other)
    found: dict[int, set[str]] = defaultdict(set)
    for number, name in enumerate(owner):
        found[root(number)].add(name)
    yield from (tuple(sorted(members)) for members in found.values() if len(members) > 1)


def _voices(store: Store, rows: Sequence[Row]) -> Voices:
    """The voices of a recording, unit vectors of shape (n, 256): segments that sound alike are one."""
    network = _network()
    found: list[npt.NDArray[np.float32]] = []
    for row in rows:
        vector = network.voice(read_audio(store, row | {"end": min(row["end"], row["start"] + LONGEST)}))
        if vector is None:
            continue
        near = [n for n, other in enumerate(found) if float(vector @ other) / float(np.linalg.norm(other)) >= WITHIN]
        if near:
            found[near[0]] = found[near[0]] + vector
        else:
            found.append(vector)
    return np.array([vector / np.linalg.norm(vector) for vector in found], np.float32).reshape(-1, 256)


@lru_cache(maxsize=1)
def _network() -> Speakers:
    return Speakers()
