"""What went wrong, by kind: rows that no rule dropped but that could not be used, and parts that failed."""

from __future__ import annotations

import re
from typing import Any

from manifests.corpus import Corpus
from manifests.runs import events

COLUMNS = ("stage", "reason", "rows", "hours", "what", "example")
_VARIES = (r"'[^']*'|\"[^\"]*\"", r"[a-z]+://\S+", r"(?:/[^\s:,;)]+){2,}", r"[0-9a-f]{12,}[0-9a-f-]*", r"[0-9]+(?:\.[0-9]+)?")
"""What differs between two errors of one kind: quoted names, URLs, paths, ids, numbers."""


def errors(corpus: Corpus) -> list[dict[str, Any]]:
    """A row a kind of error, the most frequent first: `what` it says without names and numbers, and an `example` whole.

    Rows that a filter's rules dropped are no errors (`silver funnel` has them). Parts that failed are those of the newest run.
    """
    filters = [manifest.stage for manifest in corpus.manifests if manifest.rules is not None]
    pattern = "|".join(_VARIES)
    query = """
        SELECT drop_stage AS stage, drop_reason AS reason, count(*) AS rows, coalesce(sum(duration), 0) / 3600 AS hours,
               regexp_replace(coalesce(drop_detail, ''), ?, '…', 'g') AS what,
               arg_min(concat_ws(': ', coalesce(segment_id, source_uri), drop_detail), source_uri) AS example
        FROM segments WHERE drop_reason IS NOT NULL AND NOT list_contains(?, drop_stage) GROUP BY ALL ORDER BY rows DESC, stage, reason, what
    """
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events(corpus):
        if event["event"] == "failed":
            what = re.sub(pattern, "…", str(event["message"]).partition("\n")[0])
            kinds.setdefault((event["stage"], what), []).append(event)
    found: list[dict[str, Any]] = [
        {"stage": stage, "reason": f"{len(failed)} part(s) failed", "rows": None, "hours": None, "what": what,
         "example": f"{failed[0]['path']}: {failed[0]['message']}"}
        for (stage, what), failed in kinds.items()
    ]  # fmt: skip
    found += corpus.query(query, [pattern, filters])
    return [{name: round(row[name], 4) if name == "hours" and row[name] is not None else row[name] for name in COLUMNS} for row in found]
