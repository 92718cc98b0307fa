"""What a run leaves under `<root>/runs/<time>-<id>/`: the resolved recipe, its events as they happen, its figures at the end."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from manifests.store import Store

FLUSH = 10.0  # seconds between uploads of the events to an object store


class RunLog:
    """Events of one run, one JSON object a line, in `events.jsonl`."""

    def __init__(self, store: Store) -> None:
        self.folder = f"runs/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._store = store
        self._lines: list[str] = []
        self._flushed = 0.0

    def text(self, name: str, text: str) -> None:
        """Write one file of the run."""
        self._store.write(f"{self.folder}/{name}", text.encode())

    def event(self, kind: str, **values: Any) -> None:
        """Record one event."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **values}, default=str) + "\n"
        path = f"{self.folder}/events.jsonl"
        if self._store.local:
            with open(self._store.path(path), "a", encoding="utf-8") as handle:
                handle.write(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._flushed > FLUSH or kind == "end":
            self._flushed = time.monotonic()
            self._store.write(path, "".join(self._lines).encode())


def rates(store: Store) -> dict[str, float]:
    """Seconds that one worker took for a second of input audio, by stage, over the newest runs that did any of it."""
    found: dict[str, float] = {}
    for name in reversed(store.names("runs")[-20:]):
        try:
            figures = json.loads(store.read(f"runs/{name}/figures.json"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for stage, values in figures["stages"].items():
            if values["audio_seconds"] > 0:
                found.setdefault(stage, values["worker_seconds"] / values["audio_seconds"])
    return found
