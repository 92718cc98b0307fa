"""Writes a release: shards, index, checksums, card. See `manifests.release` for the layout and `plan` for who goes where.

A release that is finished never changes. One that is not goes on from the shards that are there, whenever and however the run
before it ended; `release.json` is written last.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from importlib import metadata
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile
from pydantic import Field, field_validator

from manifests.audits import newest
from manifests.corpus import CURRENT, Manifest, total
from manifests.part import PartRef, read_part
from manifests.release import (
    GROUPS,
    INDEX,
    LEAKS,
    RELEASE,
    RELEASES,
    SUBSETS,
    SUMS,
    Tally,
    read_release,
    release_folder,
)
from manifests.schema import extend
from manifests.store import Store
from manifests.takedown import COLUMNS, TAKEN_DOWN, Requests, public, read_takedowns
from pipeline.contract import CorpusContext, CorpusStage, SilverError, StageParams
from stages.pack.after import Base
from stages.pack.changes import changes
from stages.pack.codec import Codec
from stages.pack.papers import PACK_VERSION, write_papers
from stages.pack.patch import finish
from stages.pack.plan import Plan, Shard, Wanted, make_plan
from stages.pack.shards import ADDED, PLACE, Before, ShardInfo, ShardJob, finished, pack_shard, read_fragment, state_folder
from stages.pack.shuffle import gather
from stages.pack.statistics import statistics
from stages.pack.subsets import Subset, lacking

DUPLICATE = "duplicate_audio"

_CONTENT = "content"  # state file: digest of what the release is being made of
_INDEX_ROWS = 16384  # rows of a row group of the index


class Pack(CorpusStage):
    """Write the live segments as deterministic WebDataset shards with an index, checksums and a dataset card."""

    name, version = "pack", PACK_VERSION
    reads = ("audio_path",)
    adds = pa.schema([*ADDED, ("shard", pa.string()), ("shard_offset", pa.int64())])
    """`shard` is relative to the corpus root; `shard_offset` is where the audio of the segment begins in it."""
    packages: ClassVar[tuple[str, ...]] = ("soundfile", "numpy", "pyarrow", "av")

    class Params(StageParams):
        """What is in a release, and in which order."""

        version: str | None = Field(
            None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64,
            description="name of the release; by default 12 hex digits that stand for its content",
        )  # fmt: skip
        shard_seconds: float = Field(
            3600.0, gt=0, description="seconds of audio in one shard: an hour is about 60 MB of FLAC, 60000 seconds are 1 GB"
        )
        codec: Codec = Field(
            "flac",
            description="flac: every sample, copied where it can be; opus (32 kbit/s) and mp3 (64 kbit/s): smaller, lossy, encoded anew",
        )
        seed: int = Field(0, description="seed of the order of the samples")
        subsets: list[Subset] = Field(
            [], description="nested subsets of train, the smallest first: name, hours at most, when (a rule); each is a list of shards"
        )
        balance: str | None = Field(
            "channel", description="column of whose values every subset gets the same hours, as long as there are any"
        )
        unlabelled: list[str] = Field(
            [], description="stages (filter) whose drops are published without their labels, as the split `unlabelled`"
        )
        after: str | None = Field(
            None,
            description="release that this one follows: its samples stay in their shards, and shards that did not change are not written again",
        )
        text: bool = Field(False, description="write the text as KEY.txt beside the JSON as well")

        @field_validator("subsets")
        @classmethod
        def _nested(cls, subsets: list[Subset]) -> list[Subset]:
            names = [subset.name for subset in subsets]
            if len({name.lower() for name in names}) < len(names):
                msg = f"two subsets have one name: {', '.join(names)}"
                raise ValueError(msg)
            for small, large in pairwise(subsets):
                if large.hours is not None and (small.hours is None or small.hours > large.hours):
                    msg = (
                        f"{small.name} ({small.hours} hours) does not fit into {large.name} ({large.hours} hours): the smallest comes first"
                    )
                    raise ValueError(msg)
            return subsets

    params: Params

    def is_complete(self, context: CorpusContext) -> bool:
        """True while the release that the manifest speaks of is there with all its files."""
        for ref in context.previous:
            if ref.counts.live:
                shards = read_part(context.store, ref, ["shard"]).column("shard").drop_null()
                version = str(shards[0]).split("/")[1]
                release = read_release(context.store, version)
                if _said(release.get("audit", {})) != _said(newest(context.store)):
                    return False  # somebody judged the labels since: the card must say so
                if _taken_down(context.store, context.previous):
                    return False  # and this must go
                return _is_whole(context.store, version) and not context.store.exists(state_folder(version))
        return False

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Write the release, then say of every row where it went.

        Raises:
            SilverError: nothing to pack, audio that is gone, or a finished release of this version with other content.
        """
        params, audit = self.params, newest(context.store)
        base = Base.read(context.store, params.after) if params.after else None
        if params.after and params.after == params.version:
            raise SilverError(f"release {params.version} cannot follow itself: choose another pack.version or pack.after")
        splits = _splits(context.store)
        requests = Requests(tuple(read_takedowns(context.store)))
        if params.text and parts and "text" not in read_part(context.store, parts[0]).column_names:
            raise SilverError("pack.text=true needs the column text: put the stage normalise before pack")
        wanted = Wanted(
            params.seed, params.shard_seconds, tuple(params.subsets), params.balance if params.subsets else None, requests,
            tuple(params.unlabelled),
        )  # fmt: skip
        plan = make_plan(context.store, parts, wanted, base)
        content = self._content(parts, audit, base, splits, sorted(plan.taken_seconds) + sorted(plan.taken_ids))
        version = params.version or content[:12]
        for subset in params.subsets:
            if lacking(subset.hours, plan.subset_hours[subset.name]):
                context.report(f"subset {subset.name} asks for {subset.hours:g} hours, and {plan.subset_hours[subset.name]:.2f} can be had")
        finish(context.store, version)
        if plan.taken_seconds and read_release(context.store, version).get("content", content) != content:
            raise SilverError(
                f"release {version} was made before some of it was taken down, and never changes by itself: choose another {self.name}.version for the next one, "
                f"or take it out in place (silver takedown ... --now {version})"
            )
        if not _is_released(context.store, version, content):
            self._pack(version, content, plan, parts, base, context)
            self._finish(version, content, audit, plan, parts, base, splits, context)
        context.store.remove(state_folder(version))
        yield from _tables(context.store, version, plan, parts, params.codec)

    def _content(
        self, parts: Sequence[PartRef], audit: Mapping[str, Any], base: Base | None, splits: Mapping[str, Any], taken_down: Sequence[str]
    ) -> str:
        """Hex digest of all that decides what the release says: what the shards hold, and what people said of it."""
        made_of: list[Any] = [
            self.version,
            self.params.model_dump(mode="json", exclude={"version", "after"}),
            [ref.digest for ref in parts],
        ]
        made_of += [_said(audit)] if audit else []
        made_of += [["after", base.release["content"]]] if base else []
        made_of += [["splits", splits]] if splits else []
        made_of += [["taken down", *taken_down]] if taken_down else []
        return blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()

    def _pack(self, version: str, content: str, plan: Plan, parts: Sequence[PartRef], base: Base | None, context: CorpusContext) -> None:
        store = context.store
        store.write(f"{state_folder(version)}/{_CONTENT}", content.encode())
        done = finished(store, version, [shard.path for shard in plan.shards])
        if len(done) == len(plan.shards):
            return
        gathered = gather(store, f"{state_folder(version)}/rows", plan, parts, context.map)
        text, codec = self.params.text, self.params.codec
        jobs = (
            ShardJob(store, version, rows, shard.path, shard.split, text, shard.subsets, codec, self._before(base, shard))
            for rows, shard in zip(gathered, plan.shards, strict=True)
            if shard.path not in done
        )
        for number, _ in enumerate(context.map(pack_shard, jobs), len(done) + 1):
            context.report(f"release {version}: {number} of {len(plan.shards)} shards")

    def _before(self, base: Base | None, shard: Shard) -> Before | None:
        """The shard of that name in the release before, if it was packed in the same way."""
        if base is None or shard.path not in base.shards or base.release.get("format") != self._format():
            return None
        info = base.release["shards"][base.shards[shard.path]]
        return Before(base.version, base.rows(shard.path), ShardInfo(**info))

    def _format(self) -> dict[str, Any]:
        """What decides the bytes of a shard beside its rows."""
        return {"pack": self.version, "text": self.params.text, "codec": self.params.codec}

    def _finish(
        self, version: str, content: str, audit: Mapping[str, Any], plan: Plan, parts: Sequence[PartRef], base: Base | None,
        splits: Mapping[str, Any], context: CorpusContext,
    ) -> None:  # fmt: skip
        """Index, and all that goes with it; see `papers`."""
        store, folder = context.store, release_folder(version)
        infos, tally, schema = _write_index(store, version, [shard.path for shard in plan.shards])
        before = total(parts)
        left = {
            reason: (rows - plan.returned.get(reason, (0, 0.0))[0], seconds - plan.returned.get(reason, (0, 0.0))[1])
            for reason, (rows, seconds) in before.dropped.items()
        }
        dropped = {reason: {"rows": rows, "hours": round(seconds / 3600, 4)} for reason, (rows, seconds) in sorted(left.items()) if rows}
        if again := sum(map(len, plan.duplicates.values())):
            dropped[f"{self.name}:{DUPLICATE}"] = {"rows": again, "hours": round(plan.duplicate_seconds / 3600, 4)}
        if gone := plan.taken_seconds:
            rows, seconds = (sum(some) for some in zip(*gone.values(), strict=True))
            dropped[f"{self.name}:{TAKEN_DOWN}"] = {"rows": rows, "hours": round(seconds / 3600, 4)}
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
            **({"subsets": self._subsets(plan)} if self.params.subsets else {}),
            **({key: splits[key] for key in ("splits", "leaks")} if splits else {}),
            **(
                {
                    "after": base.version,
                    "changes": changes(store, version, base.version, base.release.get("changes", ()), parts, plan.taken_ids),
                }
                if base
                else {}
            ),
            "format": self._format(),
            "dropped": dropped,
            **({"takedowns": public(plan.taken_seconds, read_takedowns(store))} if plan.taken_seconds else {}),
            **({"audit": audit} if audit else {}),
            "members": [self.params.codec, "json", *(["txt"] if self.params.text else [])],
            "shards": [asdict(info) for info in infos],
            "statistics": statistics(store, f"{folder}/{INDEX}"),
        }
        write_papers(store, folder, release, schema)

    def _subsets(self, plan: Plan) -> dict[str, Any]:
        return {
            subset.name: {"asked": subset.hours, "when": subset.when, "hours": round(plan.subset_hours[subset.name], 4)}
            for subset in self.params.subsets
        }


