"""split: train, dev and test without anything in common, and nothing of a public test set in them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from manifests.part import PartRef, read_part
from manifests.release import INDEX, LEAKS, RELEASES, TRAIN, UNLABELLED, release_folder
from manifests.schema import Row, extend
from manifests.store import Store
from pipeline.contract import AbsolutePath, CorpusContext, CorpusStage, SilverError, StageParams
from stages.heldout.leaks import FIXES, WORDS, leaks, within
from stages.heldout.sets import HeldOut
from stages.normalise.scoring import scoring_words
from stages.pack.after import untouched
from stages.split.clusters import Clusters, Tie, allot, cluster

EARLIER = "releases"
"""Name of the earlier releases of this corpus, where a leak is waived."""
HELD_OUT, TIED = "text_held_out", "tied_to_two_splits"
SHORT_REPEAT = 3.0
"""Seconds of the same audio from which on two recordings stay together."""

Kind = Literal["channel", "speaker", "voice", "audio", "text"]


@dataclass
class _Recording:
    """What the stage must know of a recording: some 500 bytes."""

    audio_path: str
    seconds: float = 0.0  # of live segments
    names: dict[str, set[str]] = field(default_factory=lambda: {"channel": set(), "speaker": set()})
    groups: dict[str, float] = field(default_factory=dict)  # what is balanced by, to seconds


class Split(CorpusStage):
    """Give every recording to one split. No channel, speaker, audio or sentence of one split is in another, by what `by` asks for.

    Recordings that share a channel, a speaker's name, a voice or some audio are one cluster and go together (`stages.split.clusters`); a segment of
    train that says a whole sentence of dev or test is dropped. What a finished release of this corpus published stays in its split.
    """

    name, version = "split", "1"
    reads: ClassVar[tuple[str, ...]] = ("recording_id", "audio_path", "text")
    adds = pa.schema([("split", pa.string())])
    packages: ClassVar[tuple[str, ...]] = ("numpy",)

    class Params(StageParams):
        """Which splits there are, what keeps them apart, and which test sets must not be in any."""

        splits: dict[str, float] = Field(
            {"dev": 0.01, "test": 0.01}, description="share of the audio of each split beside train, of each group of `balance`"
        )
        by: list[Kind] = Field(
            ["channel", "speaker", "audio", "text"],
            description="what no two splits have in common; voice compares embeddings of speakers (pip install --no-deps Resemblyzer)",
        )
        balance: list[str] = Field(["language"], description="columns: each combination of their values gets its share of every split")
        against: dict[str, AbsolutePath] = Field(
            {}, description="name: gold of a public test set (audio and transcripts, as `evaluate` reads it) that must not be in the corpus"
        )
        waive: list[str] = Field(
            [], description="leaks that are put up with, as NAME:KIND (fleurs:text; releases:channel); the card says so"
        )
        seed: int = Field(0, description="seed of the order in which clusters are given to splits")

        @field_validator("splits")
        @classmethod
        def _shares(cls, splits: dict[str, float]) -> dict[str, float]:
            for name, share in splits.items():
                if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name == TRAIN:
                    msg = f"{name!r} cannot be the name of a split: lower-case letters, digits and '_'; {TRAIN} is what the others leave"
                    raise ValueError(msg)
                if not 0 < share < 1:
                    msg = f"the share of {name} must be between 0 and 1, not {share}"
                    raise ValueError(msg)
            if sum(splits.values()) >= 1:
                msg = f"the splits leave nothing to {TRAIN}: their shares sum up to {sum(splits.values()):g}"
                raise ValueError(msg)
            return splits

        @field_validator("waive")
        @classmethod
        def _waived(cls, waive: list[str]) -> list[str]:
            for name in waive:
                if name.rpartition(":")[2] not in {*FIXES, "voice"} or ":" not in name:
                    msg = f"{name!r} names no leak: NAME:KIND, with one of {', '.join(FIXES)}, voice"
                    raise ValueError(msg)
            return waive

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.reads = (*type(self).reads, *(name for name in params.balance if name != "language"))  # type: ignore[misc]

    def identity(self) -> Mapping[str, str]:
        """Digests of the test sets, and the speaker model."""
        sets = {name: HeldOut.read(path).digest for name, path in sorted(self.params.against.items())}
        if "voice" in self.params.by:
            from stages.split.voices import model_digest

            sets["voices"] = model_digest()
        return sets

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Cluster, allot, look for leaks, then write the split of every row.

        Raises:
            SilverError: no disjoint split is possible, or something of a test set is in the corpus and not waived.
        """
        params = self.params
        recordings = _recordings(context.store, parts, params.balance)
        live = {name: item for name, item in recordings.items() if item.seconds}
        bound = published(context.store)
        ties = self._ties(recordings, live, parts, context)
        found = cluster(recordings, ties, {name: split for name, split in bound.items() if name in recordings})
        splits = self._allotted(found, recordings, context)
        self._check(found, recordings, parts, context)
        texts = self._texts(splits, parts, context) if "text" in params.by else {}
        for number, ref in enumerate(parts):
            yield _table(context.store, ref, splits, found, texts.get(number, {}))

    def _ties(
        self, recordings: Mapping[str, _Recording], live: Mapping[str, _Recording], parts: Sequence[PartRef], context: CorpusContext
    ) -> list[Tie]:
        ties = []
        for kind in ("channel", "speaker"):
            if kind in self.params.by:
                named: dict[str, list[str]] = defaultdict(list)
                for recording, item in recordings.items():
                    for name in item.names[kind]:
                        named[name].append(recording)
                silent = sum(1 for item in live.values() if not item.names[kind])
                if silent:
                    context.report(f"{silent} of {len(live)} recordings do not say their {kind}: nothing keeps splits apart by it there")
                ties += [Tie(kind, name, tuple(members)) for name, members in sorted(named.items()) if len(members) > 1]
        if "audio" in self.params.by:
            from stages.copies import Place, repeats

            places = [Place(recording, context.store.root, item.audio_path) for recording, item in sorted(live.items())]
            for repeat in repeats(context.store, places, context.map, context.report):
                if repeat.a != repeat.b and repeat.a_end - repeat.a_start >= SHORT_REPEAT:
                    what = f"{repeat.a} from {repeat.a_start:.1f} s and {repeat.b} from {repeat.b_start:.1f} s"
                    ties.append(Tie("audio", what, tuple(sorted((repeat.a, repeat.b)))))
        if "voice" in self.params.by:
            from stages.split.voices import same_voice

            ties += [Tie("voice", f"a voice of {members[0]}", members) for members in same_voice(context.store, parts, context.map)]
        return ties

    def _allotted(self, found: Clusters, recordings: Mapping[str, _Recording], context: CorpusContext) -> dict[str, str]:
        """The split of every recording that has one."""
        seconds: dict[str, float] = defaultdict(float)
        groups: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for recording, name in found.cluster.items():
            seconds[name] += recordings[recording].seconds
            for group, length in recordings[recording].groups.items():
                groups[name][group] += length
        heard = {name: length for name, length in seconds.items() if length}
        if self.params.splits and len(heard) == 1 and not found.bound and sum(1 for item in recordings.values() if item.seconds) > 1:
            kinds = ", ".join(kind for kind in self.params.by if kind != "text")
            raise SilverError(
                f"no split is possible: by {kinds}, all recordings belong together ({next(iter(recordings.values())).names['channel'] or 'no channel'}). "
                f"Take what ties them out of {self.name}.by, or ask for no splits ({self.name}.splits={{}})"
            )
        most = {name: max(sorted(some), key=some.__getitem__) for name, some in groups.items() if some}
        of_cluster = allot(seconds, most, found.bound, self.params.splits, self.params.seed)
        hours: dict[str, float] = defaultdict(float)
        for name, split in of_cluster.items():
            hours[split] += seconds[name] / 3600
        for split in (TRAIN, *self.params.splits):
            if not hours[split]:
                context.report(
                    f"nothing fell into {split}: the clusters are too few or too large; larger shares, or fewer kinds in {self.name}.by"
                )
        largest = max(heard.values(), default=0.0)
        context.report(
            f"{len(heard)} clusters, the largest {largest / 3600:.2f} h; "
            + ", ".join(f"{split} {value:.2f} h" for split, value in hours.items())
        )
        return {recording: of_cluster[name] for recording, name in found.cluster.items()}

    def _check(self, found: Clusters, recordings: Mapping[str, _Recording], parts: Sequence[PartRef], context: CorpusContext) -> None:
        """Write down every leak; end the run for one that is not waived."""
        lines, record = [], []
        earlier: dict[str, list[str]] = defaultdict(list)
        for tie, first, second in found.leaks:
            earlier[tie.kind].append(f"{first} and {second} ({tie.what})")
        told: list[tuple[str, str, int, float | None, bool, list[str], str]] = [
            (EARLIER, kind, len(some), None, True, some, f"same {kind} in two published splits: {'; '.join(some[:3])}")
            for kind, some in earlier.items()
        ]
        for name, path in sorted(self.params.against.items()):
            found_of = leaks(_flat(context.store, parts), HeldOut.read(path), context.store, context.map)
            told += [
                (name, leak.kind, leak.count, leak.share, leak.fatal, [f"{a} is {b}" for a, b in leak.examples], str(leak))
                for leak in found_of
            ]
        for name, kind, count, share, fatal, examples, message in told:
            waived = f"{name}:{kind}" in self.params.waive
            record.append(
                {"set": name, "kind": kind, "count": count, "share": share, "waived": waived, "fatal": fatal, "examples": examples[:3]}
            )
            if fatal and not waived:
                lines.append(f"  {name}: {message} Or put up with it: {self.name}.waive=[{name}:{kind}], and the card says so.")
        context.store.write(
            f"manifests/{self.name}/{context.fingerprint}/{LEAKS}",
            json.dumps(
                {"by": self.params.by, "splits": self.params.splits, "against": sorted(self.params.against), "leaks": record}, indent=1
            ).encode(),
        )
        if lines:
            raise SilverError("the corpus holds what it is to be tested on:\n" + "\n".join(lines))

    def _texts(self, splits: Mapping[str, str], parts: Sequence[PartRef], context: CorpusContext) -> dict[int, dict[int, str]]:
        """Part to row of train to the segment of another split whose whole sentence it says."""
        held = [number for number, ref in enumerate(parts) if ref.counts.live]
        said: dict[tuple[str, ...], str] = {}
        needles: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for some in context.map(
            partial(_said, context.store, {name for name, split in splits.items() if split != TRAIN}), [parts[n] for n in held]
        ):
            for words, where in some:
                if words not in said:
                    needles[words[:WORDS]].append(words)
                    said[words] = where
        if not said:
            return {}
        look = partial(_saying, context.store, {name for name, split in splits.items() if split == TRAIN}, dict(needles))
        return {
            number: {row: said[words] for row, words in rows}
            for number, rows in zip(held, context.map(look, [parts[n] for n in held]), strict=True)
            if rows
        }


