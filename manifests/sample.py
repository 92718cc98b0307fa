"""Some rows of many: at random, but the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from manifests.corpus import Corpus
from manifests.part import PartRef

PARTS = 64
"""Parts to look into first, at least, and four for each row that is wanted: of a large corpus not every row need be read to show twenty."""
MORE = 8
"""Times as many parts, if there are too few such rows in them."""


def sample_rows(corpus: Corpus, view: str, columns: Sequence[str], where: str, count: int) -> list[dict[str, Any]]:
    """At most `count` rows for which `where`, a condition in SQL, holds: of parts that are drawn at random, by a hash of their identity."""
    listed = ", ".join(f'"{name}"' for name in columns)
    taken = max(PARTS, 4 * count)

    def parts() -> list[PartRef]:
        return sorted(corpus.readable[corpus.stage_of(view)], key=lambda ref: hashlib.sha256(ref.key.encode()).digest())

    def query() -> str:
        # The subquery keeps the condition in its brackets.
        inside = f'SELECT * FROM ({corpus.select(parts()[:taken])}) AS "{view}" WHERE {where}'
        return f"SELECT {listed} FROM ({inside}) ORDER BY hash(source_id, segment_id) LIMIT {count}"

    while True:
        rows = corpus.query(query)
        if len(rows) >= count or taken >= len(parts()):
            return rows
        taken *= MORE
