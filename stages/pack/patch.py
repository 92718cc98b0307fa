"""Takes samples out of a finished release, in place: only the shards that they were in are written anew, no audio is decoded.

The new files are made beside the release, and then moved into it, `release.json` last. While they are moved, checksums and files
do not fit, so that `silver verify` passes the release before and after, and never between; the same call goes on where it was killed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.release import GROUPS, INDEX, PLACES, RELEASE, SUBSETS, Tally, read_release, release_folder
from manifests.store import Store
from manifests.takedown import TAKEN_DOWN, Requests, Takedown, public
from pipeline.contract import SilverError
from stages.pack.papers import write_papers
from stages.pack.shards import state_folder
from stages.pack.statistics import statistics
from stages.pack.tar import Tar

_NEW = "patch"  # folder inside the state folder
_READY = "patch.json"  # what is to be moved and removed; while it is not there, nothing of the release was touched
_ROWS = 16384


def patch(store: Store, version: str, requests: Requests) -> dict[str, Any]:
    """Take out what falls under the requests. Returns rows, hours and shards, or zeros if nothing does.

    Raises:
        SilverError: it is no finished release, or nothing of it would stay.
    """
    state, folder = state_folder(version), release_folder(version)
    done = finish(store, version)  # of a run that was killed, which may have been about another request
    release = read_release(store, version)
    if not release:
        raise SilverError(f"{store.uri(folder)} is no finished release: run its recipe to the end first")
    with store.open(f"{folder}/{INDEX}") as handle:
        index = pq.read_table(handle)
    gone = requests.among(index)
    if not gone:
        return done or {"rows": 0, "hours": 0.0, "shards": []}
    if len(gone) == len(index):
        raise SilverError(f"nothing of release {version} would stay: remove the folder {store.uri(folder)}")
    store.remove(state)  # of a patch that was killed before it was ready
    shards = index.column("shard").to_pylist()
    touched = sorted({shards[place] for place in gone})
    keys = index.column("key").to_pylist()
    moved, rewritten = _rewritten(store, version, touched, {keys[place] for place in gone})
    stays = [place for place in range(len(index)) if place not in gone]
    new = _moved(index.take(stays), moved)
    with store.staged(f"{state}/{_NEW}/{INDEX}") as path:
        pq.write_table(new, path, compression="zstd", row_group_size=_ROWS)
    told = _release(release, new, rewritten, touched, index, gone)
    told["statistics"] = statistics(store, f"{state}/{_NEW}/{INDEX}")
    schema = pa.schema([column for column in new.schema if column.name not in PLACES])
    write_papers(store, f"{state}/{_NEW}", told, schema)
    done = told["patches"][-1]
    files = [path for path in _files(store, f"{state}/{_NEW}") if path != RELEASE]
    plan = {"files": [*files, RELEASE], "remove": [path for path in touched if path not in rewritten], "done": done}
    store.write(f"{state}/{_READY}", json.dumps(plan).encode())
    return finish(store, version) or {}


def finish(store: Store, version: str) -> dict[str, Any] | None:
    """Go on with a patch that was killed while it was moved in. None if there is none."""
    state, folder = state_folder(version), release_folder(version)
    if not store.exists(f"{state}/{_READY}"):
        return None
    plan: dict[str, Any] = json.loads(store.read(f"{state}/{_READY}"))
    for path in plan["remove"]:
        store.remove(f"{folder}/{path}")
    for path in plan["files"]:
        with store.staged(f"{folder}/{path}") as temporary, store.open(f"{state}/{_NEW}/{path}") as source, temporary.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
    store.remove(state)
    done: dict[str, Any] = plan["done"]
    return done


def _files(store: Store, folder: str) -> list[str]:
    """Files of a folder and of the folders in it."""
    found = []
    for name in store.names(folder):
        inside = store.fs.isdir(store.path(f"{folder}/{name}"))
        found += [f"{name}/{file}" for file in store.names(f"{folder}/{name}")] if inside else [name]
    return found


def _rewritten(
    store: Store, version: str, touched: Sequence[str], gone: set[str]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, Any]]]:
    """The shards without what is gone: new places by key, and digest, bytes and samples by path. A shard with nothing left is not written."""
    places: dict[str, dict[str, int]] = {}
    written: dict[str, dict[str, Any]] = {}
    for shard in touched:
        with store.staged(f"{state_folder(version)}/{_NEW}/{shard}") as path, path.open("wb") as handle:
            tar = Tar(handle)
            keys = _without(store, f"{release_folder(version)}/{shard}", tar, gone, places)
            written[shard] = {"sha256": tar.close(), "bytes": tar.size, "samples": len(keys)}
        if not keys:
            store.remove(f"{state_folder(version)}/{_NEW}/{shard}")
            del written[shard]
    return places, written


def _without(store: Store, shard: str, new: Tar, gone: set[str], places: dict[str, dict[str, int]]) -> set[str]:
    keys = set()
    with store.open(shard) as source, tarfile.open(fileobj=source, mode="r:") as old:
        for member in old:
            key, _, ending = member.name.partition(".")
            if key in gone:
                continue
            source.seek(member.offset_data)
            offset, size = new.add(member.name, source.read(member.size))
            keys.add(key)
            if ending == "json":
                places.setdefault(key, {}).update(json_offset=offset, json_size=size)
            elif ending != "txt":
                places.setdefault(key, {}).update(offset=offset, size=size)
    return keys


def _moved(index: pa.Table, places: Mapping[str, Mapping[str, int]]) -> pa.Table:
    keys = index.column("key").to_pylist()
    for name in PLACES[2:]:
        column = index.column(name).to_pylist()
        values = [places[key][name] if key in places else had for key, had in zip(keys, column, strict=True)]
        index = index.set_column(index.column_names.index(name), name, pa.array(values, pa.int64()))
    return index


def _release(
    release: dict[str, Any], index: pa.Table, written: Mapping[str, Mapping[str, Any]], touched: Sequence[str], before: pa.Table,
    gone: Mapping[int, Takedown],
) -> dict[str, Any]:  # fmt: skip
    """What `release.json` says now."""
    tally = Tally()
    seconds: dict[str, float] = {}
    columns = [name for name in (*GROUPS, SUBSETS, "audio_language", "duration", "shard") if name in index.column_names]
    for row in index.select(columns).to_pylist():
        tally.add(row)
        seconds[row["shard"]] = seconds.get(row["shard"], 0.0) + row["duration"]
    duration = before.column("duration").to_pylist()
    by_request: dict[str, tuple[int, float]] = {}
    for place, item in gone.items():
        count, length = by_request.get(item.name, (0, 0.0))
        by_request[item.name] = (count + 1, length + duration[place])
    entry = f"pack:{TAKEN_DOWN}"
    had = release["dropped"].get(entry, {"rows": 0, "hours": 0.0})
    hours = round(sum(length for _, length in by_request.values()) / 3600, 4)
    shards = [
        shard | (dict(written[shard["path"]]) | {"seconds": seconds[shard["path"]]} if shard["path"] in written else {})
        for shard in release["shards"]
        if shard["path"] not in touched or shard["path"] in written
    ]
    old = {shard["path"]: shard["sha256"] for shard in release["shards"]}
    patched = {path: {"before": old[path], "after": written[path]["sha256"] if path in written else None} for path in touched}
    counts = tally.counts()
    subsets = {
        name: told | {"hours": counts.get(SUBSETS, {}).get(name, {"hours": 0.0})["hours"]}
        for name, told in release.get("subsets", {}).items()
    }
    return release | {
        "counts": counts,
        **({"subsets": subsets} if subsets else {}),
        "dropped": dict(
            sorted((release["dropped"] | {entry: {"rows": had["rows"] + len(gone), "hours": round(had["hours"] + hours, 4)}}).items())
        ),
        "takedowns": [*release.get("takedowns", ()), *public(by_request, list(gone.values()))],
        "patches": [*release.get("patches", ()), {"rows": len(gone), "hours": hours, "shards": patched}],
        "shards": shards,
    }
