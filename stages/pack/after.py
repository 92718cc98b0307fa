"""The release that a release follows: what did not change stays in its shard, and a shard that did not change is not written again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.release import INDEX, PLACES, RELEASE, RELEASES, read_release, release_folder
from manifests.store import Store
from manifests.verify import touched
from pipeline.contract import SilverError


def untouched(store: Store, version: str) -> dict[str, Any]:
    """`release.json`, or nothing if the release is not there or not finished.

    Raises:
        SilverError: files of it are gone, are others, or lie beside it: nothing can be built on what it says.
    """
    if not store.exists(f"{release_folder(version)}/{RELEASE}"):
        return {}
    if found := list(touched(store, version)):
        lines = "\n".join(f"  {finding}" for finding in found[:10])
        raise SilverError(
            f"release {version} was touched after it was made, and others are made after it:\n{lines}\n"
            f"Bring it back as it was (from a copy, or by the command that was killed), or take the whole folder away: {store.uri(release_folder(version))}"
        )
    return read_release(store, version)


@dataclass
class Base:
    """A finished release, as a plan needs it: some 60 bytes a sample."""

    version: str
    release: dict[str, Any]
    keys: npt.NDArray[np.bytes_]
    """Sorted."""
    position: npt.NDArray[np.int64]
    """In the index, of each of `keys`."""
    shard_of: npt.NDArray[np.int64]
    """By position: number of the shard."""
    inside: list[tuple[str, ...]]
    """By number of the shard: the subsets that its samples are in."""
    shards: dict[str, int]
    """Path to number."""

    @staticmethod
    def read(store: Store, version: str) -> Base:
        """Raises SilverError if it is no finished release, or is not what it was."""
        release = untouched(store, version)
        if not release:
            there = [name for name in store.names(RELEASES) if store.exists(f"{release_folder(name)}/{RELEASE}")]
            raise SilverError(f"there is no finished release {version!r} to follow; there are {', '.join(there) or 'none'}")
        listed = release["shards"]  # in the order of the index
        with store.open(f"{release_folder(version)}/{INDEX}") as handle:
            keys = [
                np.array(batch.column(0).to_pylist()).astype(np.bytes_) for batch in pq.ParquetFile(handle).iter_batches(columns=["key"])
            ]
        flat = np.concatenate(keys)
        order = np.argsort(flat, kind="stable")
        counts = [shard["samples"] for shard in listed]
        if sum(counts) != len(flat):
            raise SilverError(f"the index of release {version} does not fit its {len(listed)} shards: `silver verify` says what is wrong")
        return Base(
            version,
            release,
            flat[order],
            order,
            np.repeat(np.arange(len(listed)), counts),
            [tuple(shard.get("subsets", ())) for shard in listed],
            {shard["path"]: number for number, shard in enumerate(listed)},
        )

    def places(self, keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """Of each key its position in the index; -1 where it is not there."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.position[at], -1)

    def levels(self, places: npt.NDArray[np.int64], names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Of each place the number of the smallest of the named subsets that it was in; the count of names if none."""
        of_shard = np.array([min((names.index(name) for name in some if name in names), default=len(names)) for some in self.inside])
        return np.where(places >= 0, of_shard[self.shard_of[places]], len(names))

    def rows(self, path: str) -> tuple[int, int]:
        """First row of the index that is of a shard, and how many are."""
        first, last = np.searchsorted(self.shard_of, [self.shards[path], self.shards[path] + 1])
        return int(first), int(last - first)


def same_shard(store: Store, version: str, rows: tuple[int, int], public: pa.Table) -> pa.Table | None:
    """The rows of the index of that release, if they say just what `public` says, in the same order."""
    first, count = rows
    with store.open(f"{release_folder(version)}/{INDEX}") as handle:
        file = pq.ParquetFile(handle)
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)])
        groups = list(
            range(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, first + count - 1, side="right")) + 1)
        )
        begin = int(ends[groups[0]]) - file.metadata.row_group(groups[0]).num_rows
        table = file.read_row_groups(groups, use_threads=False).slice(first - begin, count)
    if len(table) != len(public) or {*table.column_names} != {*PLACES, *public.column_names}:
        return None
    try:
        return table if table.select(public.column_names).cast(public.schema).equals(public) else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # a column has another type now
