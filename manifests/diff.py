"""What changed between two manifests, or two releases: rows that came, went, left, came back, and words that are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from manifests.corpus import Corpus, Manifest, connect, select_parts
from manifests.part import PartRef
from manifests.release import INDEX, RELEASE
from manifests.store import Store
from manifests.words import compare, marked

COLUMNS = ("change", "before", "after", "rows", "hours", "text_changed")
EXAMPLE_COLUMNS = ("change", "segment_id", "language", "before", "after", "text_before", "text_after", "words")
_WANTED = ("source_id", "segment_id", "source_uri", "duration", "language", "drop_reason", "text")


@dataclass(frozen=True)
class Side:
    """One of the two: rows somewhere, with a name for people. `parts` if it is a manifest."""

    name: str
    store: Store
    parts: tuple[PartRef, ...] | None
    path: str = ""

    def select(self, connection: duckdb.DuckDBPyConnection, without: set[str]) -> str:
        """SQL of its rows with the columns of `_WANTED`, null where it has none; without parts of these digests."""
        if self.parts is None:
            source = "SELECT * FROM read_parquet('" + self.store.uri(self.path).replace("'", "''") + "')"
        else:
            left = [ref for ref in self.parts if ref.digest not in without] or list(self.parts[:1])
            source = select_parts(self.store, left) + (" LIMIT 0" if all(ref.digest in without for ref in self.parts) else "")
        there = {row[0] for row in connection.execute(f"DESCRIBE {source}").fetchall()}
        listed = ", ".join(f'"{name}"' if name in there else f'NULL::VARCHAR AS "{name}"' for name in _WANTED)
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
    where the two have no source in common (the same audio from elsewhere). Parts that both have are not read.
    """
    connection = connect()
    for one in (a, b):
        if not one.store.local:
            connection.register_filesystem(one.store.fs)
    shared = {ref.digest for ref in a.parts or ()} & {ref.digest for ref in b.parts or ()}
    connection.execute(f"CREATE VIEW a AS {a.select(connection, shared)}")
    connection.execute(f"CREATE VIEW b AS {b.select(connection, shared)}")
    by_source = connection.execute("SELECT count(*) FROM (SELECT source_id FROM a INTERSECT SELECT source_id FROM b)").fetchall()[0][0]
    key = "coalesce(segment_id, source_id)"
    columns = f"{key} AS key, {'source_id' if by_source else 'NULL'} AS source, drop_reason, hash(text) AS words, duration, TRUE AS there"
    match = "a_.key = b_.key" + (" AND a_.source = b_.source" if by_source else "")
    rows = connection.execute(
        f"""
        WITH a_ AS (SELECT {columns} FROM a), b_ AS (SELECT {columns} FROM b),
        joined AS (
            SELECT coalesce(b_.key, a_.key) AS key, coalesce(b_.duration, a_.duration) AS duration,
                   a_.drop_reason AS before, b_.drop_reason AS after, a_.words IS DISTINCT FROM b_.words AND a_.there AND b_.there AS changed,
                   CASE WHEN b_.there IS NULL THEN 'only in A' WHEN a_.there IS NULL THEN 'only in B'
                        WHEN before IS NULL AND after IS NOT NULL THEN 'left' WHEN before IS NOT NULL AND after IS NULL THEN 'came back'
                        WHEN before IS DISTINCT FROM after THEN 'other reason' WHEN changed THEN 'text' ELSE 'same' END AS change
            FROM a_ FULL JOIN b_ ON {match})
        SELECT change, CASE WHEN change <> 'same' THEN before END AS before, CASE WHEN change <> 'same' THEN after END AS after, count(*) AS rows, coalesce(sum(duration), 0) / 3600 AS hours,
               count(*) FILTER (changed) AS text_changed, arg_min(key, hash(key), {max(1, examples)}) FILTER (change <> 'same') AS keys
        FROM joined GROUP BY ALL
        """
    ).fetchall()
    table = [dict(zip((*COLUMNS, "keys"), row, strict=True)) for row in rows]
    _add_shared(table, a, shared)
    order = ("only in A", "only in B", "left", "came back", "other reason", "text", "same")
    table.sort(key=lambda row: (order.index(row["change"]), -row["rows"], str(row["before"]), str(row["after"])))
    chosen = [row["keys"] or [] for row in table if row["change"] != "same"]
    mixed = [key for turn in range(examples) for keys in chosen for key in keys[turn : turn + 1]][:examples]  # some of every change
    summary = [{name: round(row[name], 4) if name == "hours" else row[name] for name in COLUMNS} for row in table]
    return summary, _examples(connection, table, mixed)


def _add_shared(table: list[dict[str, Any]], a: Side, shared: set[str]) -> None:
    """Rows of the parts that both have, to those that are the same."""
    counts = [ref.counts for ref in a.parts or () if ref.digest in shared]
    if not counts:
        return
    line = next((row for row in table if row["change"] == "same"), None)
    if line is None:
        line = {"change": "same", "before": None, "after": None, "rows": 0, "hours": 0.0, "text_changed": 0, "keys": None}
        table.append(line)
    line["rows"] += sum(item.rows for item in counts)
    line["hours"] += sum(item.seconds + sum(seconds for _, seconds in item.dropped.values()) for item in counts) / 3600


def _examples(connection: duckdb.DuckDBPyConnection, table: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    if not keys:
        return []
    sides = []
    for name in ("a", "b"):
        cursor = connection.execute(
            f"SELECT coalesce(segment_id, source_id) AS key, language, drop_reason, text FROM {name} WHERE list_contains(?, key)",
            [list(keys)],
        )
        sides.append({key: (language, reason, text) for key, language, reason, text in cursor.fetchall()})
    change = {key: row["change"] for row in table for key in row["keys"] or () if row["change"] != "same"}
    found = []
    for key in keys:
        old, new = (each.get(key, (None, None, None)) for each in sides)
        runs = compare(old[2], new[2]) if old[2] != new[2] else []
        values = (change[key], key, new[0] or old[0], old[1], new[1], old[2], new[2], marked(runs) if runs else None)
        found.append(dict(zip(EXAMPLE_COLUMNS, values, strict=True)))
    return found
