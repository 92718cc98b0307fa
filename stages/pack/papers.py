"""What goes with the shards of a release: figures, card, Croissant record, checksums, and last of all `release.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from manifests.release import CARD, CROISSANT, INDEX, RELEASE, SUMS, sha256, sums
from manifests.store import Store
from stages.pack.card import card
from stages.pack.croissant import croissant
from stages.pack.figures import figures


def write_papers(store: Store, folder: str, release: Mapping[str, Any], schema: pa.Schema) -> None:
    """Write them into a folder that holds the index. `release` is what `release.json` says, `schema` that of KEY.json."""
    record = json.dumps(release, indent=1, ensure_ascii=False, default=str).encode()
    stated = json.loads(record)
    written = {path: svg.encode() for path, (_, svg) in figures(stated).items()} | {CARD: card(stated, schema).encode()}
    digests = {shard["path"]: shard["sha256"] for shard in release["shards"]} | {INDEX: sha256(store, f"{folder}/{INDEX}")}
    written[CROISSANT] = json.dumps(croissant(stated, schema, digests), indent=1, ensure_ascii=False).encode()
    for path, data in written.items():
        store.write(f"{folder}/{path}", data)
        digests[path] = hashlib.sha256(data).hexdigest()
    store.write(f"{folder}/{SUMS}", sums(digests | {RELEASE: hashlib.sha256(record).hexdigest()}))
    store.write(f"{folder}/{RELEASE}", record)
