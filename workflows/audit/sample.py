"""A stratified sample of what came to the filter: by language, channel, confidence and verdict."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.corpus import Corpus, Manifest
from pipeline.contract import SilverError
from workflows.filtered import came_to, last_filter

CHANNELS = 5
"""Channels that are strata of their own; the others are one together."""
DROPPED = 0.2
"""Share of the sample that is drawn from what the filter dropped."""
LEAST = 2
"""Segments of a stratum at least: of one alone no variance can be told."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Stratum:
    """Segments that were drawn from together: `size` of them in the corpus, `hours` long."""

    name: str
    kept: bool
    size: int
    hours: float
    drawn: list[Row]


def filtered(corpus: Corpus) -> tuple[Manifest, list[Row]]:
    """The last finished filter, and the segments with text that came to it; one row of the same audio that was acquired twice.

    Raises:
        SilverError: the corpus has none.
    """
    last = last_filter(corpus)
    rows: dict[str, Row] = {}
    for row in came_to(last):
        if row.get("text"):
            rows.setdefault(row["segment_id"], row)
    if not rows:
        raise SilverError(f"{corpus.store.root} has no segments to judge: `silver funnel` shows where they went")
    return last, list(rows.values())


def draw(rows: Sequence[Row], count: int, seed: int) -> list[Stratum]:
    """`count` segments (all, if there are fewer), as many of each stratum as its share of the segments, and at least two.

    Where there would be more strata than the sample can fill, channels are left out, then confidence.
    """
    channels = {name for name, _ in Counter(row.get("channel") for row in rows).most_common(CHANNELS)}
    third = _thirds([row.get("confidence") for row in rows])

    def names(*parts: Callable[[Row], str]) -> dict[tuple[str, bool], list[Row]]:
        found: dict[tuple[str, bool], list[Row]] = defaultdict(list)
        for row in rows:
            found[", ".join(part(row) for part in parts), row["drop_reason"] is None].append(row)
        return found

    def language(row: Row) -> str:
        return row["language"] or "no language"

    def channel(row: Row) -> str:
        return str(row.get("channel") or "no channel") if row.get("channel") in channels else "other channels"

    def confidence(row: Row) -> str:
        return third(row.get("confidence"))

    levels = [names(language, channel, confidence), names(language, confidence), names(language)]
    strata = next((level for level in levels if LEAST * len(level) <= count), levels[-1])
    chance = random.Random(f"{seed}")  # noqa: S311 - a reproducible choice
    drawn = []
    quotas = _quotas({key: len(found) for key, found in strata.items()}, count)
    for key, found in sorted(strata.items()):
        ordered = sorted(found, key=lambda row: str(row["segment_id"]))
        hours = sum(row["duration"] or 0.0 for row in found) / 3600
        drawn.append(Stratum(key[0], key[1], len(found), hours, chance.sample(ordered, quotas[key])))
    return drawn


def _thirds(values: Sequence[float | None]) -> Callable[[float | None], str]:
    known = [value for value in values if value is not None]
    low, high = np.quantile(known, [1 / 3, 2 / 3]) if known else (0.0, 0.0)

    def third(value: float | None) -> str:
        return "no confidence" if value is None else "low" if value < low else "middle" if value < high else "high"

    return third


def _quotas(sizes: dict[tuple[str, bool], int], count: int) -> dict[tuple[str, bool], int]:
    """How many to draw of each stratum: never more than there are."""
    quotas = {}
    for kept, share in ((True, 1 - DROPPED), (False, DROPPED)):
        these = {key: size for key, size in sizes.items() if key[1] is kept}
        alone = all(key[1] is kept for key in sizes)
        whole = sum(these.values())
        for key, size in these.items():
            quotas[key] = min(size, max(LEAST, round(count * (1.0 if alone else share) * size / whole)))
    return quotas
