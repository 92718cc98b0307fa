"""Some rows of many: at random, but the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from manifests.corpus import Corpus, select_parts

PARTS = 64
"""Parts to look into first, at least, and four for each row that is wanted: of a large corpus not every row need be read to show twenty."""
MORE = 8
"""Times as many parts, if there are too few such rows in them."""


def sample_rows(corpus: Corpus, view: str, columns: Sequence[str], where: str, count: int) -> list[dict[str, Any]]:
    """At most `count` rows for which `where`, a condition in SQL, holds: of parts that are drawn at random, by a hash of their identity."""
    listed = ", ".join(f'"{name}"' for name in columns)
    corpus.query(f'SELECT 1 FROM "{view}" WHERE {where} LIMIT 1')
    parts = sorted(corpus.parts_of(view), key=lambda ref: hashlib.sha256(ref.key.encode()).digest())
    taken = max(PARTS, 4 * count)
    while True:
        source = select_parts(corpus.store, parts[:taken], by_name=corpus.by_name)
        # The subquery keeps the condition in its brackets.
        query = (
            f'SELECT {listed} FROM (SELECT * FROM ({source}) AS "{view}" WHERE {where}) ORDER BY hash(source_id, segment_id) LIMIT {count}'
        )
        rows = corpus.query(query)
        if len(rows) >= count or taken >= len(parts):
            return rows
        taken *= MORE
