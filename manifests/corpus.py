"""A corpus root on disk: which manifests there are, which are current, and SQL over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb

from manifests.part import Counts, PartRef, part_path, read_ref
from manifests.store import Store

CURRENT = "manifests/current.json"


@dataclass(frozen=True)
class Manifest:
    """All parts that one stage wrote under one fingerprint."""

    store: Store
    stage: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """Where the parts lie, relative to the root."""
        return f"manifests/{self.stage}/{self.fingerprint}"

    def info(self) -> dict[str, Any]:
        """`_stage.json`: parameters, model identity, software, upstream; empty if the stage never started."""
        return _json(self.store, f"{self.folder}/_stage.json")

    @property
    def rules(self) -> dict[str, str] | None:
        """The rules of a filter; None of any other stage."""
        rules: dict[str, str] | None = self.info().get("parameters", {}).get("rules")
        return rules

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write `_stage.json`."""
        self.store.write(f"{self.folder}/_stage.json", json.dumps(info, indent=1, sort_keys=True, default=str).encode())

    @cached_property
    def success(self) -> dict[str, Any]:
        """`_SUCCESS`: the list of parts and a digest of the input they were made from; empty until the stage has finished."""
        return _json(self.store, f"{self.folder}/_SUCCESS")

    def finish(self, parts: Sequence[PartRef], inputs: str) -> None:
        """Write `_SUCCESS`: from now on these parts, in this order, are the manifest."""
        done = {"inputs": inputs, "parts": [ref.to_json() for ref in parts]}
        self.store.write(f"{self.folder}/_SUCCESS", json.dumps(done, separators=(",", ":")).encode())
        self.__dict__.update(success=done, listed=list(parts))

    @cached_property
    def listed(self) -> list[PartRef]:
        """Parts of the finished manifest."""
        return [PartRef.from_json(part) for part in self.success.get("parts", [])]

    def on_disk(self) -> dict[str, PartRef]:
        """Every part in the folder by key, listed or not: what a killed run left is found here."""
        found = {ref.key: ref for ref in self.listed}
        keys = [name[5:-8] for name in self.store.names(self.folder) if name.startswith("part-") and name.endswith(".parquet")]
        missing = found.keys() - set(keys)
        for key in missing:
            del found[key]  # somebody removed the file: it is made again
        with ThreadPoolExecutor(8) as pool:
            unlisted = [key for key in keys if key not in found]
            found.update(zip(unlisted, pool.map(lambda key: read_ref(self.store, part_path(self.folder, key)), unlisted), strict=True))
        return found

    def parts(self) -> list[PartRef]:
        """The parts a reader should see: the finished list, or while the stage first runs all that is there."""
        return self.listed if self.success else [ref for _, ref in sorted(self.on_disk().items())]

    def counts(self) -> Counts:
        """Rows, seconds and drops of the whole manifest."""
        return total(self.parts())


def total(parts: Sequence[PartRef]) -> Counts:
    """Sum of the counts of parts, in one pass."""
    dropped: dict[str, tuple[int, float]] = {}
    for ref in parts:
        for reason, (rows, seconds) in ref.counts.dropped.items():
            had = dropped.get(reason, (0, 0.0))
            dropped[reason] = (had[0] + rows, had[1] + seconds)
    counts = [ref.counts for ref in parts]
    return Counts(
        rows_in=sum(c.rows_in for c in counts), live_in=sum(c.live_in for c in counts), seconds_in=sum(c.seconds_in for c in counts),
        rows=sum(c.rows for c in counts), live=sum(c.live for c in counts), seconds=sum(c.seconds for c in counts),
        made=sum(c.made for c in counts), dropped=dropped,
    )  # fmt: skip


class Corpus:
    """A corpus root, for reading.

    Raises:
        FileNotFoundError: nothing was ever built there.
    """

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self.current: dict[str, Any] = _json(self.store, CURRENT)
        if not self.current:
            raise FileNotFoundError(
                f"{self.store.root} is not a corpus root: it has no {CURRENT}; build one with `silver run RECIPE root={root}`"
            )

    @cached_property
    def manifests(self) -> list[Manifest]:
        """The current manifest of every stage that has at least started, in the order of the recipe."""
        entries = [Manifest(self.store, entry["stage"], entry["fingerprint"]) for entry in self.current["stages"]]
        return [manifest for manifest in entries if self.store.exists(f"{manifest.folder}/_stage.json")]

    def connect(self) -> duckdb.DuckDBPyConnection:
        """DuckDB over the manifests: a view a stage, `recordings`, `segments` and `funnel`."""
        from manifests.funnel import FUNNEL_COLUMNS, funnel

        connection = duckdb.connect()
        if not self.store.local:
            connection.register_filesystem(self.store.fs)
        with_parts = [(manifest, parts) for manifest in self.manifests if (parts := manifest.parts())]
        for manifest, parts in with_parts:
            files = ", ".join(_quote(self.store.uri(ref.path)) for ref in parts)
            connection.execute(f'CREATE VIEW "{manifest.stage}" AS SELECT * FROM read_parquet([{files}])')
        if with_parts:
            names = [manifest.stage for manifest, _ in with_parts]
            connection.execute(f'CREATE VIEW segments AS SELECT * FROM "{names[-1]}"')
            source = "decode" if "decode" in names else names[0]
            connection.execute(f'CREATE VIEW recordings AS SELECT * FROM "{source}"')
        connection.execute(f"CREATE TABLE funnel ({', '.join(f'{name} {kind}' for name, kind in FUNNEL_COLUMNS)})")
        if rows := funnel(self):
            connection.executemany(
                f"INSERT INTO funnel VALUES ({', '.join('?' * len(FUNNEL_COLUMNS))})",
                [[row[name] for name, _ in FUNNEL_COLUMNS] for row in rows],
            )
        return connection


def _json(store: Store, path: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(store.read(path))
    except FileNotFoundError:
        return {}
    return value


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
