"""Which sample goes where: decided from the manifest alone, before any audio is touched, so that shards are packed independently.

The order is that of a keyed hash of the segment id: the same on every machine, shuffled over the whole corpus. Samples of different subsets are
in different shards, so that a subset is a list of shards. Memory: some 200 bytes a segment on the driver; what the rows hold besides is brought to its shard by `shuffle`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manifests.part import PartRef, read_part
from manifests.release import TRAIN, UNLABELLED
from manifests.store import Store
from manifests.takedown import COLUMNS, NOTHING, Requests, Takedown
from pipeline.contract import SilverError
from stages.pack.after import Base
from stages.pack.subsets import Subset, eligible, levels, rule_columns

_COLUMNS = ["segment_id", "source_uri", "duration", "drop_stage", "drop_reason"]
_AT_ONCE = 256  # parts read ahead


@dataclass(frozen=True)
class Shard:
    """One tar: its path relative to the release, its split, the samples `first` to `last` of the plan, and the subsets that they are all in."""

    path: str
    split: str
    first: int
    last: int
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a plan is made for."""

    seed: int
    shard_seconds: float
    subsets: tuple[Subset, ...] = ()
    balance: str | None = None
    requests: Requests = NOTHING
    """What was taken down."""
    unlabelled: tuple[str, ...] = ()
    """Stages whose drops go to the split `unlabelled`."""


@dataclass
class Plan:
    """The samples of a release in order: sample i is row `row[i]` of input part `part[i]`."""

    part: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    shards: list[Shard]
    subset_hours: dict[str, float]
    duplicates: dict[int, dict[int, str]] = field(default_factory=dict)
    """Part to row to the `source_uri` whose sample stays in the place of this row's."""
    duplicate_seconds: float = 0.0
    taken_down: dict[int, dict[int, Takedown]] = field(default_factory=dict)
    """Part to row to the request that it falls under."""
    taken_ids: list[str] = field(default_factory=list)
    """Their segments, and those that would have been published without a label."""
    taken_seconds: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of live rows: rows and seconds by the name of the request."""
    returned: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of what is published without a label: rows and seconds by `stage:reason`."""


@dataclass
class _Rows:
    """The rows that may be published, one entry a row in each array."""

    part: array[int] = field(default_factory=lambda: array("i"))
    row: array[int] = field(default_factory=lambda: array("i"))
    segments: list[npt.NDArray[np.bytes_]] = field(default_factory=list)  # ids, one array a part
    hash: array[int] = field(default_factory=lambda: array("Q"))  # of the id: the order of the release
    source: array[int] = field(default_factory=lambda: array("i"))  # number of the source_uri
    seconds: array[float] = field(default_factory=lambda: array("d"))
    split: array[int] = field(default_factory=lambda: array("b"))  # number of the split
    group: array[int] = field(default_factory=lambda: array("i"))  # number of the value that subsets are balanced by
    fit: array[int] = field(default_factory=lambda: array("I"))  # bit n: the rule of subset n holds
    reason: array[int] = field(default_factory=lambda: array("h"))  # number of stage:reason, -1 of a live row
    sources: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=lambda: {TRAIN: 0})
    reasons: dict[str, int] = field(default_factory=dict)
    taken_down: dict[int, dict[int, Takedown]] = field(default_factory=dict)
    taken_ids: list[str] = field(default_factory=list)
    taken_seconds: dict[str, tuple[int, float]] = field(default_factory=dict)


