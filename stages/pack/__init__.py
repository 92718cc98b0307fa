"""Writes a release: shards, index, checksums, card. See `manifests.release` for the layout and `plan` for who goes where.

A release that is finished never changes. One that is not goes on from the shards that are there, whenever and however the run
before it ended; `release.json` is written last.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from importlib import metadata
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from pydantic import Field, field_validator, model_validator

from manifests.audits import newest
from manifests.corpus import CURRENT, Manifest, total
from manifests.part import PartRef, read_part
from manifests.release import CARD, CROISSANT, GROUPS, INDEX, RELEASE, RELEASES, SUMS, Tally, read_release, release_folder, sha256, sums
from manifests.schema import extend
from manifests.store import Store
from pipeline.contract import CorpusContext, CorpusStage, SilverError, StageParams
from stages.pack.card import card
from stages.pack.croissant import croissant
from stages.pack.figures import figures
from stages.pack.plan import TRAIN, Plan, make_plan
from stages.pack.shards import ADDED, PLACE, ShardInfo, ShardJob, finished, pack_shard, read_fragment, state_folder, write_plan
from stages.pack.statistics import statistics

DUPLICATE = "duplicate_audio"

_CONTENT = "content"  # state file: digest of what the release is being made of
_INDEX_ROWS = 16384  # rows of a row group of the index


class Pack(CorpusStage):
    """Write the live segments as deterministic WebDataset shards with an index, checksums and a dataset card."""

    name, version = "pack", "3"
    reads = ("audio_path",)
    adds = pa.schema([*ADDED, ("shard", pa.string()), ("shard_offset", pa.int64())])
    """`shard` is relative to the corpus root; `shard_offset` is where the FLAC of the segment begins in it."""
    packages: ClassVar[tuple[str, ...]] = ("soundfile", "numpy", "pyarrow")

    class Params(StageParams):
        """What is in a release, and in which order."""

        version: str | None = Field(
            None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64,
            description="name of the release; by default 12 hex digits that stand for its content",
        )  # fmt: skip
        shard_seconds: float = Field(3600.0, gt=0, description="seconds of audio in one shard (an hour is about 60 MB)")
        seed: int = Field(0, description="seed of the order of the samples and of the splits")
        splits: dict[str, float] = Field({}, description="share of each split beside train, e.g. {dev: 0.01, test: 0.01}; none by default")
        split_by: Literal["channel", "recording"] = Field(
            "channel", description="what stays together in one split: all recordings of a channel (where there is one), or each recording"
        )
        text: bool = Field(False, description="write the text as KEY.txt beside the JSON as well")

        @field_validator("splits")
        @classmethod
        def _names(cls, splits: dict[str, float]) -> dict[str, float]:
            for name, share in splits.items():
                if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name == TRAIN:
                    msg = f"{name!r} cannot be the name of a split: lower-case letters, digits and '_'; {TRAIN} is what the others leave"
                    raise ValueError(msg)
                if not 0 < share < 1:
                    msg = f"the share of {name} must be between 0 and 1, not {share}"
                    raise ValueError(msg)
            return splits

        @model_validator(mode="after")
        def _shares(self) -> Pack.Params:
            if sum(self.splits.values()) >= 1:
                msg = f"the splits leave nothing to {TRAIN}: their shares sum up to {sum(self.splits.values()):g}"
                raise ValueError(msg)
            return self

    params: Params

    def is_complete(self, context: CorpusContext) -> bool:
        """True while the release that the manifest speaks of is there with all its files."""
        for ref in context.previous:
            if ref.counts.live:
                shards = read_part(context.store, ref, ["shard"]).column("shard").drop_null()
                version = str(shards[0]).split("/")[1]
                if _said(read_release(context.store, version).get("audit", {})) != _said(newest(context.store)):
                    return False  # somebody judged the labels since: the card must say so
                return _is_whole(context.store, version) and not context.store.exists(state_folder(version))
        return False

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Write the release, then say of every row where it went.

        Raises:
            SilverError: nothing to pack, audio that is gone, or a finished release of this version with other content.
        """
        params, audit = self.params, newest(context.store)
        content = self._content(parts, audit)
        if params.text and parts and "text" not in read_part(context.store, parts[0]).column_names:
            raise SilverError("pack.text=true needs the column text: put the stage normalise before pack")
        version = params.version or content[:12]
        plan = make_plan(context.store, parts, params.seed, params.splits, params.split_by, params.shard_seconds)
        for split in {TRAIN, *params.splits} - {shard.split for shard in plan.shards}:
            context.report(f"no recording fell into {split}: with so few, pack.split_by=recording or larger shares may do")
        if not _is_released(context.store, version, content):
            self._pack(version, content, plan, parts, context)
            self._finish(version, content, audit, plan, parts, context)
        context.store.remove(state_folder(version))
        yield from _tables(context.store, version, plan, parts)

    def _content(self, parts: Sequence[PartRef], audit: Mapping[str, Any]) -> str:
        """Hex digest of all that decides what the release says: what the shards hold, and what people said of it."""
        made_of = [self.version, self.params.model_dump(mode="json", exclude={"version"}), [ref.digest for ref in parts]]
        made_of += [_said(audit)] if audit else []
        return blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()

    def _pack(self, version: str, content: str, plan: Plan, parts: Sequence[PartRef], context: CorpusContext) -> None:
        store = context.store
        write_plan(store, version, plan, parts)
        store.write(f"{state_folder(version)}/{_CONTENT}", content.encode())
        done = finished(store, version, [shard.path for shard in plan.shards])
        jobs = [
            ShardJob(store, version, number, shard.path, shard.split, self.params.text)
            for number, shard in enumerate(plan.shards)
            if shard.path not in done
        ]
        for number, _ in enumerate(context.map(pack_shard, jobs), len(done) + 1):
            context.report(f"release {version}: {number} of {len(plan.shards)} shards")

    def _finish(
        self, version: str, content: str, audit: Mapping[str, Any], plan: Plan, parts: Sequence[PartRef], context: CorpusContext
    ) -> None:
        """Index, figures, card, Croissant record, checksums, and last of all `release.json`."""
        store, folder = context.store, release_folder(version)
        infos, tally, schema = _write_index(store, version, [shard.path for shard in plan.shards])
        before = total(parts)
        dropped = {reason: {"rows": rows, "hours": round(seconds / 3600, 4)} for reason, (rows, seconds) in sorted(before.dropped.items())}
        if again := sum(map(len, plan.duplicates.values())):
            dropped[f"{self.name}:{DUPLICATE}"] = {"rows": again, "hours": round(plan.duplicate_seconds / 3600, 4)}
        stages = _stages(store)
        release = {
            "version": version,
            "content": content,
            "fingerprint": context.fingerprint,
            "recipe": {key: value for key, value in context.recipe.items() if key != "root"},  # where it was made is nobody's business
            "stages": [
                {key: info[key] for key in ("stage", "version", "fingerprint", "identity", "parameters", "surveyed") if key in info}
                for info in stages
            ],
            "software": _software(self.packages, stages),
            "rows": before.rows,
            "counts": tally.counts(),
            "dropped": dropped,
            **({"audit": audit} if audit else {}),
            "members": ["flac", "json", *(["txt"] if self.params.text else [])],
            "shards": [asdict(info) for info in infos],
            "statistics": statistics(store, version),
        }
        record = json.dumps(release, indent=1, ensure_ascii=False, default=str).encode()
        stated = json.loads(record)
        written = {path: svg.encode() for path, (_, svg) in figures(stated).items()} | {CARD: card(stated, schema).encode()}
        digests = {info.path: info.sha256 for info in infos} | {INDEX: sha256(store, f"{folder}/{INDEX}")}
        written[CROISSANT] = json.dumps(croissant(stated, schema, digests), indent=1, ensure_ascii=False).encode()
        for path, data in written.items():
            store.write(f"{folder}/{path}", data)
            digests[path] = hashlib.sha256(data).hexdigest()
        store.write(f"{folder}/{SUMS}", sums(digests | {RELEASE: hashlib.sha256(record).hexdigest()}))
        store.write(f"{folder}/{RELEASE}", record)


