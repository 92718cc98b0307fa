"""Takedown: what a request hits in a corpus, in its releases, and in the students that learned it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from manifests.corpus import Corpus
from manifests.part import read_part
from manifests.release import INDEX, RELEASES, read_release, release_folder
from manifests.store import Store
from manifests.takedown import COLUMNS, KINDS, LONGEST, Requests, Takedown, add, span
from pipeline.contract import SilverError
from stages.train.loop import TEXTS

_NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode: control characters, halves of pairs, ends of lines. Joiners and wide spaces are in names of many scripts."""

HIT_COLUMNS = ("where", "name", "rows", "hours", "shards")


def request(corpus: Corpus, kind: str, value: str, reason: str) -> Takedown:
    """A request as it is recorded, with the recordings that the corpus knows of it.

    Raises:
        SilverError: no value or reason, one that is too long, or an id that is none.
    """
    value, reason = value.strip(), " ".join(reason.split())
    for name, text in ((f"--{kind}", value), ("--reason", reason)):
        if not text or len(text) > LONGEST or any(unicodedata.category(character) in _NO_TEXT for character in text):
            raise SilverError(f"{name} must be one line of 1 to {LONGEST} characters, none of them a control character")
    if kind == "segment":
        try:
            span(value)
        except ValueError as error:
            raise SilverError(f"{value!r} is no segment id: <recording>-<start in ms>-<end in ms>, as `silver rows` shows it") from error
        recordings: tuple[str, ...] = (span(value)[0],)
    elif kind == "source":
        recordings = tuple(sorted({row["recording_id"] for row in _rows(corpus) if row["source_uri"] == value and row["recording_id"]}))
    else:
        recordings = ()
    return Takedown(kind, value, reason, datetime.now(UTC).date().isoformat(), recordings)


def hits(corpus: Corpus, takedown: Takedown) -> list[dict[str, Any]]:
    """One row a place where something falls under it: the corpus, each release, each student."""
    asked = Requests((takedown,))
    seconds = [row["duration"] or 0.0 for row in _rows(corpus, live=True) if asked.match(row)]
    found = [_hit("corpus", corpus.store.root, len(seconds), sum(seconds), None)]
    for version in corpus.store.names(RELEASES):
        if read_release(corpus.store, version):
            rows = [row for row in _index(corpus.store, version) if asked.match(row)]
            found.append(_hit("release", version, len(rows), sum(row["duration"] for row in rows), len({row["shard"] for row in rows})))
    for folder in _students(corpus.store):
        with corpus.store.open(f"{folder}/{TEXTS}") as handle:
            learned = [row for row in pq.read_table(handle).to_pylist() if asked.match(_with_span(row))]
        found.append(_hit("student", folder, len(learned), sum(row["duration"] for row in learned), None))
    return [row for row in found if row["rows"]]


def near(corpus: Corpus, takedown: Takedown) -> list[str]:
    """Values of the corpus that are spelled nearly so, for a request that hits nothing; of segments, those of the recording."""
    column = {"source": "source_uri", "segment": "segment_id"}.get(takedown.kind, takedown.kind)
    rows = (row for row in _rows(corpus) if takedown.kind != "segment" or row["recording_id"] in takedown.recordings)
    there = {str(row[column]) for row in rows if row.get(column)}
    return difflib.get_close_matches(takedown.value, sorted(there), n=3)


def record(corpus: Corpus, takedown: Takedown) -> bool:
    """Write it down, for good; False if it was there."""
    assert takedown.kind in KINDS  # noqa: S101 - the command offers no other
    return add(corpus.store, takedown)


def _hit(where: str, name: str, rows: int, seconds: float, shards: int | None) -> dict[str, Any]:
    return dict(zip(HIT_COLUMNS, (where, name, rows, round(seconds / 3600, 4), shards), strict=True))


def _rows(corpus: Corpus, *, live: bool = False) -> Iterator[dict[str, Any]]:
    """Rows of the last manifest, with what requests look at."""
    manifests = [manifest for manifest in corpus.manifests if manifest.parts()]
    for ref in manifests[-1].parts() if manifests else ():
        for row in read_part(corpus.store, ref, [*COLUMNS, "segment_id", "duration", "drop_reason"]).to_pylist():
            if not live or row["drop_reason"] is None:
                yield row


def _index(store: Store, version: str) -> Iterator[dict[str, Any]]:
    with store.open(f"{release_folder(version)}/{INDEX}") as handle:
        file = pq.ParquetFile(handle)
        columns = [name for name in (*COLUMNS, "duration", "shard") if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def _students(store: Store) -> Iterator[str]:
    for section in store.names("models"):
        for key in store.names(f"models/{section}"):
            if store.exists(f"models/{section}/{key}/{TEXTS}"):
                yield f"models/{section}/{key}"


def _with_span(row: dict[str, Any]) -> dict[str, Any]:
    _, start, end = span(row["segment_id"])
    return row | {"start": start, "end": end}