def make_plan(store: Store, parts: Sequence[PartRef], wanted: Wanted, base: Base | None = None) -> Plan:
    """Order, subsets and shards of all live rows. What lies in a shard of the release `base` stays in the shard of that name.

    Of rows with the same segment id (the same audio, acquired under two names) the one whose `source_uri` sorts first stays.

    Raises:
        SilverError: there is nothing to pack, a row is no segment, or has no split though others do, or a sample is longer than a shard.
    """
    rows = _read(store, parts, wanted)
    if not rows.part:
        raise SilverError("nothing to pack: every row was dropped before; `silver funnel` shows where and why")
    segment = np.concatenate(rows.segments)
    part, row, reason = np.array(rows.part), np.array(rows.row), np.array(rows.reason)
    source = _ranks(list(rows.sources))[np.array(rows.source)]
    order = np.lexsort((row, part, source, reason >= 0, segment, np.array(rows.hash)))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = segment[order[1:]] == segment[order[:-1]]

    names = list(rows.sources)
    duplicates: dict[int, dict[int, str]] = {}
    kept = order[~again]
    stands_for = kept[np.cumsum(~again) - 1]  # for each row, the one of its segment id that stays
    for index, first in zip(order[again], stands_for[again], strict=True):
        if reason[index] < 0:
            duplicates.setdefault(int(part[index]), {})[int(row[index])] = names[rows.source[first]]
    seconds = np.array(rows.seconds)
    twice = float(seconds[order[again & (reason[order] < 0)]].sum())
    returned: dict[str, tuple[int, float]] = {}
    for name, number in rows.reasons.items():
        these = kept[reason[kept] == number]
        returned[name] = (len(these), float(seconds[these].sum()))

    split = np.array(rows.split)[kept]
    seconds = seconds[kept]
    if (longest := float(seconds.max())) > wanted.shard_seconds:
        raise SilverError(
            f"a shard of {wanted.shard_seconds:g} s cannot hold the longest segment ({longest:g} s), and no sample is split: set shard_seconds to "
            f"{10 * longest:.0f} or more (3600 is an hour)"
        )
    places = base.places(segment[kept]) if base else None
    earlier = base.levels(places, [subset.name for subset in wanted.subsets]) if base and places is not None else None
    level = levels(
        [subset.hours for subset in wanted.subsets], seconds, np.array(rows.group)[kept], np.array(rows.fit)[kept], split == 0, earlier
    )
    hours = {subset.name: float(seconds[level <= number].sum()) / 3600 for number, subset in enumerate(wanted.subsets)}
    chosen: list[npt.NDArray[np.int64]] = []
    shards: list[Shard] = []
    done = 0
    for name in sorted(rows.splits, key=lambda name: (name != TRAIN, name)):
        for number in range(len(wanted.subsets) + 1):
            some = np.flatnonzero((split == rows.splits[name]) & (level == number))
            inside = tuple(subset.name for subset in wanted.subsets[number:])
            for path, samples in _shards(
                f"{name}-{inside[0]}" if inside else name, name, some, seconds, wanted.shard_seconds, base, places
            ):
                chosen.append(samples)
                shards.append(Shard(path, name, done, done + len(samples), inside))
                done += len(samples)
    kept = kept[np.concatenate(chosen)]
    return Plan(part[kept], row[kept], shards, hours, duplicates, twice, rows.taken_down, rows.taken_ids, rows.taken_seconds, returned)


