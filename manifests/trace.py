"""One row through every stage: what it was, what it became, why it left, and where it lies in a release."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from manifests.corpus import Corpus, Manifest

FEW = 50
"""Parts from which on it is worth looking for the right one first."""
KEYS = ("segment_id", "window_id", "recording_id", "source_id", "source_uri")


def trace(corpus: Corpus, wanted: str) -> list[dict[str, Any]]:
    """Every stage's rows for an id: a segment (also its key in a shard), a recording, a source or its URL.

    A segment is followed back to the window it was cut from, the recording and the source. One entry a stage and row, with the
    columns that the stage wrote or changed, and of a filter that let the row stay its rules. Empty if no stage knows the id.
    """
    stages = corpus.views
    infos = {manifest.stage: manifest.info() for manifest in corpus.manifests}
    places = _places(corpus, wanted)
    manifests = {manifest.stage: manifest for manifest in corpus.manifests}
    sources = {stage: partial(_source, corpus, manifests[stage], places) for stage in stages}
    columns = {stage: _columns(corpus, source) for stage, source in sources.items()}

    def rows(stage: str, column: str, value: str) -> list[dict[str, Any]]:
        if column not in columns[stage]:
            return []
        return corpus.query(
            lambda: f'SELECT * FROM ({sources[stage]()}) WHERE "{column}" = ? ORDER BY start NULLS FIRST, source_id',
            [value],
        )

    # The last stage that knows the id tells who its ancestors are.
    known = next(((column, found) for stage in reversed(stages) for column in KEYS if (found := rows(stage, column, wanted))), None)
    if known is None:
        return []
    column, found = known
    ancestors = {key: found[0].get(key) for key in KEYS} if column in ("segment_id", "window_id") else {column: wanted}
    if column == "recording_id":
        ancestors["source_id"] = found[0]["source_id"]

    entries: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for stage in stages:
        here = _here(stage, ancestors, rows)
        for row in here:
            changed = {name: value for name, value in row.items() if value is not None and before.get(name) != value and name not in KEYS}
            if row["drop_reason"] is None:
                changed |= _passed(infos[stage])
            entries.append(
                {
                    "stage": stage,
                    "id": row["segment_id"] or row["recording_id"] or row["source_id"],
                    "verdict": _verdict(row),
                    "wrote": changed,
                }
            )
        if len(here) == 1:
            before = here[0]
    return entries


def _places(corpus: Corpus, wanted: str) -> tuple[int, set[int]] | None:
    """How many parts the manifests have and in which of them, counted from 0, the recording lies: a stage makes one part of each part. So a
    look into the recordings, who are few, finds a segment among millions. None if that is not known.
    """
    whole = next((manifest for manifest in corpus.manifests if manifest.stage == "decode" and manifest.success), None)
    paths = whole.paths if whole else []
    if len(paths) < FEW:
        return None
    uris = {corpus.store.uri(path): place for place, path in enumerate(paths)}
    recording = wanted.partition("-")[0]
    where = "recording_id IN (?, ?) OR source_id = ? OR source_uri = ?"
    found = corpus.query(
        lambda: (
            f"SELECT DISTINCT filename FROM ({corpus.select_paths([path for path in paths if path not in corpus.left_out], filename=True)}) WHERE {where}"
        ),
        [wanted, recording, wanted, wanted],
    )
    return (len(paths), {uris[row["filename"]] for row in found}) if found else None


def _columns(corpus: Corpus, source: Callable[[], str]) -> set[str]:
    return {row["column_name"] for row in corpus.query(lambda: f"DESCRIBE {source()}")}


def _source(corpus: Corpus, manifest: Manifest, places: tuple[int, set[int]] | None) -> str:
    """SQL of the rows of a stage among which the wanted ones are."""
    if places is not None and len(paths := manifest.paths) == places[0]:
        near = [paths[place] for place in sorted(places[1]) if paths[place] not in corpus.left_out]
        if near:
            return corpus.select_paths(near)
    return f'SELECT * FROM "{manifest.stage}"'


def _here(stage: str, ancestors: dict[str, Any], rows: Any) -> list[dict[str, Any]]:
    """The rows of a stage for the most precise of the ids that it knows."""
    if (own := ancestors.get("segment_id")) and (found := rows(stage, "segment_id", own)):
        return list(found)
    if (window := ancestors.get("window_id")) and (found := rows(stage, "segment_id", window)):
        return list(found)
    for key in ("recording_id", "source_id", "source_uri"):
        if (value := ancestors.get(key)) and (found := rows(stage, key, value)):
            alone = [row for row in found if row["segment_id"] is None]
            return alone if ancestors.get("segment_id") else list(found)
    return []


def _passed(info: dict[str, Any]) -> dict[str, Any]:
    """What a filter let a row stay for: its rules, and the confidence that its target took."""
    parameters = info.get("parameters", {})
    passed = {"passed": parameters["rules"]} if parameters.get("rules") else {}
    if info.get("surveyed") is not None and parameters.get("target_wer"):
        passed["target_wer"] = f"{parameters['target_wer']:g}: confidence >= {info['surveyed']:.4g}"
    return passed


def _verdict(row: dict[str, Any]) -> str:
    if row["drop_reason"] is None:
        return "live"
    return f"dropped by {row['drop_stage']}: {row['drop_reason']} ({row['drop_detail']})"
