"""The funnel: how much went into each stage, what it made, what it kept, and what left for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.corpus import Corpus
    from manifests.part import Counts

FUNNEL_COLUMNS = (
    ("stage", "VARCHAR"), ("reason", "VARCHAR"), ("rows_in", "BIGINT"), ("made", "BIGINT"), ("dropped", "BIGINT"), ("kept", "BIGINT"),
    ("hours_in", "DOUBLE"), ("hours_dropped", "DOUBLE"), ("hours_kept", "DOUBLE"), ("dropped_only", "BIGINT"), ("hours_only", "DOUBLE"),
)  # fmt: skip

Drops = Mapping[str, tuple[int, float]]
"""`reason` or `reason1;reason2` to (rows, seconds)."""


def funnel(corpus: Corpus) -> list[dict[str, Any]]:
    """One row a stage (`reason` null), each followed by a row for every reason that it dropped rows for.

    `rows_in + made = kept + dropped` in every stage row. A row that several rules of a filter drop counts under each of them, so
    `dropped` of the reasons may sum up to more than that of the stage; `dropped_only` is what a reason drops alone, what a corpus would win back
    without it, and sums up to the `dropped_only` of the stage: its `dropped` less what several drop together. Hours of segments are hours of their
    spans, so what `segment` takes away from the hours without dropping a row is silence.
    """
    table: list[dict[str, Any]] = []
    for manifest in corpus.manifests:
        counts = manifest.counts()
        drops = own_drops(manifest.stage, counts)
        reasons = by_reason(drops)
        alone = [drops[reason] for reason in reasons if reason in drops]
        table.append(
            _row(manifest.stage, None, counts.live_in, counts.made, sum(n for n, _ in drops.values()), counts.live, counts.seconds_in,
                 sum(s for _, s in drops.values()), counts.seconds, sum(n for n, _ in alone), sum(s for _, s in alone))
        )  # fmt: skip
        table.extend(
            _row(manifest.stage, reason, None, None, rows, None, None, seconds, None, *drops.get(reason, (0, 0.0)))
            for reason, (rows, seconds) in reasons.items()
        )
    return table


SLICED_COLUMNS = ("slice", "stage", "reason", "rows", "hours", "share", "rows_only", "hours_only")


def sliced(corpus: Corpus, by: str) -> list[dict[str, Any]]:
    """For every value of a column: what is kept now (`stage` null) and what left, by stage and reason; the most hours first.

    `share` is of the hours of the slice, `rows_only` is what no other reason would have dropped. What left before it was cut into segments counts
    as the recordings that it was, so hours of slices that lost recordings hold their silence too.
    """
    query = f"""
        SELECT "{by}" AS slice, drop_stage AS stage, drop_reason AS reasons, count(*) AS rows, coalesce(sum(duration), 0) AS seconds
        FROM segments GROUP BY ALL
    """
    slices: dict[Any, dict[str | None, dict[str, tuple[int, float]]]] = {}
    for row in corpus.query(query):
        slices.setdefault(row["slice"], {}).setdefault(row["stage"], {})[row["reasons"] or ""] = (row["rows"], row["seconds"])
    order = [manifest.stage for manifest in corpus.manifests]
    whole = {value: sum(seconds for drops in stages.values() for _, seconds in drops.values()) for value, stages in slices.items()}
    table = []
    for value in sorted(slices, key=lambda value: (-whole[value], str(value))):
        for stage in [None, *(name for name in order if name in slices[value])]:
            drops = slices[value].get(stage, {"": (0, 0.0)} if stage is None else {})
            for reason, (rows, seconds) in by_reason(drops).items():
                alone = (None, None) if stage is None else drops.get(reason, (0, 0.0))
                table.append(
                    {
                        "slice": value,
                        "stage": stage,
                        "reason": reason or "kept",
                        "rows": rows,
                        "hours": round(seconds / 3600, 4),
                        "share": round(seconds / whole[value], 4) if whole[value] else 0.0,
                        "rows_only": alone[0],
                        "hours_only": None if alone[1] is None else round(alone[1] / 3600, 4),
                    }
                )
    return table


def own_drops(stage: str, counts: Counts) -> Drops:
    """What a stage dropped itself."""
    return {key.removeprefix(f"{stage}:"): value for key, value in counts.dropped.items() if key.startswith(f"{stage}:")}


def by_reason(drops: Drops) -> Drops:
    """Rows and seconds that each single reason has a part in, the most rows first.

    >>> by_reason({"a": (2, 3.0), "a;b": (1, 1.0)})
    {'a': (3, 4.0), 'b': (1, 1.0)}
    """
    found: dict[str, tuple[int, float]] = {}
    for joined, (rows, seconds) in drops.items():
        for reason in joined.split(";"):
            had_rows, had_seconds = found.get(reason, (0, 0.0))
            found[reason] = (had_rows + rows, had_seconds + seconds)
    return dict(sorted(found.items(), key=lambda item: (-item[1][0], item[0])))


def rule_remarks(corpus: Corpus, nearly_all: float = 0.9) -> list[str]:
    """Of every stage with rules: those that hit nothing, and those that hit more than `nearly_all` of the rows that came in.

    A stage that saw no row says nothing: no rule could hit.
    """
    remarks = []
    for manifest in corpus.manifests:
        if not (rules := manifest.rules) or not (seen := (counts := manifest.counts()).live_in):
            continue
        hits = {rule: rows for rule, (rows, _) in by_reason(own_drops(manifest.stage, counts)).items() if rule in rules}
        if none := [rule for rule in rules if rule not in hits]:
            remarks.append(f"{manifest.stage} rules that hit nothing: {', '.join(none)}")
        if most := [f"{rule} ({rows} of {seen})" for rule, rows in hits.items() if rows > nearly_all * seen]:
            remarks.append(f"{manifest.stage} rules that hit nearly everything: {', '.join(most)}")
    return remarks


def _row(
    stage: str, reason: str | None, rows_in: int | None, made: int | None, dropped: int, kept: int | None,
    seconds_in: float | None, seconds_dropped: float, seconds_kept: float | None, only: int, seconds_only: float,
) -> dict[str, Any]:  # fmt: skip
    hours = [None if value is None else round(value / 3600, 4) for value in (seconds_in, seconds_dropped, seconds_kept, seconds_only)]
    return {
        "stage": stage, "reason": reason, "rows_in": rows_in, "made": made, "dropped": dropped, "kept": kept,
        "hours_in": hours[0], "hours_dropped": hours[1], "hours_kept": hours[2], "dropped_only": only, "hours_only": hours[3],
    }  # fmt: skip
