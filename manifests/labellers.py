"""How much each labeller heard: what a cascade saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.corpus import Corpus


def labeller_hours(corpus: Corpus, stage: str) -> list[dict[str, Any]]:
    """Windows and hours that each labeller heard, of all that `stage` (the last that transcribes) had labels for; the first labeller first.

    A labeller heard what it has a label for, be it an empty one. Rows that were dropped before anybody heard them do not count.
    """
    query = f"""
        WITH heard AS (SELECT duration, labels FROM "{stage}" WHERE len(labels) > 0),
             each AS (SELECT duration, unnest(labels).labeller AS labeller, unnest(range(len(labels))) AS place FROM heard)
        SELECT labeller, count(*) AS windows, sum(duration) / 3600 AS hours,
               sum(duration) / (SELECT sum(duration) FROM heard) AS share
        FROM each GROUP BY labeller ORDER BY avg(place), labeller
    """
    return corpus.query(query)
