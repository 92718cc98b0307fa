"""deduplicate: what is in the corpus more than once stays once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from manifests.corpus import Corpus
from manifests.part import PartRef, read_part
from manifests.store import Store
from pipeline.contract import AbsolutePath, CorpusContext, CorpusStage, SilverError, StageParams
from stages.copies import Place, Repeat, repeats

RECORDING, AUDIO, TEXT = "duplicate_recording", "repeated_audio", "repeated_text"
_COLUMNS = ["segment_id", "recording_id", "audio_path", "source_uri", "start", "end", "duration", "drop_reason"]

Span = tuple[float, float, str]
"""Start and end in a recording, seconds, and the segment's id."""


@dataclass
class _Known:
    """The recordings with live segments, in the order in which they were acquired."""

    places: list[Place] = field(default_factory=list)
    rank: dict[str, int] = field(default_factory=dict)
    uri: dict[str, str] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)  # of the last segment
    earlier: set[str] = field(default_factory=set)  # recordings of earlier corpora

    def add(self, recording: str, root: str, path: str, uri: str, end: float, *, earlier: bool = False) -> None:
        """Note a segment's recording."""
        if recording not in self.rank:
            self.rank[recording] = len(self.places)
            self.places.append(Place(recording, root, path))
            self.uri[recording] = uri
            if earlier:
                self.earlier.add(recording)
        self.ends[recording] = max(self.ends.get(recording, 0.0), end)


