"""What other rules of the filter would keep, without running anything: from the verdicts that its manifest holds and the columns that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from pydantic import ValidationError

from manifests.corpus import Corpus, Manifest
from manifests.funnel import own_drops
from pipeline.contract import SilverError
from pipeline.recipe import override_value
from stages.filter import Filter, lowest_confidence
from stages.gold import Utterance
from stages.measures import wer
from stages.rules import check_columns, columns
from workflows.evaluate.table import Judged, judge
from workflows.filtered import came_sql, weight

COLUMNS = ("slice", "rows", "segments", "hours", "expected_wer")
GOLD_COLUMNS = (*COLUMNS, "wer", "low", "high", "gold_segments")
_KEPT: dict[str, Callable[[bool, bool], bool]] = {
    "kept now": lambda now, _: now,
    "kept then": lambda _, later: later,
    "comes back": lambda now, later: later and not now,
    "leaves": lambda now, later: now and not later,
}
"""Rows of the table a slice, and whether a segment is in them that is kept now, or would be."""


@dataclass(frozen=True)
class Change:
    """Other rules for a filter: `rules` replaces or adds by name, None switches off; `target_wer` as the filter's parameter."""

    rules: Mapping[str, str | None]
    target_wer: float | None


def change(manifest: Manifest, overrides: Sequence[str]) -> Change:
    """Read `STAGE.rules.NAME=expression` (empty or null: without the rule) and `STAGE.target_wer=number` (or null).

    Raises:
        SilverError: it is something else, or no rule; the message says what can be written.
    """
    name, target = manifest.stage, manifest.info().get("parameters", {}).get("target_wer")
    rules: dict[str, Any] = {}
    can = f'Write {name}.rules.NAME="EXPRESSION" (or =null) or {name}.target_wer=0.1'
    if not overrides:
        raise SilverError(f"what is to be changed? {can}; `silver funnel` shows the rules")
    for override in overrides:
        key, equals, text = override.partition("=")
        if equals and key.startswith(f"{name}.rules."):
            rules[key.removeprefix(f"{name}.rules.")] = override_value(text)
        elif equals and key == f"{name}.target_wer":
            target = override_value(text)
        else:
            raise SilverError(f"{override!r} is no change of {name}. {can}")
    try:
        checked = Filter.Params(rules={rule: text for rule, text in rules.items() if text is not None}, target_wer=target)
    except ValidationError as error:
        raise SilverError("; ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())) from error
    return Change(rules, checked.target_wer)


def what_if(
    corpus: Corpus, manifest: Manifest, wanted: Change, by: str, gold: Sequence[Utterance] = (), *, fold_accents: bool = False
) -> list[dict[str, Any]]:
    """Four rows (`_KEPT`) for every value of the column `by`, the most hours first, and for all: segments, hours, and the WER that the confidence
    expects there; with gold, the WER that it tells, with its 95 % interval. Expected errors are weighted by letters (by seconds where they were not counted).

    Raises:
        SilverError: a rule names a column that the manifest has not, or cannot be computed.
    """
    there = corpus.columns(manifest.stage)
    if by not in there:
        raise SilverError(f"{manifest.stage} has no column {by!r} to take the segments apart by")
    later = _later(corpus, manifest, wanted, there)
    view = _view(manifest, wanted, there, later, by)
    query = f"""
        SELECT slice, now, later, count(*) AS segments, sum(duration) AS seconds, sum(weight) FILTER (confidence IS NOT NULL) AS weight,
               sum(weight * (1 - confidence)) AS wrong
        FROM ({view}) GROUP BY slice, now, later
    """  # noqa: S608 - checked rules
    try:
        groups = corpus.query(query)
    except duckdb.Error as error:
        raise SilverError(f"the rules cannot be computed: {str(error).splitlines()[0]}") from error
    judged = judge(corpus, gold, fold_accents=fold_accents) if gold else []
    kept_then = _ids(corpus, view, judged) if judged else set()
    seconds: dict[Any, float] = {}
    for group in groups:
        seconds[group["slice"]] = seconds.get(group["slice"], 0.0) + group["seconds"] * group["now"]
    slices = sorted(seconds, key=lambda value: (-seconds[value], str(value)))
    table = []
    for value, name in [*((value, value) for value in slices), *([(None, "all")] if len(slices) != 1 else [])]:
        whole = name == "all" and value is None
        mine = [group for group in groups if whole or group["slice"] == value]
        known = [item for item in judged if whole or item.row.get(by) == value]
        for state, kept in _KEPT.items():
            table.append({"slice": name, "rows": state} | _sum(mine, kept) | (_true(known, kept_then, kept) if gold else {}))
    return table


def _sum(groups: Sequence[Mapping[str, Any]], kept: Callable[[bool, bool], bool]) -> dict[str, Any]:
    chosen = [group for group in groups if kept(group["now"], group["later"])]
    total = {name: sum(group[name] or 0 for group in chosen) for name in ("segments", "seconds", "weight", "wrong")}
    expected = round(total["wrong"] / total["weight"], 4) if total["weight"] else None
    return {"segments": total["segments"], "hours": round(total["seconds"] / 3600, 4), "expected_wer": expected}


def _later(corpus: Corpus, manifest: Manifest, wanted: Change, there: Mapping[str, str]) -> str:
    """SQL of: it would stay. Rules that do not change are not computed again: their verdict is in `drop_reason`."""
    # The few combinations of reasons that there are stand in the counts of the parts: no string is taken apart row by row.
    unchanged = (manifest.rules or {}).keys() - wanted.rules.keys()
    fine = [reasons for reasons in own_drops(manifest.stage, manifest.counts()) if not unchanged.intersection(reasons.split(";"))]
    listed = ", ".join("'" + reasons.replace("'", "''") + "'" for reasons in fine)
    conditions = [f"(drop_reason IS NULL OR drop_reason IN ({listed}))" if fine else "drop_reason IS NULL"]
    for name, rule in wanted.rules.items():
        if rule is None:
            continue
        check_columns(name, rule, [column.lower() for column in there])
        conditions.append(f"(({rule}\n) IS TRUE)")
    passing = " AND ".join(conditions)
    if wanted.target_wer is None:
        return passing
    if "confidence" not in there:
        raise SilverError(f"{manifest.stage} has no column confidence, which target_wer takes: run the stage `confidence` before it")
    query = f"""
        SELECT round(confidence, 4) AS level, sum({weight(there)}) AS weight FROM ({_rows(manifest, there, tuple(there))})
        WHERE confidence IS NOT NULL AND {passing} GROUP BY level
    """  # noqa: S608 - checked rules
    levels = [(row["level"], row["weight"] or 0) for row in corpus.query(query)]
    found = np.array(levels, np.float64).reshape(-1, 2)
    return f"{passing} AND round(confidence, 4) >= {lowest_confidence(found[:, 0], found[:, 1], wanted.target_wer)!r}"


def _view(manifest: Manifest, wanted: Change, there: Mapping[str, str], later: str, by: str) -> str:
    """SQL of the segments that came to the filter: their slice, and whether they stay now and would stay later."""
    used = {column for name, rule in wanted.rules.items() if rule for column in columns(name, rule)}
    used |= {"drop_reason", "drop_stage", "duration", "confidence", "letters_per_second", "segment_id", by.lower()}
    kept = [column for column in there if column.lower() in used]
    confidence = "confidence" if "confidence" in there else "NULL::DOUBLE AS confidence"
    return f"""
        SELECT segment_id, "{by}" AS slice, duration, {confidence}, {weight(there)} AS weight, drop_reason IS NULL AS now, {later} AS later
        FROM ({_rows(manifest, there, kept)})
    """  # noqa: S608 - checked rules


def _rows(manifest: Manifest, there: Mapping[str, str], kept: Sequence[str]) -> str:
    """The rows that came to the filter; NaN is NULL, as to rules."""
    clean = [
        f'CASE WHEN isnan("{name}") THEN NULL ELSE "{name}" END AS "{name}"' if there[name] in ("FLOAT", "DOUBLE") else f'"{name}"'
        for name in kept
    ]
    return (
        f'SELECT {", ".join(clean)} FROM "{manifest.stage}" '  # noqa: S608 - names of columns
        f"WHERE {came_sql(manifest.stage)}"
    )


def _ids(corpus: Corpus, view: str, judged: Sequence[Judged]) -> set[str]:
    wanted = [item.row["segment_id"] for item in judged]
    query = f"SELECT segment_id FROM ({view}) WHERE later AND list_contains(?, segment_id)"  # noqa: S608 - checked rules
    return {row["segment_id"] for row in corpus.query(query, [wanted])}


def _true(judged: Sequence[Judged], kept_then: set[str], kept: Callable[[bool, bool], bool]) -> dict[str, Any]:
    chosen = [item.errors for item in judged if kept(item.kept, item.errors.segment_id in kept_then)]
    if not chosen:
        return {"wer": None, "low": None, "high": None, "gold_segments": 0}
    rate = wer(chosen)
    return {"wer": round(rate.wer, 4), "low": round(rate.low, 4), "high": round(rate.high, 4), "gold_segments": len(chosen)}
