"""What went wrong, by kind: rows that no rule dropped but that could not be used, and parts that failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from manifests.corpus import Corpus

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
    failed = [{"stage": event["stage"], "reason": "part failed", "rows": None, "hours": None} | event for event in failures(corpus)]
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    for event in failed:
        what = re.sub(pattern, "…", str(event["message"]).splitlines()[0] if event["message"] else "")
        kinds.setdefault((event["stage"], what), event | {"what": what, "example": f"{event['path']}: {event['message']}", "parts": 0})[
            "parts"
        ] += 1
    found = [kind | {"reason": f"{kind['parts']} part(s) failed"} for kind in kinds.values()]
    found += corpus.query(query, [pattern, filters])
    return [{name: round(row[name], 4) if name == "hours" and row[name] is not None else row[name] for name in COLUMNS} for row in found]


def failures(corpus: Corpus) -> Iterator[dict[str, Any]]:
    """The events of the newest run that say that a part failed."""
    return (event for event in events(corpus) if event["event"] == "failed")


def runs(corpus: Corpus) -> list[str]:
    """Names of the runs, the oldest first."""
    return [name for name in corpus.store.names("runs") if not name.startswith(".")]


def events(corpus: Corpus) -> list[dict[str, Any]]:
    """Events of the newest run; a line that a crash cut off is left out."""
    names = runs(corpus)
    path = f"runs/{names[-1]}/events.jsonl" if names else ""
    if not path or not corpus.store.exists(path):
        return []
    found = []
    for line in corpus.store.read(path).splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            found.append(event)
    return found
