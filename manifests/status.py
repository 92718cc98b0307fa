"""How far a corpus is: its stages, its last run, who works on it and who holds it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from manifests.corpus import Corpus
from manifests.runs import events, runs

QUIET = 90.0
"""Seconds after which the holder of a root that has not refreshed its lock is taken for dead; see `pipeline.lock`."""


def stages(corpus: Corpus) -> list[dict[str, Any]]:
    """One row a stage of the current recipe; of those that the newest run made parts of, its speed (times real time, over the wall-clock) and
    the seconds that are left at its pace.
    """
    table = []
    before = None
    started = {manifest.stage: manifest for manifest in corpus.manifests}
    newest = events(corpus)
    over = any(event["event"] == "end" for event in newest)
    for entry in corpus.current["stages"]:
        manifest = started.get(entry["stage"])
        parts = list(manifest.on_disk().values()) if manifest and not manifest.success else manifest.listed if manifest else []
        counts = manifest.counts() if manifest else None
        made = [event for event in newest if event["event"] == "part" and event["stage"] == entry["stage"]]
        left = (before or 0) - len(parts)
        table.append(
            {
                "stage": entry["stage"],
                "state": "done" if manifest and manifest.success else "started" if manifest else "not started",
                "parts": f"{len(parts)}/{before}" if before is not None and len(parts) != before else str(len(parts)),
                "live": counts.live if counts else 0,
                "hours": round(counts.seconds / 3600, 3) if counts else 0.0,
                "dropped": sum(rows for reason, (rows, _) in counts.dropped.items() if reason.startswith(f"{entry['stage']}:"))
                if counts
                else 0,
                **_pace(made, left if not over else 0),
                "fingerprint": entry["fingerprint"],
            }
        )
        before = len(parts) if manifest and manifest.success else before
    return table


def _pace(made: Sequence[Mapping[str, Any]], left: int) -> dict[str, Any]:
    """Speed over the time from the beginning of the first of these parts to the end of the last, and seconds for the parts that are left."""
    if not made:
        return {"speed": None, "left": None}
    took = max(0.001, made[-1]["time"] - min(event["time"] - event["took"] for event in made))
    audio = sum(event["seconds"] for event in made)
    return {"speed": round(audio / took, 1), "left": round(took / len(made) * left) if left > 0 else None}


def running(corpus: Corpus) -> bool:
    """True while a run holds the root: its lock is there and fresh."""
    holder = _holder(corpus)
    return bool(holder) and time.time() - holder["refreshed"] < QUIET


def last_run(corpus: Corpus) -> list[str]:
    """Lines for people: the newest run and how it ended, failed parts, slowest parts, workers, the lock."""
    lines = []
    newest = events(corpus)
    if newest:
        parts = [event for event in newest if event["event"] == "part"]
        end = next((event for event in reversed(newest) if event["event"] == "end"), None)
        when = datetime.fromtimestamp(newest[0]["time"], UTC).isoformat(timespec="seconds")
        alive = running(corpus)
        took = (newest[-1]["time"] if end or not alive else time.time()) - newest[0]["time"]
        outcome = f"{end['outcome']}{': ' + end['message'].splitlines()[0] if end.get('message') else ''}" if end else "running"
        if not end and not alive:
            outcome = "killed, or its machine is gone; run the recipe again to go on"
        lines.append(f"last run {runs(corpus)[-1]}: began {when}, {took:.0f} s, {len(parts)} part(s) made, {outcome}")
        failed = [event for event in newest if event["event"] == "failed"]
        lines += [f"  failed: {event['stage']} on {event['path']}: {event['message']}" for event in failed[:5]]
        lines += [f"  and {len(failed) - 5} more: silver errors {corpus.store.root}"] * (len(failed) > 5)
        for event in sorted(parts, key=lambda event: -float(event["took"]))[:3]:
            lines.append(f"  slowest: {event['stage']} part {event['part']} took {event['took']:.1f} s for {event['rows']} rows")
        lines += _workers(parts)
    if holder := _holder(corpus):
        lines.append(f"in use by process {holder['pid']} on {holder['host']}, refreshed {time.time() - holder['refreshed']:.0f} s ago")
    return lines


def damaged(corpus: Corpus) -> list[str]:
    """Lines for people: files that are gone or cannot be read. It looks at every part."""
    return [f"damaged: {corpus.store.uri(path)} {what}" for path, what in corpus.damage().items()]


def _workers(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a worker: how busy it was, and what it did last."""
    by_worker: dict[str, list[Mapping[str, Any]]] = {}
    for event in parts:
        if worker := event.get("worker"):
            by_worker.setdefault(worker, []).append(event)
    return [
        f"  worker {name}: {len(done)} part(s) in {sum(event['took'] for event in done):.0f} s, "
        f"last {done[-1]['stage']} part {done[-1]['part']} {time.time() - done[-1]['time']:.0f} s ago"
        for name, done in sorted(by_worker.items())
    ]


def _holder(corpus: Corpus) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(corpus.store.read("runs/.lock"))
    except (FileNotFoundError, ValueError):
        return {}
    return found
