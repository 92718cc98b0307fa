"""What goes with the shards of a release: card, checksums, and last of all `release.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from manifests.release import CARD, INDEX, RELEASE, SUMS, sha256, sums
from manifests.store import Store
from stages.pack.card import card


def write_papers(store: Store, folder: str, release: Mapping[str, Any], schema: pa.Schema) -> None:
    """Write them into a folder that holds the index. `release` is what `release.json` says, `schema` that of KEY.json."""
    record = json.dumps(release, indent=1, ensure_ascii=False, default=str).encode()
    store.write(f"{folder}/{CARD}", card(json.loads(record), schema).encode())
    digests = {shard["path"]: shard["sha256"] for shard in release["shards"]}
    digests |= {name: sha256(store, f"{folder}/{name}") for name in (INDEX, CARD)}
    store.write(f"{folder}/{SUMS}", sums(digests | {RELEASE: hashlib.sha256(record).hexdigest()}))
    store.write(f"{folder}/{RELEASE}", record)
