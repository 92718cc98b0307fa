"""How the main signals are spread, by language and verdict, with the thresholds of the rules that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manifests.corpus import Corpus, Manifest
from manifests.histogram import TAIL, finite, is_number
from stages.rules import columns
from workflows.filtered import came_sql

ALWAYS = ("confidence", "duration", "align_score", "snr_db", "label_confidence", "letters_per_second")
"""Shown whether a rule reads them or not."""
BINS = 40
LANGUAGES = 6
"""Languages with the most rows that are told apart; the others are one."""
_NUMBER = r"(-?\d+(?:\.\d+)?)"


def signals(corpus: Corpus, manifest: Manifest) -> list[dict[str, Any]]:
    """For each signal: `name`, `low` and `high` of its bins, `thresholds`, and `series`: language to rows a bin that are kept and dropped by this filter."""
    there = {name: kind for name, kind in corpus.columns(manifest.stage).items() if is_number(kind)}
    rules = manifest.rules or {}
    read = [column for name, rule in rules.items() for column in columns(name, rule)]
    names = [name for name in dict.fromkeys([*ALWAYS, *read]) if name in there]
    if not names:
        return []
    came = f'FROM "{manifest.stage}" WHERE {came_sql(manifest.stage)}'
    value = {name: finite(name) for name in names}
    edges = ", ".join(f"approx_quantile({value[name]}, {share})" for name in names for share in (TAIL, 1 - TAIL))
    found = list(corpus.query(f"SELECT {edges} {came}")[0].values())
    languages = [
        row["language"] for row in corpus.query(f"SELECT language, count(*) AS rows {came} GROUP BY ALL ORDER BY rows DESC, language")
    ]
    spans = {name: (low, high) for name, low, high in zip(names, found[::2], found[1::2], strict=True) if low is not None}
    counted = _count(corpus, came, value, spans, [name for name in languages[:LANGUAGES] if name is not None])
    return [
        {
            "name": name,
            "low": low,
            "high": low + _width(low, high) * BINS,
            "series": counted[name],
            "thresholds": thresholds(name, manifest),
        }
        for name, (low, high) in spans.items()
    ]


def _width(low: float, high: float) -> float:
    return (high - low or 1.0) / BINS


def _count(
    corpus: Corpus, came: str, value: Mapping[str, str], spans: Mapping[str, tuple[float, float]], languages: list[str]
) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Rows a bin, by signal, language and verdict; one pass over the manifest."""
    places = ", ".join(
        f'histogram(least({BINS - 1}, greatest(0, floor(({value[name]} - {low!r}) / {_width(low, high)!r})))::INT) AS "{name}"'
        for name, (low, high) in spans.items()
    )
    query = f"""
        SELECT CASE WHEN list_contains(?, language) THEN language ELSE 'other' END AS slice, drop_reason IS NULL AS kept, {places}
        {came} GROUP BY ALL ORDER BY slice
    """
    counted: dict[str, dict[str, dict[str, list[int]]]] = {name: {} for name in spans}
    for row in corpus.query(query, [languages]):
        for name in spans:
            series = counted[name].setdefault(row["slice"], {"kept": [0] * BINS, "dropped": [0] * BINS})
            for place, rows in (row[name] or {}).items():
                series["kept" if row["kept"] else "dropped"][place] = rows
    return counted


def thresholds(column: str, manifest: Manifest) -> list[dict[str, Any]]:
    """Where the rules of a filter draw a line through a column, as far as they say so plainly (`column >= 0.5`, `column BETWEEN 1 AND 30`)."""
    lines: dict[float, str] = {}
    for name, rule in (manifest.rules or {}).items():
        plain = " ".join(rule.split())
        for found in re.finditer(rf"(?i)\b{column} (?:(?:<|>|<=|>=) ?{_NUMBER}|BETWEEN {_NUMBER} AND {_NUMBER})", plain):
            lines |= {float(number): name for number in found.groups() if number is not None}
    info: Mapping[str, Any] = manifest.info()
    if column == "confidence" and info.get("surveyed") is not None:
        lines[float(info["surveyed"])] = "target_wer"
    return [{"value": value, "rule": name} for value, name in sorted(lines.items())]