def published(store: Store) -> dict[str, str]:
    """The split of each recording that is in a finished release of this corpus which was made with splits. What was once held out stays so.

    Raises:
        SilverError: somebody touched one of them by hand.
    """
    found: dict[str, str] = {}
    for version in store.names(RELEASES):
        if not untouched(store, version).get("splits"):
            continue
        with store.open(f"{release_folder(version)}/{INDEX}") as handle:
            for batch in pq.ParquetFile(handle).iter_batches(columns=["recording_id", "split"]):
                for recording, split in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                    if found.get(recording, TRAIN) == TRAIN:
                        found[recording] = TRAIN if split == UNLABELLED else split
    return found


def _recordings(store: Store, parts: Sequence[PartRef], balance: Sequence[str]) -> dict[str, _Recording]:
    """Every recording of which there is a segment, dropped ones too: what has no label may be published without."""
    found: dict[str, _Recording] = {}
    columns = list(dict.fromkeys(["segment_id", "recording_id", "audio_path", "channel", "speaker", "duration", "drop_reason", *balance]))
    for ref in parts:
        for row in read_part(store, ref, columns).to_pylist():
            if row["segment_id"] is None:
                continue
            item = found.setdefault(row["recording_id"], _Recording(row["audio_path"]))
            for kind in ("channel", "speaker"):
                if row[kind]:
                    item.names[kind].add(" ".join(str(row[kind]).casefold().split()))
            if row["drop_reason"] is None:
                item.seconds += row["duration"]
                group = json.dumps([row[name] for name in balance], default=str)
                item.groups[group] = item.groups.get(group, 0.0) + row["duration"]
    return found


