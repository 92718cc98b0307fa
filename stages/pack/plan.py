"""Which sample goes where: decided from the manifest alone, before any audio is touched, so that shards are packed independently.

The order is that of a keyed hash of the segment id: the same on every machine, shuffled over the whole corpus. So is the split of a
recording. Memory: some 200 bytes a segment on the driver; what the rows hold besides is read by the workers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from manifests.part import PartRef, read_part
from manifests.store import Store
from pipeline.contract import SilverError

TRAIN = "train"
_COLUMNS = ["segment_id", "recording_id", "source_uri", "channel", "duration", "drop_reason"]
_AT_ONCE = 256  # parts read ahead


@dataclass(frozen=True)
class Shard:
    """One tar: its path relative to the release, its split, and the samples `first` to `last` of the plan."""

    path: str
    split: str
    first: int
    last: int


@dataclass
class Plan:
    """The samples of a release in order: sample i is row `row[i]` of input part `part[i]`."""

    part: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    shards: list[Shard]
    duplicates: dict[int, dict[int, str]] = field(default_factory=dict)
    """Part to row to the `source_uri` whose sample stays in the place of this row's."""
    duplicate_seconds: float = 0.0


@dataclass
class _Rows:
    """The live rows of the whole manifest, one entry a row in each array."""

    part: array[int] = field(default_factory=lambda: array("i"))
    row: array[int] = field(default_factory=lambda: array("i"))
    segments: list[npt.NDArray[np.bytes_]] = field(default_factory=list)  # ids, one array a part
    hash: array[int] = field(default_factory=lambda: array("Q"))  # of the id: the order of the release
    source: array[int] = field(default_factory=lambda: array("i"))  # number of the source_uri
    recording: array[int] = field(default_factory=lambda: array("i"))  # number of the recording
    seconds: array[float] = field(default_factory=lambda: array("d"))
    sources: dict[str, int] = field(default_factory=dict)
    recordings: dict[str, int] = field(default_factory=dict)
    channels: dict[int, str] = field(default_factory=dict)  # recording to the first of its channels


def make_plan(store: Store, parts: Sequence[PartRef], seed: int, splits: dict[str, float], split_by: str, shard_seconds: float) -> Plan:
    """Order, splits and shards of all live rows.

    Of rows with the same segment id (the same audio, acquired under two names) the one whose `source_uri` sorts first stays.

    Raises:
        SilverError: there is nothing to pack, or a row is no segment.
    """
    rows = _read(store, parts, seed)
    if not rows.part:
        raise SilverError("nothing to pack: every row was dropped before; `silver funnel` shows where and why")
    segment = np.concatenate(rows.segments)
    part, row = np.array(rows.part), np.array(rows.row)
    source = _ranks(list(rows.sources))[np.array(rows.source)]
    order = np.lexsort((row, part, source, segment, np.array(rows.hash)))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = segment[order[1:]] == segment[order[:-1]]

    names = list(rows.sources)
    duplicates: dict[int, dict[int, str]] = {}
    kept = order[~again]
    stands_for = kept[np.cumsum(~again) - 1]  # for each row, the one of its segment id that stays
    for index, first in zip(order[again], stands_for[again], strict=True):
        duplicates.setdefault(int(part[index]), {})[int(row[index])] = names[rows.source[first]]

    split_names = [TRAIN, *splits]
    split = _splits(rows, seed, splits, split_by)[kept]
    kept = kept[np.argsort(split, kind="stable")]
    split = np.sort(split)
    seconds = np.array(rows.seconds)
    twice, seconds = float(seconds[order[again]].sum()), seconds[kept]
    shards: list[Shard] = []
    for number, name in enumerate(split_names):
        first, last = np.searchsorted(split, [number, number + 1])
        bounds = [int(first + bound) for bound in _bounds(seconds[first:last], shard_seconds)]
        shards += [Shard(f"{name}/{name}-{i:06d}.tar", name, a, b) for i, (a, b) in enumerate(pairwise(bounds))]
    return Plan(part[kept], row[kept], shards, duplicates, twice)


def _read(store: Store, parts: Sequence[PartRef], seed: int) -> _Rows:
    rows = _Rows()
    for number, columns in _columns(store, parts):
        segments = []
        for position, (segment, recording, uri, channel, duration, reason) in enumerate(zip(*columns, strict=True)):
            if reason is not None:
                continue
            if segment is None:
                raise SilverError(f"{parts[number].path}, row {position} ({uri}) is no segment yet: put the stage `segment` before `pack`")
            rows.part.append(number)
            rows.row.append(position)
            segments.append(segment.encode())
            rows.hash.append(_hash(seed, segments[-1]))
            rows.source.append(rows.sources.setdefault(uri, len(rows.sources)))
            recording_number = rows.recordings.setdefault(recording, len(rows.recordings))
            rows.recording.append(recording_number)
            rows.seconds.append(duration)
            if channel and channel < rows.channels.get(recording_number, "\U0010ffff"):
                rows.channels[recording_number] = channel
        rows.segments.append(np.array(segments))
    return rows


def _columns(store: Store, parts: Sequence[PartRef]) -> Iterator[tuple[int, list[list[str]]]]:
    live = [number for number, ref in enumerate(parts) if ref.counts.live]
    with ThreadPoolExecutor(8) as pool:
        for at in range(0, len(live), _AT_ONCE):
            some = live[at : at + _AT_ONCE]
            for number, table in zip(some, pool.map(lambda number: read_part(store, parts[number], _COLUMNS), some), strict=True):
                yield number, [table.column(name).to_pylist() for name in _COLUMNS]


def _hash(seed: int, text: bytes) -> int:
    return int.from_bytes(blake2b(b"%d\n%s" % (seed, text), digest_size=8).digest(), "big")


def _ranks(names: list[str]) -> npt.NDArray[np.int64]:
    """Position of each name among the sorted names."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks


def _splits(rows: _Rows, seed: int, splits: dict[str, float], split_by: str) -> npt.NDArray[np.int64]:
    """For each row the number of its split, 0 for train. All rows of a recording get the same one.

    A hash against fixed bounds, so that a recording never moves to another split when audio is added.
    """
    bounds = np.cumsum(list(splits.values()))
    by_recording = np.zeros(len(rows.recordings), dtype=np.int64)
    for recording, number in rows.recordings.items():
        channel = rows.channels.get(number) if split_by == "channel" else None
        unit = f"channel:{channel}" if channel else f"recording:{recording}"
        place = int(np.searchsorted(bounds, _hash(seed, unit.encode()) / 2**64, side="right"))
        by_recording[number] = place + 1 if place < len(bounds) else 0
    of_rows: npt.NDArray[np.int64] = by_recording[np.array(rows.recording)]
    return of_rows


def _bounds(seconds: npt.NDArray[np.float64], shard_seconds: float) -> list[int]:
    """Where shards begin, and the end of the last: a new one once `shard_seconds` are full. Empty for no samples.

    >>> _bounds(np.array([4.0, 4.0, 4.0, 30.0, 1.0]), 10)
    [0, 3, 4, 5]
    """
    if not len(seconds):
        return []
    full = ((np.cumsum(seconds) - seconds) // shard_seconds).astype(np.int64)
    return [0, *(int(i) for i in np.flatnonzero(np.diff(full)) + 1), len(seconds)]
