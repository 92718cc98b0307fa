"""What came to the filter of a corpus: the rows that people, or gold, judge."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from manifests.corpus import Corpus, Manifest
from manifests.part import read_flat_rows
from pipeline.contract import SilverError, is_live


def last_filter(corpus: Corpus) -> Manifest:
    """The manifest of the last filter that has finished.

    Raises:
        SilverError: the corpus has none.
    """
    filters = [manifest for manifest in corpus.manifests if manifest.success and manifest.rules is not None]
    if not filters:
        raise SilverError(f"{corpus.store.root} has not been filtered yet: run its recipe up to `filter` first")
    return filters[-1]


def came_to(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The segments that a filter kept or dropped itself, without their nested columns."""
    for ref in manifest.parts():
        for row in read_flat_rows(manifest.store, ref):
            if row["segment_id"] and (is_live(row) or row["drop_stage"] == manifest.stage):
                yield row


def came_sql(stage: str) -> str:
    """The condition that `came_to` is, in SQL over the columns of any manifest from the filter on."""
    return f"(drop_reason IS NULL OR drop_stage = '{stage}')"


def weight(there: Container[str]) -> str:
    """SQL of what a segment counts in an expected WER: its letters, or its seconds where they were not counted."""
    return "coalesce(letters_per_second * duration, duration)" if "letters_per_second" in there else "duration"


def filter_named(corpus: Corpus, stage: str | None) -> Manifest:
    """The manifest of the filter of this name; the last one, if there is none of this name.

    Raises:
        SilverError: the corpus has none.
    """
    named = [manifest for manifest in corpus.manifests if manifest.stage == stage and manifest.success and manifest.rules is not None]
    return named[0] if named else last_filter(corpus)