def _said(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit says, whenever it was read: reading the same sheet again changes nothing."""
    return {key: value for key, value in audit.items() if key != "read"}


def _is_whole(store: Store, version: str) -> bool:
    """True if the release is finished and all its files are there."""
    if not (release := read_release(store, version)):
        return False
    folder = release_folder(version)
    if not store.exists(f"{folder}/{SUMS}"):
        return False
    listed = {line[66:] for line in store.read(f"{folder}/{SUMS}").decode("utf-8", "replace").splitlines()}
    folders = {path.rpartition("/")[0] for path in listed}
    there = {f"{inside}/{name}".lstrip("/") for inside in folders for name in store.names(f"{folder}/{inside}".rstrip("/"))}
    return there >= listed | {shard["path"] for shard in release["shards"]}


def _is_released(store: Store, version: str, content: str) -> bool:
    """True if there is nothing left to write. What cannot be gone on from is removed: a release begun with other content, or one with files lost."""
    release = read_release(store, version)
    if release and release["content"] != content:
        raise SilverError(f"release {version} exists with other content and never changes: choose another pack.version, or none")
    if _is_whole(store, version):
        return True
    folder = release_folder(version)
    store.remove(f"{folder}/{RELEASE}")
    for name in store.names(RELEASES):
        state = state_folder(name)
        if name != version and store.exists(state) and not store.exists(f"{release_folder(name)}/{RELEASE}"):
            store.remove(release_folder(name))  # a run was killed and its corpus then changed: nobody goes on from there
    marker = f"{state_folder(version)}/{_CONTENT}"
    if not store.exists(marker) or store.read(marker) != content.encode():
        store.remove(folder)
    return False


def _write_index(store: Store, version: str, shards: Sequence[str]) -> tuple[list[ShardInfo], Tally, pa.Schema]:
    """Join the fragments, in order. Gives the shards, their counts, and the columns that KEY.json has."""
    infos, tally, waiting = [], Tally(), []
    writer = None
    with ExitStack() as stack:
        path = stack.enter_context(store.staged(f"{release_folder(version)}/{INDEX}"))
        for shard in shards:
            table, info = read_fragment(store, version, shard)
            infos.append(info)
            counted = [name for name in (*GROUPS, "audio_language", "duration") if name in table.column_names]
            for row in table.select(counted).to_pylist():
                tally.add(row)
            if writer is None:
                schema = table.schema
                writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
            waiting.append(table)
            if shard == shards[-1] or sum(map(len, waiting)) >= _INDEX_ROWS:
                writer.write_table(pa.concat_tables(waiting), row_group_size=_INDEX_ROWS)
                waiting = []
    return infos, tally, pa.schema([column for column in schema if column.name not in PLACE.names])


def _stages(store: Store) -> list[dict[str, Any]]:
    """`_stage.json` of every stage of the recipe that has run."""
    current = json.loads(store.read(CURRENT))["stages"] if store.exists(CURRENT) else []
    return [info for entry in current if (info := Manifest(store, entry["stage"], entry["fingerprint"]).info())]


def _software(own: Sequence[str], stages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Versions of all packages that had a part in it; two where a stage ran before an upgrade."""
    versions: dict[str, set[str]] = {name: {metadata.version(name)} for name in own}
    versions |= {"python": {platform.python_version()}, "libsndfile": {soundfile.__libsndfile_version__}}
    for info in stages:
        for name, version in info["software"].items():
            versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found)) for name, found in sorted(versions.items())}