def _flat(store: Store, parts: Sequence[PartRef]) -> Iterator[Row]:
    """Live rows, as `leaks` wants them."""
    columns = ["recording_id", "audio_path", "source_uri", "channel", "speaker", "language", "text", "drop_reason"]
    for ref in parts:
        if ref.counts.live:
            yield from (row for row in read_part(store, ref, columns).to_pylist() if row["drop_reason"] is None)


def _sentences(store: Store, ref: PartRef, recordings: set[str]) -> Iterator[tuple[int, Row, tuple[str, ...]]]:
    rows = read_part(store, ref, ["segment_id", "recording_id", "language", "text", "drop_reason"]).to_pylist()
    for number, row in enumerate(rows):
        if row["drop_reason"] is None and row["recording_id"] in recordings and row["text"]:
            yield number, row, tuple(scoring_words(row["text"], row["language"]))


def _said(store: Store, recordings: set[str], ref: PartRef) -> list[tuple[tuple[str, ...], str]]:
    """Utterances of the held-out recordings that are long enough to be somebody's, and the segment."""
    return [(words, row["segment_id"]) for _, row, words in _sentences(store, ref, recordings) if len(words) >= WORDS]


def _saying(
    store: Store, recordings: set[str], needles: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]], ref: PartRef
) -> list[tuple[int, tuple[str, ...]]]:
    """Rows of the recordings in which one of them is said whole."""
    return [(number, said) for number, _, words in _sentences(store, ref, recordings) if (said := next(within(needles, words), None))]


def _table(store: Store, ref: PartRef, splits: Mapping[str, str], found: Clusters, texts: Mapping[int, str]) -> pa.Table:
    table = read_part(store, ref)
    columns: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in ("drop_reason", "drop_detail")}
    recordings = table.column("recording_id").to_pylist()
    columns["split"] = [splits.get(recording) for recording in recordings]
    for row, recording in enumerate(recordings):
        if columns["drop_reason"][row] is not None:
            continue
        if recording in found.left_out:
            tie = found.left_out[recording]
            columns["drop_reason"][row] = TIED
            columns["drop_detail"][row] = (
                f"its recording has the {tie.kind} {tie.what!r} in common with one split and something else with another"[:500]
            )
        elif row in texts:
            columns["drop_reason"][row], columns["drop_detail"][row] = HELD_OUT, f"says what {texts[row]} says, which is held out"
    schema = extend(table.schema, Split.adds)
    return pa.table(
        [pa.array(columns[column.name], column.type) if column.name in columns else table.column(column.name) for column in schema],
        schema=schema,
    )
