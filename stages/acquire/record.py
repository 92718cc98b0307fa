"""What earlier runs acquired: read fast, since a corpus has thousands of parts and most runs add few."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.part import PartRef, read_part, read_rows
from manifests.schema import Row
from manifests.store import Store
from stages.acquire.source import Candidate

SUPERSEDED = "superseded"
_COLUMNS = ["source_uri", "media_version", "drop_reason"]


@dataclass
class Record:
    """Parts that stay, what they hold, and the sources that failed."""

    store: Store
    stage: str
    kept: list[PartRef] = field(default_factory=list)
    columns: list[pa.Table] = field(default_factory=list)  # of each kept part
    uris: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)  # feeds' and yt-dlp's own, see Source.version
    files: set[tuple[str, str]] = field(default_factory=set)  # (address, version)
    failed_parts: list[PartRef] = field(default_factory=list)
    failures: dict[str, Row] = field(default_factory=dict)
    """Rows of sources that failed, by address."""

    @classmethod
    def read(cls, store: Store, stage: str, parts: Sequence[PartRef]) -> Record:
        """The record of these parts. One that holds failures alone is not kept: its sources are tried again."""
        record = cls(store, stage)
        for ref in parts:
            stays = ref.counts.live or f"{stage}:{SUPERSEDED}" in ref.counts.dropped
            (record.kept if stays else record.failed_parts).append(ref)
        with ThreadPoolExecutor(4) as pool:
            record.columns = list(pool.map(record._columns, record.kept))
        for table in record.columns:
            uris, versions = table["source_uri"].to_pylist(), table["media_version"].to_pylist()
            record.uris.update(uris)
            record.names.update(versions)
            record.files.update(zip(uris, versions, strict=True))
        record.names.discard("")
        for ref in record.failed_parts:
            record.failures.update((row["source_uri"], row) for row in read_rows(store, ref))
        return record

    def knows(self, candidate: Candidate) -> bool:
        """Whether a candidate was acquired before. A file that can no longer be read stays what it was."""
        if candidate.stays and candidate.version:
            return (candidate.uri, candidate.version) in self.files
        return candidate.uri in self.uris or candidate.version in self.names

    def _columns(self, ref: PartRef) -> pa.Table:
        if self.store.local:  # four times as fast as through Python's file
            return pq.ParquetFile(self.store.path(ref.path), memory_map=True).read(_COLUMNS, use_threads=False)
        return read_part(self.store, ref, _COLUMNS)

    def earlier(self, now: dict[str, tuple[str, str]]) -> list[PartRef | pa.Table]:
        """The kept parts, in order. `now` is (version, source_id) of the files that are there now, by address.

        Where a file has changed, its part comes as a table in which the old row is dropped as superseded; where the old version has
        come back, as one in which it lives again.
        """
        return [self._adjusted(ref, table, now) for ref, table in zip(self.kept, self.columns, strict=True)]

    def _adjusted(self, ref: PartRef, columns: pa.Table, now: dict[str, tuple[str, str]]) -> PartRef | pa.Table:
        uris = columns["source_uri"].to_pylist() if now else []
        if not any(uri in now for uri in uris):
            return ref
        wanted: dict[int, str | None] = {}
        for index, (uri, version, reason) in enumerate(
            zip(uris, columns["media_version"].to_pylist(), columns["drop_reason"].to_pylist(), strict=True)
        ):
            if uri in now and (version != now[uri][0]) != (reason == SUPERSEDED):
                wanted[index] = now[uri][1] if version != now[uri][0] else None
        if not wanted:
            return ref
        table = read_part(self.store, ref)
        for name, values in {
            "drop_stage": {index: self.stage if successor else None for index, successor in wanted.items()},
            "drop_reason": {index: SUPERSEDED if successor else None for index, successor in wanted.items()},
            "drop_detail": {
                index: f"the file changed; it is now source {successor}" if successor else None for index, successor in wanted.items()
            },
        }.items():
            column = [values.get(index, old) for index, old in enumerate(table[name].to_pylist())]
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(column, pa.string()))
        return table
