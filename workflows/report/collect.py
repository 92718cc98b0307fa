"""What the page shows, as plain values: everything that it says is in here once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.corpus import Corpus, Manifest
from manifests.funnel import funnel
from pipeline.contract import SilverError
from workflows.filtered import last_filter, weight
from workflows.refine.figures import SYSTEMS
from workflows.refine.report import rounds
from workflows.report.clips import chosen, clips
from workflows.report.signals import signals

CHANNELS = 500
"""Channels with the most hours that have a line of their own; the rest is one."""
AUDIO = 22_000_000
"""Bytes of audio in a page, in base64: so that it stays under 30 MB."""


def collect(corpus: Corpus, each: int) -> dict[str, Any]:
    """Summary, funnel, channels, signals, rounds and clips (`each` of them a reason)."""
    manifest = filter_of(corpus)
    table = funnel(corpus)
    found = {
        "summary": _summary(corpus, table),
        "funnel": table,
        "channels": _channels(corpus),
        "signals": signals(corpus, manifest) if manifest else [],
        "rounds": rounds(corpus),
        "systems": json.loads(corpus.store.read(SYSTEMS)) if corpus.store.exists(SYSTEMS) else [],
        "clips": list(clips(corpus, chosen(corpus, each), manifest, AUDIO)) if each and corpus.views else [],
    }
    return found | {"notes": list(corpus.notes)}


def filter_of(corpus: Corpus) -> Manifest | None:
    """The last filter, if there is one."""
    try:
        return last_filter(corpus)
    except SilverError:
        return None


def _summary(corpus: Corpus, table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stages = [row for row in table if row["reason"] is None]
    last = stages[-1] if stages else {}
    decoded = next((row for row in stages if row["stage"] == "decode"), last)
    first = (
        corpus.query("SELECT count(DISTINCT channel) AS channels, count(DISTINCT language) AS languages FROM recordings")
        if corpus.views
        else []
    )
    expected = None
    if corpus.views:
        expected = corpus.query(f"SELECT {_expected(corpus)} AS rate FROM segments WHERE drop_reason IS NULL")[0]["rate"]  # noqa: S608
    return {
        "recipe": corpus.current.get("recipe"),
        "root": corpus.store.root.rstrip("/").rpartition("/")[2],
        "language": corpus.current.get("language"),
        "hours_in": decoded.get("hours_kept"),
        "hours_kept": last.get("hours_kept"),
        "kept": last.get("kept"),
        "stage": last.get("stage"),
        "expected_wer": None if expected is None else round(expected, 4),
        **(first[0] if first else {"channels": 0, "languages": 0}),
    }


def _expected(corpus: Corpus) -> str:
    """SQL of the WER that the confidence expects of segments, null where there is none."""
    there = corpus.columns("segments")
    if "confidence" not in there:
        return "NULL::DOUBLE"
    each = weight(there)
    return f"sum({each} * (1 - confidence)) / nullif(sum({each}) FILTER (confidence IS NOT NULL), 0)"


def _channels(corpus: Corpus) -> list[dict[str, Any]]:
    """A row a channel: what is kept and what left, and the reason that took most of it away."""
    if not corpus.views:
        return []
    query = f"""
        WITH reasons AS (
            SELECT channel, drop_reason, count(*) AS rows, coalesce(sum(duration), 0) / 3600 AS hours,
                   {_expected(corpus)} AS expected_wer
            FROM segments GROUP BY ALL)
        SELECT channel, coalesce(sum(rows) FILTER (drop_reason IS NULL), 0)::BIGINT AS segments,
               coalesce(sum(hours) FILTER (drop_reason IS NULL), 0) AS hours_kept, coalesce(sum(hours) FILTER (drop_reason IS NOT NULL), 0) AS hours_dropped,
               first(expected_wer) FILTER (drop_reason IS NULL) AS expected_wer,
               arg_max(drop_reason, hours) FILTER (drop_reason IS NOT NULL) AS reason
        FROM reasons GROUP BY channel ORDER BY hours_kept + hours_dropped DESC, channel
    """  # noqa: S608 - names of columns
    rows = corpus.query(query)
    rest = rows[CHANNELS:]
    if rest:
        other = {"channel": f"({len(rest)} other channels)", "expected_wer": None, "reason": None}
        rows = [*rows[:CHANNELS], other | {name: sum(row[name] for row in rest) for name in ("segments", "hours_kept", "hours_dropped")}]
    return rows
