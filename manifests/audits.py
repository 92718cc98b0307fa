"""Audits of a corpus: what people said of a sample of its labels, and the error that follows from it.

<root>/audits/<id>/sample.json   the segments that were drawn, their strata, and the manifest they were drawn from
<root>/audits/<id>/result.json   the stated error, once the sheet was read back
"""

from __future__ import annotations

import json
from typing import Any

from manifests.corpus import CURRENT
from manifests.store import Store

AUDITS = "audits"


def newest(store: Store) -> dict[str, Any]:
    """The newest result for a manifest that is current; empty if nobody has judged the corpus as it is now."""
    if not store.exists(CURRENT):
        return {}
    current = {entry["fingerprint"] for entry in json.loads(store.read(CURRENT))["stages"]}
    found = [json.loads(store.read(path)) for name in store.names(AUDITS) if store.exists(path := f"{AUDITS}/{name}/result.json")]
    results = [result for result in found if result["fingerprint"] in current]
    return max(results, key=lambda result: str(result["read"]), default={})
