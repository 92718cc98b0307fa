"""What goes with the shards of a release: figures, card, Croissant record, checksums, and last of all `release.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.release import CARD, CROISSANT, INDEX, PLACES, RELEASE, SUMS, sha256, sums
from manifests.store import Store
from manifests.verify import Finding
from stages.pack.card import card
from stages.pack.croissant import croissant
from stages.pack.figures import figures
from stages.pack.statistics import statistics

PACK_VERSION = "5"
"""Of the stage: bumped when any of its output changes for the same input."""


def write_papers(store: Store, folder: str, release: Mapping[str, Any], schema: pa.Schema) -> None:
    """Write them into a folder that holds the index. `release` is what `release.json` says, `schema` that of KEY.json."""
    record = json.dumps(release, indent=1, ensure_ascii=False, default=str).encode()
    digests = {shard["path"]: shard["sha256"] for shard in release["shards"]} | {INDEX: sha256(store, f"{folder}/{INDEX}")}
    for path, data in _papers(json.loads(record), schema, digests[INDEX]).items():
        store.write(f"{folder}/{path}", data)
        digests[path] = hashlib.sha256(data).hexdigest()
    store.write(f"{folder}/{SUMS}", sums(digests | {RELEASE: hashlib.sha256(record).hexdigest()}))
    store.write(f"{folder}/{RELEASE}", record)


def check_papers(store: Store, folder: str) -> Iterator[Finding]:
    """Whether card, figures and Croissant record say what `release.json` says, and its statistics are those of the index. `folder` holds a release whose files
    and counts are right. One that another version of `pack` made is passed over: it said things in other words.
    """
    release = json.loads(store.read(f"{folder}/{RELEASE}"))
    if release.get("format", {}).get("pack") != PACK_VERSION:
        return
    if statistics(store, f"{folder}/{INDEX}") != release["statistics"]:
        yield Finding(RELEASE, "", f"its statistics are not those of {INDEX}")
    with store.open(f"{folder}/{INDEX}") as handle:
        schema = pa.schema([column for column in pq.read_schema(handle) if column.name not in PLACES])
    for path, data in _papers(release, schema, sha256(store, f"{folder}/{INDEX}")).items():
        if store.read(f"{folder}/{path}") != data:
            yield Finding(path, "", f"does not say what {RELEASE} says")


def _papers(release: Mapping[str, Any], schema: pa.Schema, index: str) -> dict[str, bytes]:
    """Figures, card and Croissant record. `index`: sha256 of the index."""
    written = {path: svg.encode() for path, (_, svg) in figures(release).items()} | {CARD: card(release, schema).encode()}
    return written | {CROISSANT: json.dumps(croissant(release, schema, {INDEX: index}), indent=1, ensure_ascii=False).encode()}
