"""How far a corpus is: its stages, its last run, who holds it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from manifests.corpus import Corpus


def stages(corpus: Corpus) -> list[dict[str, Any]]:
    """One row a stage of the current recipe."""
    table = []
    before = None
    started = {manifest.stage: manifest for manifest in corpus.manifests}
    for entry in corpus.current["stages"]:
        manifest = started.get(entry["stage"])
        parts = list(manifest.on_disk().values()) if manifest and not manifest.success else manifest.listed if manifest else []
        counts = manifest.counts() if manifest else None
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
                "fingerprint": entry["fingerprint"],
            }
        )
        before = len(parts) if manifest and manifest.success else before
    return table


def last_run(corpus: Corpus) -> list[str]:
    """Lines for people: the newest run and how it ended, failed parts, the lock."""
    store = corpus.store
    runs = [name for name in store.names("runs") if not name.startswith(".")]
    lines = []
    if runs and store.exists(f"runs/{runs[-1]}/events.jsonl"):
        events = [json.loads(line) for line in store.read(f"runs/{runs[-1]}/events.jsonl").splitlines() if line.strip()]
        parts = [event for event in events if event["event"] == "part"]
        end = next((event for event in reversed(events) if event["event"] == "end"), None)
        when = datetime.fromtimestamp(events[0]["time"], UTC).isoformat(timespec="seconds") if events else "?"
        took = events[-1]["time"] - events[0]["time"] if events else 0.0
        outcome = f"{end['outcome']}{': ' + end['message'].splitlines()[0] if end.get('message') else ''}" if end else "running, or killed"
        lines.append(f"last run {runs[-1]}: began {when}, {took:.0f} s, {len(parts)} part(s) made, {outcome}")
        lines += [f"  failed: {event['stage']} on {event['path']}: {event['message']}" for event in events if event["event"] == "failed"]
        for event in sorted(parts, key=lambda event: -float(event["took"]))[:3]:
            lines.append(f"  slowest: {event['stage']} part {event['part']} took {event['took']:.1f} s for {event['rows']} rows")
    if store.exists("runs/.lock"):
        holder = json.loads(store.read("runs/.lock"))
        lines.append(f"in use by process {holder['pid']} on {holder['host']}, refreshed {time.time() - holder['refreshed']:.0f} s ago")
    return lines