def _shards(
    stem: str, split: str, samples: npt.NDArray[np.int64], seconds: npt.NDArray[np.float64], shard_seconds: float,
    base: Base | None, places: npt.NDArray[np.int64] | None,
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:  # fmt: skip
    """Path and samples of each shard: those of the release before, with what is left of them, then new ones."""
    first = 0
    if base is not None and places is not None:
        ours = re.compile(re.escape(f"{split}/{stem}-") + r"(\d{6,})\.tar")
        numbers = {base.shards[path]: int(match[1]) for path in base.shards if (match := ours.fullmatch(path))}
        first = max(numbers.values(), default=-1) + 1
        there = places[samples]
        of_shard = np.where((there >= 0) & np.isin(base.shard_of[there], list(numbers)), base.shard_of[there], -1)
        stays = np.flatnonzero(of_shard >= 0)
        stays = stays[np.argsort(there[stays], kind="stable")]
        for inside in np.split(stays, np.flatnonzero(np.diff(of_shard[stays])) + 1):
            if len(inside):
                yield f"{split}/{stem}-{numbers[int(of_shard[inside[0]])]:06d}.tar", samples[inside]
        samples = samples[of_shard < 0]
    bounds = _bounds(seconds[samples], shard_seconds)
    for number, (a, b) in enumerate(pairwise(bounds), first):
        yield f"{split}/{stem}-{number:06d}.tar", samples[a:b]


def _read(store: Store, parts: Sequence[PartRef], wanted: Wanted) -> _Rows:
    rows = _Rows()
    for number, table in _tables(store, parts, wanted):
        segments = []
        gone = wanted.requests.among(table)
        fits = eligible(wanted.subsets, table) if wanted.subsets else [0] * len(table)
        split_there = "split" in table.column_names
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
        columns.append(table.column("split").to_pylist() if split_there else [TRAIN] * len(table))
        columns.append(table.column(wanted.balance).to_pylist() if wanted.balance else [None] * len(table))
        for position, (segment, uri, duration, stage, reason, split, group) in enumerate(zip(*columns, strict=True)):
            if reason is not None and (stage not in wanted.unlabelled or segment is None or split not in {TRAIN, None}):
                continue  # without a label, but of a recording that is held out: nothing to train on either
            if position in gone:
                rows.taken_ids.append(segment)
                if reason is None:
                    rows.taken_down.setdefault(number, {})[position] = gone[position]
                    count, seconds = rows.taken_seconds.get(gone[position].name, (0, 0.0))
                    rows.taken_seconds[gone[position].name] = (count + 1, seconds + duration)
                continue
            where = f"{parts[number].path}, row {position} ({uri})"
            if segment is None:
                raise SilverError(f"{where} is no segment yet: put the stage `segment` before `pack`")
            if split is None and reason is None:
                raise SilverError(f"{where} has no split, though others have: run the stage that gives splits again")
            rows.part.append(number)
            rows.row.append(position)
            segments.append(segment.encode())
            rows.hash.append(_hash(wanted.seed, segments[-1]))
            rows.source.append(rows.sources.setdefault(uri, len(rows.sources)))
            rows.seconds.append(duration)
            rows.split.append(rows.splits.setdefault(UNLABELLED if reason is not None else split, len(rows.splits)))
            rows.group.append(rows.groups.setdefault(str(group), len(rows.groups)))
            rows.fit.append(fits[position])
            rows.reason.append(-1 if reason is None else rows.reasons.setdefault(f"{stage}:{reason}", len(rows.reasons)))
        rows.segments.append(np.array(segments))
    return rows


def _tables(store: Store, parts: Sequence[PartRef], wanted: Wanted) -> Iterator[tuple[int, pa.Table]]:
    """The columns of every part that has a row to publish."""
    some_dropped = [any(reason.partition(":")[0] in wanted.unlabelled for reason in ref.counts.dropped) for ref in parts]
    live = [number for number, ref in enumerate(parts) if ref.counts.live or some_dropped[number]]
    if not live:
        return
    there = read_part(store, parts[live[0]]).column_names
    columns = [*_COLUMNS, *(name for name in (wanted.balance, *rule_columns(wanted.subsets)) if name)]
    if missing := [name for name in columns if name not in there]:
        raise SilverError(f"the subsets of pack read {', '.join(missing)}, which no stage before it makes; there are {', '.join(there)}")
    columns = list(dict.fromkeys([*columns, *(COLUMNS if wanted.requests.takedowns else ()), *(["split"] if "split" in there else [])]))
    with ThreadPoolExecutor(8) as pool:
        for at in range(0, len(live), _AT_ONCE):
            some = live[at : at + _AT_ONCE]
            yield from zip(some, pool.map(lambda number: read_part(store, parts[number], columns), some), strict=True)


def _hash(seed: int, text: bytes) -> int:
    return int.from_bytes(blake2b(b"%d\n%s" % (seed, text), digest_size=8).digest(), "big")


def _ranks(names: list[str]) -> npt.NDArray[np.int64]:
    """Position of each name among the sorted names."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks


def _bounds(seconds: npt.NDArray[np.float64], shard_seconds: float) -> list[int]:
    """Where shards begin, and the end of the last: a new one once `shard_seconds` are full. Empty for no samples.

    >>> _bounds(np.array([4.0, 4.0, 4.0, 30.0, 1.0]), 10)
    [0, 3, 4, 5]
    """
    if not len(seconds):
        return []
    full = ((np.cumsum(seconds) - seconds) // shard_seconds).astype(np.int64)
    return [0, *(int(i) for i in np.flatnonzero(np.diff(full)) + 1), len(seconds)]
