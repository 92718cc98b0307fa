"""The changelog: what came, went and changed from one release to the next, and why, as `release.json` carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from manifests.corpus import connect, select_files
from manifests.part import PartRef
from manifests.release import INDEX, release_folder
from manifests.store import Store

COLUMNS = ("change", "why", "segments", "hours")

_QUERY = """
WITH old AS (SELECT key, recording_id, duration, {old_text} AS text, split FROM ({old})),
     new AS (SELECT key, recording_id, duration, {new_text} AS text, split FROM ({new})),
     heard AS (SELECT DISTINCT recording_id FROM old),
     still AS (SELECT DISTINCT recording_id FROM ({rows})),
     fate AS (SELECT segment_id, any_value(coalesce(drop_reason, 'dropped when it was packed')) AS reason FROM ({rows}) WHERE segment_id IS NOT NULL GROUP BY segment_id)
SELECT CASE WHEN old.key IS NULL THEN 'added' WHEN new.key IS NULL THEN 'removed'
            WHEN old.text IS DISTINCT FROM new.text THEN 'changed' WHEN old.split <> new.split THEN 'moved' ELSE 'same' END AS change,
       CASE WHEN old.key IS NULL AND heard.recording_id IS NULL THEN 'new audio'
            WHEN old.key IS NULL THEN 'of audio that was there'
            WHEN taken.segment_id IS NOT NULL THEN 'taken down'
            WHEN new.key IS NULL AND fate.reason IS NOT NULL THEN fate.reason
            WHEN new.key IS NULL AND still.recording_id IS NULL THEN 'its recording is gone'
            WHEN new.key IS NULL THEN 'cut at other places'
            WHEN old.text IS DISTINCT FROM new.text THEN 'another text'
            WHEN old.split <> new.split THEN old.split || ' to ' || new.split END AS why,
       count(*) AS segments, round(sum(coalesce(new.duration, old.duration)) / 3600, 4) AS hours
FROM old FULL JOIN new ON old.key = new.key
LEFT JOIN heard ON heard.recording_id = new.recording_id
LEFT JOIN still ON still.recording_id = old.recording_id
LEFT JOIN fate ON new.key IS NULL AND fate.segment_id = old.key
LEFT JOIN taken ON new.key IS NULL AND taken.segment_id = old.key
GROUP BY ALL ORDER BY change, segments DESC, why
"""


def changes(
    store: Store, version: str, before: str, earlier: Sequence[dict[str, Any]], parts: Sequence[PartRef], taken_down: Sequence[str]
) -> list[dict[str, Any]]:
    """What is new in release `version` against `before`, and then the changelog that `before` had. `parts` are what was packed, with its
    drops; `taken_down` are ids of segments.
    """
    with connect() as connection:
        if not store.local:
            connection.register_filesystem(store.fs)
        indices = [select_files(store, [f"{release_folder(name)}/{INDEX}"]) for name in (before, version)]
        texts = ["text" if "text" in _columns(connection, index) else "NULL" for index in indices]
        connection.register("taken", pa.table({"segment_id": pa.array(taken_down, pa.string())}))
        rows = select_files(store, [ref.path for ref in parts])
        query = _QUERY.format(old=indices[0], new=indices[1], rows=rows, old_text=texts[0], new_text=texts[1])
        table = [dict(zip(COLUMNS, row, strict=True)) for row in connection.execute(query).fetchall()]
    return [{"release": version, "after": before, "table": table}, *earlier]


def _columns(connection: Any, source: str) -> set[str]:
    return {row[0] for row in connection.execute(f"DESCRIBE {source}").fetchall()}
