"""The funnel: how much went into each stage, what it made, what it kept, and what left for which reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.corpus import Corpus

FUNNEL_COLUMNS = (
    ("stage", "VARCHAR"), ("reason", "VARCHAR"), ("rows_in", "BIGINT"), ("made", "BIGINT"), ("dropped", "BIGINT"), ("kept", "BIGINT"),
    ("hours_in", "DOUBLE"), ("hours_dropped", "DOUBLE"), ("hours_kept", "DOUBLE"),
)  # fmt: skip


def funnel(corpus: Corpus) -> list[dict[str, Any]]:
    """One row a stage (`reason` null), each followed by a row for every reason that it dropped rows for.

    `rows_in + made = kept + dropped` in every stage row. Hours of segments are hours of their spans, so what `segment` takes away
    from the hours without dropping a row is silence.
    """
    table: list[dict[str, Any]] = []
    for manifest in corpus.manifests:
        counts = manifest.counts()
        own = {
            key.partition(":")[2]: value
            for key, value in sorted(counts.dropped.items(), key=lambda item: -item[1][0])
            if key.startswith(f"{manifest.stage}:")
        }
        table.append(
            _row(manifest.stage, None, counts.live_in, counts.made, sum(n for n, _ in own.values()), counts.live, counts.seconds_in,
                 sum(s for _, s in own.values()), counts.seconds)
        )  # fmt: skip
        table.extend(_row(manifest.stage, reason, None, None, rows, None, None, seconds, None) for reason, (rows, seconds) in own.items())
    return table


def rule_remarks(corpus: Corpus, nearly_all: float = 0.9) -> list[str]:
    """Filter rules that hit nothing, and those that hit more than `nearly_all` of the segments."""
    for manifest in corpus.manifests:
        if manifest.stage != "filter":
            continue
        counts = manifest.counts()
        hits = dict.fromkeys(manifest.info()["parameters"].get("rules", {}), 0)
        for key, (rows, _seconds) in counts.dropped.items():
            if key.startswith("filter:"):
                for rule in key.partition(":")[2].split(";"):
                    hits[rule] = hits.get(rule, 0) + rows
        none = [rule for rule, rows in hits.items() if not rows]
        most = [f"{rule} ({rows} of {counts.live_in})" for rule, rows in hits.items() if rows > nearly_all * counts.live_in]
        return ([f"filter rules that hit nothing: {', '.join(none)}"] if none else []) + (
            [f"filter rules that hit nearly everything: {', '.join(most)}"] if most else []
        )
    return []


def _row(
    stage: str, reason: str | None, rows_in: int | None, made: int | None, dropped: int, kept: int | None,
    seconds_in: float | None, seconds_dropped: float, seconds_kept: float | None,
) -> dict[str, Any]:  # fmt: skip
    hours = [None if value is None else round(value / 3600, 4) for value in (seconds_in, seconds_dropped, seconds_kept)]
    return {
        "stage": stage, "reason": reason, "rows_in": rows_in, "made": made, "dropped": dropped, "kept": kept,
        "hours_in": hours[0], "hours_dropped": hours[1], "hours_kept": hours[2],
    }  # fmt: skip
