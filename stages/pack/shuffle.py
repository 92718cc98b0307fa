"""Brings together the rows of each shard: an external shuffle, since the samples of one shard lie all over the corpus.

Every part is read once and its rows are scattered to buckets (some shards that follow each other); then each bucket is put in order and written with one row
group a shard. Memory: `ROWS` rows a worker. Disk: twice the rows that are packed, while they are packed. Reading the parts anew for every shard instead takes
as many reads as there are samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.part import PartRef
from manifests.store import Store
from stages.pack.plan import Plan

ROWS = 100_000
"""Rows that are in memory together: of a group of parts, or of a bucket."""

_SAMPLE = "sample of the plan"

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Group:
    """Some parts: of each its path, the rows that are wanted, and which samples of the plan they are."""

    store: Store
    target: str
    parts: list[tuple[str, Numbers, Numbers]]
    bounds: Numbers  # first sample of each bucket, and the end of the last


@dataclass(frozen=True)
class _Bucket:
    """The samples of some shards: `bounds` are the first sample of each shard, and the end of the last."""

    store: Store
    target: str
    sources: list[str]
    bounds: Numbers


def gather(
    store: Store, folder: str, plan: Plan, parts: Sequence[PartRef], run: Callable[[Callable[[Any], None], Iterable[Any]], Iterator[None]]
) -> list[tuple[str, int]]:
    """Of every shard of the plan the file that holds its rows, in order, and the number of the row group. Files of an earlier run are left as they are.

    `folder` is where the files go; `run` maps a function over jobs, on the workers.
    """
    firsts = np.array([*(shard.first for shard in plan.shards), plan.shards[-1].last])
    edges = _edges(np.diff(firsts))  # shards at which a bucket begins
    buckets = [f"{folder}/bucket-{number:06d}.parquet" for number in range(len(edges) - 1)]
    there = {f"{folder}/{name}" for name in store.names(folder)}
    if not there.issuperset(buckets):
        groups = _groups(store, folder, plan, parts, firsts[edges])
        sources = [group.target for group in groups]
        for _ in run(_scatter, (group for group in groups if group.target not in there)):
            pass
        jobs = (
            _Bucket(store, target, sources, firsts[first : last + 1])
            for target, (first, last) in zip(buckets, pairwise(edges), strict=True)
            if target not in there
        )
        for _ in run(_collect, jobs):
            pass
    return [(buckets[number], shard - first) for number, (first, last) in enumerate(pairwise(edges)) for shard in range(first, last)]


def _edges(counts: npt.NDArray[Any]) -> list[int]:
    """Where to cut a row of counts so that each piece has about `ROWS`: the begin of each piece, and the end of the last."""
    full = (np.cumsum(counts) - 1) // ROWS
    return [0, *(int(place) + 1 for place in np.flatnonzero(np.diff(full))), len(counts)]


def _groups(store: Store, folder: str, plan: Plan, parts: Sequence[PartRef], bounds: Numbers) -> list[_Group]:
    order = np.argsort(plan.part, kind="stable")
    ends = np.searchsorted(plan.part[order], np.arange(len(parts) + 1))
    found = []
    for number, (first, last) in enumerate(pairwise(_edges(np.diff(ends)))):
        chosen = [(parts[part].path, order[ends[part] : ends[part + 1]]) for part in range(first, last) if ends[part] < ends[part + 1]]
        if chosen:
            wanted = [(path, plan.row[samples].astype(np.int64), samples) for path, samples in chosen]
            found.append(_Group(store, f"{folder}/group-{number:06d}.parquet", wanted, bounds))
    return found


def _scatter(group: _Group) -> None:
    """One row group a bucket that has rows of these parts."""
    tables = []
    for path, rows, samples in group.parts:
        with group.store.open(path) as handle:
            tables.append(pq.read_table(handle, use_threads=False).take(rows).append_column(_SAMPLE, pa.array(samples)))
    _write(group.store, group.target, pa.concat_tables(tables), group.bounds)


def _collect(bucket: _Bucket) -> None:
    """One row group a shard."""
    tables = []
    for source in bucket.sources:
        with bucket.store.open(source) as handle:
            file = pq.ParquetFile(handle)
            last = file.metadata.num_columns - 1
            least = [file.metadata.row_group(number).column(last).statistics.min for number in range(file.metadata.num_row_groups)]
            inside = [number for number, sample in enumerate(least) if bucket.bounds[0] <= sample < bucket.bounds[-1]]
            if inside:
                tables.append(file.read_row_groups(inside, use_threads=False))
    _write(bucket.store, bucket.target, pa.concat_tables(tables), bucket.bounds)


def _write(store: Store, target: str, table: pa.Table, bounds: Numbers) -> None:
    """In the order of the samples, cut into row groups at `bounds`."""
    samples = table.column(_SAMPLE).to_numpy()
    order = np.argsort(samples)
    table = table.take(order)
    with store.staged(target) as path, pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for first, last in pairwise(np.searchsorted(samples[order], bounds)):
            if first < last:
                writer.write_table(table.slice(first, last - first))


def rows_of(store: Store, path: str, number: int) -> pa.Table:
    """The rows of a shard."""
    with store.open(path) as handle:
        return pq.ParquetFile(handle).read_row_group(number, use_threads=False).drop_columns([_SAMPLE])
