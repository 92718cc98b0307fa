"""What changed between two manifests, or two releases: rows that came, went, left, came back, and words that are others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.corpus import Corpus, Manifest, connect, select_files
from manifests.part import PartRef
from manifests.release import INDEX, RELEASE
from manifests.schema import KEY, key_of
from manifests.store import Store
from manifests.words import compare, marked

COLUMNS = ("change", "before", "after", "rows", "hours", "text_changed")
EXAMPLE_COLUMNS = ("change", "segment_id", "language", "before", "after", "text_before", "text_after", "words")
_TELLING = ("source_id", "segment_id", "text")
"""Columns that are mostly the same bytes in two parts of the same segments."""
_COMPARED = (*_TELLING, "duration", "drop_reason")
CHANGES = ("only in A", "only in B", "left", "came back", "other reason", "text", "same")
_WANTED = {
    "source_id": "VARCHAR",
    "segment_id": "VARCHAR",
    "duration": "DOUBLE",
    "drop_reason": "VARCHAR",
    "text": "VARCHAR",
    "language": "VARCHAR",
}
"""What is compared, and told of examples: columns and their types."""


@dataclass(frozen=True)
class Side:
    """One of the two: rows somewhere, with a name for people. `parts` if it is a manifest."""

    name: str
    store: Store
    parts: tuple[PartRef, ...] | None
    path: str = ""

    def select(self, connection: duckdb.DuckDBPyConnection, without: set[str]) -> str:
        """SQL of its rows with the columns of `_WANTED`, null where it has none; without parts of these digests."""
        paths = [self.path] if self.parts is None else [ref.path for ref in self.parts if ref.digest not in without]
        if not paths:
            return f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in _WANTED.items())} WHERE false"
        source = select_files(self.store, paths)
        there = {row[0] for row in connection.execute(f"DESCRIBE {source}").fetchall()}
        listed = ", ".join(name if name in there else f"NULL::{kind} AS {name}" for name, kind in _WANTED.items())
        return f"SELECT {listed} FROM ({source})"


def manifest_side(manifest: Manifest) -> Side:
    """A manifest as it is now."""
    return Side(f"{manifest.stage} {manifest.fingerprint} of {manifest.store.root}", manifest.store, tuple(manifest.parts()))


def side(where: str, stage: str | None = None) -> Side:
    """What a path names: a release folder, the folder of a manifest, or a corpus root (its last stage that ran, or `stage`).

    Raises:
        FileNotFoundError: nothing of that kind is there; the message says what was looked for.
    """
    root, _, inside = where.rstrip("/").rpartition("/releases/")
    if root and inside:
        store = Store(root)
        if not store.exists(f"releases/{inside}/{RELEASE}"):
            raise FileNotFoundError(f"{where} is no finished release: it has no {RELEASE}")
        return Side(f"release {inside}", store, None, f"releases/{inside}/{INDEX}")
    root, _, inside = where.rstrip("/").rpartition("/manifests/")
    if root and inside.count("/") == 1:
        manifest = Manifest(Store(root), *inside.split("/"))
        if not manifest.success:
            raise FileNotFoundError(f"{where} is no finished manifest: it has no _SUCCESS")
        return manifest_side(manifest)
    corpus = Corpus(where)
    if not corpus.views:
        raise FileNotFoundError(f"{where} has no rows yet: no stage has made a part")
    wanted = stage or corpus.views[-1]
    found = [manifest for manifest in corpus.manifests if manifest.stage == wanted and manifest.parts()]
    if not found:
        raise FileNotFoundError(f"{where} has no rows of a stage {wanted!r}; there are {', '.join(corpus.views)}")
    return manifest_side(found[0])


def before(corpus: Corpus, stage: str | None = None) -> tuple[Side, Side]:
    """The newest manifest of a stage that is no more the current one, and the current one. By default of the last filter.

    Raises:
        FileNotFoundError: there is no older one.
    """
    filters = [manifest for manifest in corpus.manifests if manifest.rules is not None and manifest.success]
    named = [manifest for manifest in corpus.manifests if manifest.stage == stage] if stage else filters or corpus.manifests
    if not named:
        raise FileNotFoundError(f"{corpus.store.root} has no stage {stage!r}; there are {', '.join(corpus.views)}")
    now = named[-1]
    names = corpus.store.names(f"manifests/{now.stage}")
    older = [Manifest(corpus.store, now.stage, name) for name in names if name != now.fingerprint]
    older = [manifest for manifest in older if manifest.success]
    if not older:
        raise FileNotFoundError(
            f"{corpus.store.root} has one manifest of {now.stage} only; name what to compare it with: another root, manifest folder or release"
        )
    return manifest_side(max(older, key=lambda manifest: str(manifest.info().get("created", "")))), manifest_side(now)


def diff(a: Side, b: Side, examples: int = 20) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row a change (`COLUMNS`), then examples of the changes (`EXAMPLE_COLUMNS`), as many as asked for.

    Changes: `only in A`, `only in B`; `left` (live in A, dropped in B), `came back`; `other reason`; `text` (live or dropped in both for the same
    reason, other words); `same`. `text_changed` counts other words among all of them. Rows are matched by source and segment; by segment alone
    where the two have no source in common (the same audio from elsewhere).

    Parts that both have are not read, and parts in the same place that hold the same segments are compared row by row, a part at a time: so two
    filters of a large corpus differ in seconds. Only what is left over is joined.
    """
    changes = _Changes(examples)
    shared = {ref.digest for ref in a.parts or ()} & {ref.digest for ref in b.parts or ()}
    for ref in a.parts or ():
        if ref.digest in shared:
            seconds = ref.counts.seconds + sum(seconds for _, seconds in ref.counts.dropped.values())
            changes.add(("same", None, None, ref.counts.rows, seconds, 0))
    aligned: set[str] = set()
    if a.parts and b.parts and len(a.parts) == len(b.parts):
        pairs = [
            (one, other) for one, other in zip(a.parts, b.parts, strict=True) if one.digest not in shared and other.digest not in shared
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for pair, found in zip(pairs, pool.map(lambda pair: _aligned(a.store, pair[0], b.store, pair[1]), pairs), strict=True):
                if found is not None:
                    aligned |= {ref.digest for ref in pair}
                    for change in found:
                        changes.add(change, pair=pair)
    with connect() as connection:
        for one, name in ((a, "a"), (b, "b")):
            if not one.store.local:
                connection.register_filesystem(one.store.fs)
            connection.execute(f"CREATE VIEW {name} AS {one.select(connection, shared | aligned)}")
        for change, keys in _joined(connection, examples):
            changes.add(change, keys=keys)
        table = changes.table()
        return table, _mixed(
            [changes.examples(tuple(row[name] for name in COLUMNS[:3]), a.store, b.store, connection) for row in table], examples
        )


Key = tuple[str, str | None, str | None]
"""Change, and the reasons before and after."""
Line = tuple[str, str | None, str | None, int, float, int]
"""The same with rows, seconds, and rows with other words."""


class _Changes:
    """Sums by change, and where rows of each are to be found."""

    def __init__(self, examples: int) -> None:
        self._examples = examples
        self._sums: dict[Key, list[float]] = {}
        self._pairs: dict[Key, list[tuple[PartRef, PartRef]]] = {}
        self._keys: dict[Key, list[str]] = {}

    def add(self, line: Line, pair: tuple[PartRef, PartRef] | None = None, keys: Sequence[str] = ()) -> None:
        """Count rows; they are in a pair of parts, or have these keys."""
        change, before, after, rows, seconds, changed = line
        key = (change, before, after)
        sums = self._sums.setdefault(key, [0, 0.0, 0])
        for place, value in enumerate((rows, seconds, changed)):
            sums[place] += value
        if change != "same" and pair is not None:
            # A few parts at random, the same each time.
            found = sorted([*self._pairs.get(key, ()), pair], key=lambda pair: hashlib.sha256(pair[0].digest.encode()).digest())
            self._pairs[key] = found[: self._examples]
        self._keys.setdefault(key, []).extend(keys)

    def table(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        order = sorted(self._sums, key=lambda key: (CHANGES.index(key[0]), -self._sums[key][0], str(key)))
        return [
            dict(zip(COLUMNS, (*key, int(rows), round(seconds / 3600, 4), int(changed)), strict=True))
            for key, (rows, seconds, changed) in ((key, self._sums[key]) for key in order)
        ]

    def examples(self, key: Key, a: Store, b: Store, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
        """Some rows of a change."""
        if key[0] == "same" or not self._examples:
            return []
        found = [row for one, other in self._pairs.get(key, ()) for row in _pair_examples(key, a, one, b, other, self._examples)]
        if keys := self._keys.get(key):
            found += _view_examples(key[0], connection, keys)
        return sorted(found, key=lambda row: hashlib.sha256(row["segment_id"].encode()).digest())[: self._examples]


def _mixed(examples: Sequence[Sequence[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """Some of every change, `count` in all, in the order of the changes."""
    turns = [(place, turn) for turn in range(count) for place, rows in enumerate(examples) if turn < len(rows)]
    return [examples[place][turn] for place, turn in sorted(turns[:count])]


def _aligned(a: Store, one: PartRef, b: Store, other: PartRef) -> list[Line] | None:
    """The changes between two parts that hold the same segments in the same order; None if they do not, or cannot be read: DuckDB then says which."""
    try:
        with a.open(one.path) as first, b.open(other.path) as second:
            files = [pq.ParquetFile(handle) for handle in (first, second)]
            bytes_of = [_column_bytes(handle, file.metadata) for handle, file in zip((first, second), files, strict=True)]
            same = {name for name in _TELLING if bytes_of[0][name] == bytes_of[1][name]}  # nobody needs to take them apart
            old, new = (_columns(file, *(name for name in _COMPARED if name not in same)) for file in files)
    except (OSError, pa.ArrowInvalid):
        return None
    if len(old) != len(new) or any(not old[name].equals(new[name]) for name in ("source_id", "segment_id") if name not in same):
        return None
    moved = _differs(old["drop_reason"], new["drop_reason"])
    others = pa.chunked_array([pa.repeat(False, len(new))]) if "text" in same else _differs(old["text"], new["text"])
    apart = pc.or_(others, moved)
    seconds = pc.fill_null(new["duration"], 0.0)
    different = pc.sum(apart, min_count=0).as_py()
    found: list[Line] = [("same", None, None, len(new) - different, pc.sum(seconds.filter(pc.invert(apart)), min_count=0).as_py(), 0)]
    if different:
        columns = {"before": old["drop_reason"], "after": new["drop_reason"], "changed": others, "seconds": seconds}
        table = pa.table({name: column.filter(apart) for name, column in columns.items()})
        groups = table.group_by(["before", "after"]).aggregate([("seconds", "sum"), ("seconds", "count"), ("changed", "sum")])
        found += [
            (
                _change(group["before"], group["after"]),
                group["before"],
                group["after"],
                group["seconds_count"],
                group["seconds_sum"],
                group["changed_sum"],
            )
            for group in groups.to_pylist()
        ]
    return found


def _differs(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether two columns differ, row by row; null is equal to null."""
    return pc.if_else(pc.and_(pc.is_valid(old), pc.is_valid(new)), pc.not_equal(old, new), pc.xor(pc.is_valid(old), pc.is_valid(new)))


def _pair_examples(key: Key, a: Store, one: PartRef, b: Store, other: PartRef, count: int) -> list[dict[str, Any]]:
    """Some rows of a change in two parts that hold the same segments."""
    old, new = (_read(store, ref, "language") for store, ref in ((a, one), (b, other)))
    differ = pc.or_(_differs(old["text"], new["text"]), _differs(old["drop_reason"], new["drop_reason"]))
    for table, reason in ((old, key[1]), (new, key[2])):
        column = table["drop_reason"]
        differ = pc.and_(differ, pc.is_null(column) if reason is None else pc.fill_null(pc.equal(column, reason), False))
    rows = zip(old.filter(differ)[:count].to_pylist(), new.filter(differ)[:count].to_pylist(), strict=True)
    return [_example(key[0], before, after) for before, after in rows]


def _view_examples(change: str, connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these keys in the views `a` and `b`."""
    sides = []
    for name in ("a", "b"):
        cursor = connection.execute(
            f"SELECT segment_id, source_id, language, drop_reason, text FROM {name} WHERE {KEY} IN (SELECT unnest(?))",
            [list(keys)],
        )
        names = [field[0] for field in cursor.description or []]
        rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
        sides.append({key_of(row): row for row in rows})
    return [_example(change, sides[0].get(key), sides[1].get(key)) for key in keys]


def _example(change: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    row = new or old or {}
    old, new = old or {}, new or {}
    before, after = old.get("text"), new.get("text")
    words = marked(compare(before, after)) if before != after else None
    values = (change, key_of(row), row["language"], old.get("drop_reason"), new.get("drop_reason"), before, after, words)
    return dict(zip(EXAMPLE_COLUMNS, values, strict=True))


def _column_bytes(handle: BinaryIO, metadata: pq.FileMetaData) -> dict[str, list[tuple[Any, ...]]]:
    """Type, codec and bytes of the columns `_TELLING`, a row group at a time; empty lists of a file that has none."""
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _TELLING}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema in found:
                handle.seek(column.dictionary_page_offset or column.data_page_offset)
                told = (column.physical_type, column.compression, column.num_values, handle.read(column.total_compressed_size))
                found[column.path_in_schema].append(told)
    return found


def _read(store: Store, ref: PartRef, *more: str) -> pa.Table:
    """The compared columns of a part, and more."""
    with store.open(ref.path) as handle:
        return _columns(pq.ParquetFile(handle), *_COMPARED, *more)


def _columns(file: pq.ParquetFile, *names: str) -> pa.Table:
    """Columns of a part, null where it has none."""
    table = file.read([name for name in names if name in file.schema_arrow.names], use_threads=False)
    for name in names:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.float64() if name == "duration" else pa.string()))
    return table


def _change(before: str | None, after: str | None) -> str:
    """What became of a row that is not the same."""
    if before is None and after is not None:
        return "left"
    if before is not None and after is None:
        return "came back"
    return "other reason" if before != after else "text"


def _joined(connection: duckdb.DuckDBPyConnection, examples: int) -> Iterator[tuple[Line, Sequence[str]]]:
    """The changes between the views `a` and `b`, whose rows may be in any order."""
    by_source = connection.execute("SELECT count(*) FROM (SELECT source_id FROM a INTERSECT SELECT source_id FROM b)").fetchall()[0][0]
    columns = f"{KEY} AS key, {'source_id' if by_source else 'NULL'} AS source, drop_reason, hash(text) AS words, duration, TRUE AS there"
    match = "a_.key = b_.key" + (" AND a_.source = b_.source" if by_source else "")
    rows = connection.execute(
        f"""
        WITH a_ AS (SELECT {columns} FROM a), b_ AS (SELECT {columns} FROM b),
        joined AS (
            SELECT coalesce(b_.key, a_.key) AS key, coalesce(b_.duration, a_.duration) AS duration, a_.there AS in_a, b_.there AS in_b,
                   a_.drop_reason AS before, b_.drop_reason AS after, a_.words IS DISTINCT FROM b_.words AND a_.there AND b_.there AS changed
            FROM a_ FULL JOIN b_ ON {match})
        SELECT in_a, in_b, before, after, changed, count(*), coalesce(sum(duration), 0), arg_min(key, hash(key), {max(1, 2 * examples)})
        FROM joined GROUP BY ALL
        """
    ).fetchall()
    for in_a, in_b, before, after, changed, count, seconds, keys in rows:
        same = in_a and in_b and before == after and not changed
        change = "only in A" if not in_b else "only in B" if not in_a else "same" if same else _change(before, after)
        yield (
            ((change, None, None, count, seconds, 0), ())
            if same
            else ((change, before, after, count, seconds, count * bool(changed)), keys)
        )