def _splits(store: Store) -> dict[str, Any]:
    """How the splits were made, and which leaks were found, as the stage `split` wrote it down; nothing without that stage."""
    for info in _stages(store):
        path = f"manifests/{info['stage']}/{info['fingerprint']}/{LEAKS}"
        if store.exists(path):
            told = json.loads(store.read(path))
            return {"splits": {key: told[key] for key in ("by", "splits", "against")}, "leaks": told["leaks"]}
    return {}


def _said(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit says, whenever it was read: reading the same sheet again changes nothing."""
    return {key: value for key, value in audit.items() if key != "read"}


def _taken_down(store: Store, parts: Sequence[PartRef]) -> bool:
    """Whether something that these parts say is in a shard falls under a request, with a label or without."""
    requests = Requests(tuple(read_takedowns(store)))
    tables = (read_part(store, ref, [*COLUMNS, "shard"]) for ref in parts if requests.takedowns)
    return any(requests.among(table.filter(pc.is_valid(table.column("shard")))) for table in tables)


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
            counted = [name for name in (*GROUPS, SUBSETS, "audio_language", "duration") if name in table.column_names]
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


def _tables(store: Store, version: str, plan: Plan, parts: Sequence[PartRef], codec: str) -> Iterator[pa.Table]:
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
            place: tuple[Any, ...] = (shard.split, list(shard.subsets), codec, f"{folder}/{shard.path}", int(offsets[sample]))
            for name, value in zip(Pack.adds.names, place, strict=True):
                columns[name][row] = value
        for row, kept in plan.duplicates.get(number, {}).items():
            columns["drop_reason"][row] = DUPLICATE
            columns["drop_detail"][row] = f"the same audio was acquired as {kept}, which stays"[:500]
        for row, request in plan.taken_down.get(number, {}).items():
            columns["drop_reason"][row], columns["drop_detail"][row] = TAKEN_DOWN, request.told[:500]
        schema = extend(table.schema, Pack.adds)
        yield pa.table(
            [pa.array(columns[column.name], column.type) if column.name in columns else table.column(column.name) for column in schema],
            schema=schema,
        )