class Deduplicate(CorpusStage):
    """Drop what is there already: recordings uploaded again or encoded anew, jingles and adverts, sentences said over and over.

    What was there first, in the order of acquisition, stays, so that a corpus that grows keeps what it had. Audio is compared by fingerprints
    (`stages.copies`), which hold through codecs, gain and resampling. Of repeated transcripts a number stays, as GigaSpeech 2 balances its texts
    (Yang et al. 2024, https://arxiv.org/abs/2406.11546, section 3.4).
    """

    name, version = "deduplicate", "1"
    reads: ClassVar[tuple[str, ...]] = ("recording_id", "audio_path", "text")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "soxr")

    class Params(StageParams):
        """What counts as a repetition; null turns a kind off."""

        recording: float | None = Field(
            0.8, gt=0, le=1, description="share of a recording that another one holds, from which on all of it is dropped"
        )
        audio: float | None = Field(0.5, gt=0, le=1, description="share of a segment that was heard before, from which on it is dropped")
        max_repeats: int | None = Field(10, ge=1, description="segments of the same text and language that stay")
        against: list[AbsolutePath] = Field([], description="roots of earlier corpora: what they hold counts as there first")
        seed: int = Field(0, description="seed of which repeated texts stay")

    params: Params

    def identity(self) -> Mapping[str, str]:
        """Which manifests of the earlier corpora are compared with."""
        return {root: _last(root).fingerprint for root in self.params.against}

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Find copies, then repeated texts among what is left, then say of every row whether it stays."""
        known = self._known(parts, context.store)
        found: list[Repeat] = []
        if self.params.recording or self.params.audio:
            found = repeats(context.store, known.places, context.map, context.report)
        copies = self._copies(found, known)
        heard = self._heard(found, known, copies, parts, context.store) if self.params.audio else {}
        gone = (copies, heard)
        texts = self._texts(parts, context.store, gone) if self.params.max_repeats else {}
        context.report(
            f"{len(copies)} recordings, {len(heard)} segments by their audio and {sum(map(len, texts.values()))} by their text are there already"
        )
        for number, ref in enumerate(parts):
            yield _table(context.store, ref, copies, heard, texts.get(number, {}))

    def _known(self, parts: Sequence[PartRef], store: Store) -> _Known:
        known = _Known()
        for root in self.params.against:
            other = _last(root)
            for row in _live(Store(root), other.listed):
                known.add(row["recording_id"], root, row["audio_path"], f"{row['source_uri']} of {root}", row["end"], earlier=True)
        for row in _live(store, parts):
            known.add(row["recording_id"], store.root, row["audio_path"], row["source_uri"], row["end"])
        return known

    def _copies(self, found: Sequence[Repeat], known: _Known) -> dict[str, str]:
        """Recordings that are dropped whole, and why."""
        copies = {recording: f"this audio is in {known.uri[recording]}" for recording in known.earlier}
        if self.params.recording is None:
            return copies
        shared: dict[tuple[str, str], list[Repeat]] = defaultdict(list)
        for item in found:
            if item.a != item.b:
                old, new = sorted((item.a, item.b), key=known.rank.__getitem__)
                shared[old, new].append(item)
        for (old, new), items in sorted(shared.items(), key=lambda pair: (known.rank[pair[0][1]], known.rank[pair[0][0]])):
            spans = [(item.a_start, item.a_end) if item.a == new else (item.b_start, item.b_end) for item in items]
            share = _covered(spans, 0.0, known.ends[new]) / max(known.ends[new], 1e-3)
            if (
                share >= self.params.recording
                and new not in copies
                and new not in known.earlier
                and (old not in copies or old in known.earlier)
            ):
                wrong = min(item.wrong for item in items)
                copies[new] = f"{share:.0%} of it is in {old} ({known.uri[old]}), which stays; {wrong:.0%} of the bits differ"
        return copies

    def _heard(
        self, found: Sequence[Repeat], known: _Known, copies: Mapping[str, str], parts: Sequence[PartRef], store: Store
    ) -> dict[str, str]:
        """Segments whose audio is in a segment that stays, and where."""
        before: dict[str, list[tuple[float, float, str, float, float]]] = defaultdict(list)  # span, and the earlier place
        for item in found:
            one, other = (item.a, item.a_start, item.a_end), (item.b, item.b_start, item.b_end)
            old, new = sorted((one, other), key=lambda place: (known.rank[place[0]], place[1]))
            before[new[0]].append((new[1], new[2], *old))
        wanted = set(before) | {place[2] for some in before.values() for place in some}
        segments: dict[str, list[Span]] = defaultdict(list)
        for row in _live(store, parts):
            if row["recording_id"] in wanted and row["recording_id"] not in copies:
                segments[row["recording_id"]].append((row["start"], row["end"], row["segment_id"]))
        gone: dict[str, str] = {}
        for recording in sorted(segments, key=known.rank.__getitem__):
            all_of_it = sorted(segments[recording])
            kept: list[Span] = []
            segments[recording] = kept  # what of the recording itself was before
            for start, end, segment in all_of_it:
                if first := self._first(start, end, before.get(recording, ()), segments, known):
                    gone[segment] = first
                else:
                    kept.append((start, end, segment))
        return gone

    def _first(
        self, start: float, end: float, places: Sequence[tuple[float, float, str, float, float]], segments: Mapping[str, Sequence[Span]],
        known: _Known,
    ) -> str | None:  # fmt: skip
        """Where most of a span was heard before, if a segment that stays is there."""
        spans = []
        stays = ""
        for new_start, new_end, old, old_start, _ in places:
            a, b = max(start, new_start), min(end, new_end)
            if a >= b:
                continue
            shift = old_start - new_start
            there = [(first - shift, last - shift) for first, last, _ in segments.get(old, ())] if old not in known.earlier else [(a, b)]
            if part := [(max(a, first), min(b, last)) for first, last in there if first < b and a < last]:
                spans += part
                names = [name for first, last, name in segments.get(old, ()) if first - shift < b and a < last - shift]
                stays = stays or f"{names[0] if names else old} ({known.uri[old]}, from {a + shift:.1f} s)"
        share = _covered(spans, start, end) / max(end - start, 1e-3)
        return f"{share:.0%} of its audio is in {stays}, which stays" if spans and share >= (self.params.audio or 1) else None

    def _texts(
        self, parts: Sequence[PartRef], store: Store, gone: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> dict[int, dict[int, str]]:
        """Part to row to why. Memory: 24 bytes a segment."""
        most = self.params.max_repeats or 1
        texts, turns, where = [], [], []
        for number, ref in enumerate(parts):
            if not ref.counts.live:
                continue
            table = read_part(store, ref, ["segment_id", "recording_id", "language", "text", "drop_reason"])
            for row, values in enumerate(table.to_pylist()):
                if (
                    values["drop_reason"] is None
                    and values["text"]
                    and values["recording_id"] not in gone[0]
                    and values["segment_id"] not in gone[1]
                ):
                    texts.append(_hash(f"{values['language']}\n{values['text']}"))
                    turns.append(_hash(f"{self.params.seed}\n{values['segment_id']}"))
                    where.append((number << 32) | row)
        if not texts:
            return {}
        text, turn = np.array(texts, np.uint64), np.array(turns, np.uint64)
        order = np.lexsort((turn, text))
        begins = np.concatenate([[True], text[order][1:] != text[order][:-1]])
        group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        place = np.arange(len(order)) - group
        sizes = np.bincount(np.cumsum(begins) - 1)[np.cumsum(begins) - 1]
        found: dict[int, dict[int, str]] = defaultdict(dict)
        for index in np.flatnonzero(place >= most):
            at = where[int(order[index])]
            found[at >> 32][at & 0xFFFFFFFF] = f"its text is in {sizes[index]} segments, of which {most} stay"
        return found


def _last(root: str) -> Any:
    """The last finished manifest of a corpus. Raises SilverError if there is none."""
    try:
        found = [manifest for manifest in Corpus(root).manifests if manifest.success]
    except FileNotFoundError:
        found = []
    if not found:
        raise SilverError(f"deduplicate.against: {root} is no corpus with a finished stage")
    return found[-1]


def _live(store: Store, parts: Sequence[PartRef]) -> Iterator[dict[str, Any]]:
    for ref in parts:
        if ref.counts.live:
            yield from (row for row in read_part(store, ref, _COLUMNS).to_pylist() if row["drop_reason"] is None)


def _covered(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Seconds between `start` and `end` that lie in one of the spans.

    >>> _covered([(0, 2), (1, 3), (8, 20)], 0, 10)
    5.0
    """
    total, at = 0.0, start
    for first, last in sorted(spans):
        begin, stop = max(at, first), min(end, last)
        if stop > begin:
            total += stop - begin
            at = stop
    return total


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _table(store: Store, ref: PartRef, copies: Mapping[str, str], heard: Mapping[str, str], texts: Mapping[int, str]) -> pa.Table:
    table = read_part(store, ref)
    columns = {name: table.column(name).to_pylist() for name in ("recording_id", "segment_id", "drop_reason", "drop_detail")}
    for row, (recording, segment) in enumerate(zip(columns["recording_id"], columns["segment_id"], strict=True)):
        if columns["drop_reason"][row] is not None:
            continue
        if recording in copies:
            reason, detail = RECORDING, copies[recording]
        elif segment in heard:
            reason, detail = AUDIO, heard[segment]
        elif row in texts:
            reason, detail = TEXT, texts[row]
        else:
            continue
        columns["drop_reason"][row], columns["drop_detail"][row] = reason, detail[:500]
    for name in ("drop_reason", "drop_detail"):
        table = table.set_column(table.column_names.index(name), name, pa.array(columns[name], pa.string()))
    return table
