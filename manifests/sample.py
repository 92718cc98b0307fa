"""Some rows of many: at random, but the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.corpus import Corpus

_IDENTITY = "hash(source_id, segment_id)"


def sample_rows(corpus: Corpus, view: str, columns: Sequence[str], where: str, count: int) -> list[dict[str, Any]]:
    """At most `count` rows for which `where`, a condition in SQL, holds."""
    listed = ", ".join(f'"{name}"' for name in columns)
    # The subquery keeps the condition in its brackets.
    query = f'SELECT {listed} FROM (SELECT * FROM "{view}" WHERE {where}) ORDER BY {_IDENTITY} LIMIT {count}'
    return corpus.query(query)
