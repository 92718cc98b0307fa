"""What runs left in a corpus: their names and events."""

from __future__ import annotations

import json
from typing import Any

from manifests.corpus import Corpus


def runs(corpus: Corpus) -> list[str]:
    """Names of the runs, the oldest first."""
    return [name for name in corpus.store.names("runs") if not name.startswith(".")]


def events(corpus: Corpus) -> list[dict[str, Any]]:
    """Events of the newest run; a line that a crash cut off is left out."""
    names = runs(corpus)
    path = f"runs/{names[-1]}/events.jsonl" if names else ""
    if not path or not corpus.store.exists(path):
        return []
    found = []
    for line in corpus.store.read(path).splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            found.append(event)
    return found
