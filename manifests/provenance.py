"""From a sample of a release back to its source, by the files of the release alone: `index.parquet`, the shard, `release.json`.

The index says in which shard the sample lies and where its JSON begins, so one row group and a few kilobytes are read, however large the release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.release import INDEX, RELEASE
from manifests.store import Store

COLUMNS = ("step", "what", "value")
_SOURCE = ("source_uri", "start", "end", "licence", "channel", "title", "speaker", "published", "language", "recording_id", "source_id")
_LABEL = ("text", "text_raw", "text_source", "label_origin", "round", "confidence", "align_score", "agreement", "split", "subsets")
_PLACE = ("shard", "offset", "size", "json_offset", "json_size")
_MADE = ("version", "fingerprint", "parameters", "surveyed", "identity")


def provenance(store: Store, key: str) -> dict[str, Any]:
    """All that a release says of one sample; `store` is its folder. Plain values, none of them made up: what is not known is not there.

    `key`; `release` (name, version); `place` (shard, and bytes in it); `source` (URL or path, span in seconds, licence, ...); `label` (text, and what
    wrote it); `stages` in order, each with its version, fingerprint, parameters and the identity of its models; `software`.

    Raises:
        FileNotFoundError: the folder is no finished release, or a file of it is gone.
        KeyError: no sample has this key.
        ValueError: the shard holds another sample where the index says that this one is.
    """
    if not store.exists(RELEASE):
        msg = f"{store.root} has no {RELEASE}: it is no release, or one that was never finished"
        raise FileNotFoundError(msg)
    release = json.loads(store.read(RELEASE))
    place = _place(store, key)
    with store.open(place["shard"]) as handle:
        handle.seek(place["json_offset"])
        data = handle.read(place["json_size"])
    try:
        row = json.loads(data)
        right = row["segment_id"] == key
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        msg = f"{place['shard']}: at byte {place['json_offset']}, where {INDEX} says that {key} is, there is something else: run `silver verify`"
        raise ValueError(msg)
    recipe = release["recipe"]
    heard = [{name: label[name] for name in ("labeller", "text") if label.get(name) is not None} for label in row.get("labels") or []]
    return {
        "key": key,
        "release": {"name": recipe.get("name") or "corpus", "version": release["version"], "content": release["content"]},
        "place": {name: place[name] for name in _PLACE},
        "source": {name: row[name] for name in _SOURCE if row.get(name) is not None},
        "label": {name: row[name] for name in _LABEL if row.get(name) not in (None, [])} | ({"labels": heard} if heard else {}),
        "stages": [_stage(stage, recipe) for stage in release["stages"]],
        "software": release["software"],
    }


def _place(store: Store, key: str) -> dict[str, Any]:
    """The row of the index, its place only. One column is read until the key is found."""
    with store.open(INDEX) as handle:
        index = pq.ParquetFile(handle)
        for group in range(index.num_row_groups):
            row = pc.index(index.read_row_group(group, columns=["key"]).column(0), key).as_py()
            if row >= 0:
                found: dict[str, Any] = index.read_row_group(group, columns=list(_PLACE)).slice(row, 1).to_pylist()[0]
                return found
    raise KeyError(key)


def _stage(stage: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A stage with all its parameters; with those of the recipe where a release was made before all of them were kept."""
    found = {name: stage[name] for name in ("stage", *_MADE) if name in stage}
    return found if "parameters" in found else found | {"parameters": recipe.get(stage["stage"]) or {}}


def table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as rows of `COLUMNS`: the sample, its source, its label, then every stage in order."""
    return list(_rows(found))


def _rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    release = found["release"]
    yield _row("sample", "key", found["key"])
    yield _row("sample", "release", f"{release['name']} {release['version']}")
    for part in ("place", "source", "label"):
        for name, value in found[part].items():
            yield _row("sample" if part == "place" else part, name, value)
    for stage in found["stages"]:
        for name in _MADE:
            if stage.get(name) not in (None, {}):
                yield _row(stage["stage"], "models" if name == "identity" else name, stage[name])
    for package, version in found["software"].items():
        yield _row("software", package, version)


def _row(step: str, what: str, value: Any) -> dict[str, Any]:
    return {"step": step, "what": what, "value": value}