def _tables(store: Store, version: str, plan: Plan, parts: Sequence[PartRef]) -> Iterator[pa.Table]:
    """The rows of each input part with where they went."""
    folder = release_folder(version)
    with store.open(f"{folder}/{INDEX}") as handle:
        offsets = pq.read_table(handle, columns=["offset"]).column(0).to_numpy()
    shard_of = np.repeat(np.arange(len(plan.shards)), [shard.last - shard.first for shard in plan.shards])
    order = np.argsort(plan.part, kind="stable")
    bounds = np.searchsorted(plan.part[order], np.arange(len(parts) + 1))
    for number, ref in enumerate(parts):
        table = read_part(store, ref)
        columns: dict[str, list[Any]] = {name: [None] * len(table) for name in Pack.adds.names}
        columns |= {name: table.column(name).to_pylist() for name in ("drop_reason", "drop_detail")}
        for sample in order[bounds[number] : bounds[number + 1]]:
            row, shard = plan.row[sample], plan.shards[shard_of[sample]]
            place: tuple[Any, ...] = (shard.split, [], f"{folder}/{shard.path}", int(offsets[sample]))
            for name, value in zip(Pack.adds.names, place, strict=True):
                columns[name][row] = value
        for row, kept in plan.duplicates.get(number, {}).items():
            columns["drop_reason"][row] = DUPLICATE
            columns["drop_detail"][row] = f"the same audio was acquired as {kept}, which stays"[:500]
        schema = extend(table.schema, Pack.adds)
        yield pa.table(
            [pa.array(columns[column.name], column.type) if column.name in columns else table.column(column.name) for column in schema],
            schema=schema,
        )
