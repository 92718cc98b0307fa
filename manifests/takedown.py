"""What was asked to be removed, for good: sources, channels, speakers and spans that no crawl brings back and no later release holds.

The record is `takedown.jsonl` in the corpus root, one line a request. It is never made shorter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from manifests.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "takedown.jsonl"
TAKEN_DOWN = "taken_down"
KINDS = ("source", "channel", "speaker", "segment")
COLUMNS = ("source_uri", "channel", "speaker", "recording_id", "start", "end")
"""Of a row, what a request is compared with."""
LONGEST = 4096
"""Characters of a value, or a reason."""


@dataclass(frozen=True)
class Takedown:
    """One request. `when` is a date, `recordings` are those that the source or segment had when it was made."""

    kind: str
    value: str
    reason: str
    when: str
    recordings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the request, for a release: it does not repeat a name that is to be forgotten.

        >>> Takedown("speaker", "Ann Lee", "asked", "2026-01-01").name
        'speaker e4959174ae7b'
        """
        return f"{self.kind} {hashlib.sha256(spelled(self.value).encode()).hexdigest()[:12]}"

    @property
    def told(self) -> str:
        """Why a row is gone."""
        return f"{self.name} was taken down on {self.when}: {self.reason}"


def spelled(name: str) -> str:
    """A name without what people spell differently: capitals and spaces.

    >>> spelled(" Ann  Lee ")
    'ann lee'
    """
    return " ".join(name.casefold().split())


def read_takedowns(store: Store) -> list[Takedown]:
    """All requests, in the order in which they were made."""
    if not store.exists(FILE):
        return []
    lines = store.read(FILE).decode().splitlines()
    return [Takedown(**(values | {"recordings": tuple(values["recordings"])})) for values in map(json.loads, lines)]


def add(store: Store, takedown: Takedown) -> bool:
    """Record a request; False if it is there already (with the recordings that are known now, it is recorded again)."""
    there = read_takedowns(store)
    if any((item.kind, item.value, item.recordings) == (takedown.kind, takedown.value, takedown.recordings) for item in there):
        return False
    store.write(FILE, b"".join(json.dumps(asdict(item), ensure_ascii=False).encode() + b"\n" for item in [*there, takedown]))
    return True


def span(segment_id: str) -> tuple[str, float, float]:
    """Recording, start and end (seconds) that a segment's id says. Raises ValueError if it is none.

    >>> span("00112233445566ff-00001500-00012250")
    ('00112233445566ff', 1.5, 12.25)
    """
    recording, start, end = segment_id.split("-")
    return recording, int(start) / 1000, int(end) / 1000


@dataclass(frozen=True)
class Requests:
    """All requests together, to look rows up in."""

    takedowns: tuple[Takedown, ...]

    @cached_property
    def _by_name(self) -> dict[str, dict[str, Takedown]]:
        found: dict[str, dict[str, Takedown]] = {"source": {}, "channel": {}, "speaker": {}}
        for item in self.takedowns:
            if item.kind in found:
                found[item.kind].setdefault(item.value if item.kind == "source" else spelled(item.value), item)
        return found

    @cached_property
    def _recordings(self) -> dict[str, Takedown]:
        """The audio of a source that was taken down, wherever else it comes from."""
        return {recording: item for item in reversed(self.takedowns) if item.kind == "source" for recording in item.recordings}

    @cached_property
    def _spans(self) -> dict[str, list[tuple[float, float, Takedown]]]:
        found: dict[str, list[tuple[float, float, Takedown]]] = {}
        for item in self.takedowns:
            if item.kind == "segment":
                recording, start, end = span(item.value)
                found.setdefault(recording, []).append((start, end, item))
        return found

    def match(self, row: Mapping[str, Any]) -> Takedown | None:
        """The request that a row falls under. A segment falls under every one whose span it overlaps: cuts change, what was said does not."""
        found = self._by_name["source"].get(row.get("source_uri") or "") or self._recordings.get(row.get("recording_id") or "")
        for kind in ("channel", "speaker"):
            if found is None and row.get(kind):
                found = self._by_name[kind].get(spelled(str(row[kind])))
        if found is None and row.get("end") is not None:
            spans = self._spans.get(row.get("recording_id") or "", ())
            found = next((item for start, end, item in spans if row["start"] < end and start < row["end"]), None)
        return found

    def among(self, table: pa.Table) -> dict[int, Takedown]:
        """Those of the rows that fall under a request, by their place. Only rows with a name or recording of some request are looked at one by one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.takedowns or not len(table):
            return {}
        near = pa.array([False] * len(table))
        for name, asked in (
            ("source_uri", self._by_name["source"].__contains__),
            ("channel", lambda value: spelled(value) in self._by_name["channel"]),
            ("speaker", lambda value: spelled(value) in self._by_name["speaker"]),
            ("recording_id", lambda value: value in self._recordings or value in self._spans),
        ):
            if name in table.column_names:
                there = [value for value in pc.unique(table.column(name)).to_pylist() if value is not None and asked(value)]
                near = pc.or_(near, pc.is_in(table.column(name), value_set=pa.array(there, pa.string())))
        places = pc.indices_nonzero(near)
        rows = table.select([name for name in COLUMNS if name in table.column_names]).take(places).to_pylist()
        matches = ((place, self.match(row)) for place, row in zip(places.to_pylist(), rows, strict=True))
        return {place: item for place, item in matches if item is not None}


NOTHING = Requests(())


def public(counts: Mapping[str, tuple[int, float]], takedowns: Sequence[Takedown]) -> list[dict[str, Any]]:
    """What a release says of the requests that hit it: no names. `counts`: rows and seconds by `Takedown.name`."""
    found = {item.name: item for item in takedowns}
    return [
        {"request": name, "reason": found[name].reason, "when": found[name].when, "rows": rows, "hours": round(seconds / 3600, 4)}
        for name, (rows, seconds) in sorted(counts.items())
    ]
