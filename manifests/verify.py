"""Reads a release back: every file against its checksum, every sample against the index, every count against the shards."""

from __future__ import annotations

import io
import json
import math
import os
import tarfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from manifests.corpus import connect, select_files
from manifests.release import (
    INDEX,
    PLACES,
    RELEASE,
    RELEASES,
    SUMS,
    TRAIN,
    UNLABELLED,
    Tally,
    audio_format,
    is_shard,
    read_release,
    release_folder,
    sha256,
    sums,
)
from manifests.store import Store

DECODED = 20
"""One sample in so many is decoded when not all are: the checksums say that the others are what was packed."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the file (relative to the release), the sample if it is one, and what."""

    file: str
    key: str
    problem: str

    def __str__(self) -> str:
        """On one line.

        >>> print(Finding("train/train-000000.tar", "", "is not there"))
        train/train-000000.tar: is not there
        """
        return f"{self.file}{f' {self.key}' if self.key else ''}: {self.problem}"


HELD_WORDS = 6
"""Words from which on a text of dev or test must not be one of train too, where the splits were made by text; see `stages.split`."""


def verify_release(store: Store, version: str, *, fast: bool = False, decode: bool = False) -> Iterator[Finding]:
    """What is wrong with a release of a corpus; nothing if all is well. `fast` compares checksums and does not look into the shards; `decode` decodes the audio
    of all samples, and not of one in `DECODED` (of the others, length, rate and channels are taken from the head).

    >>> import tempfile
    >>> [str(finding) for finding in verify_release(Store(tempfile.mkdtemp()), "v1")]
    ['release.json: is not there: the release does not exist, or was never finished (run pack again)']
    """
    found = list(verify_folder(store, release_folder(version), fast=fast, decode=decode))
    yield from found
    if not any(finding.file in {RELEASE, SUMS} for finding in found):
        release = read_release(store, version)
        if release["version"] != version:
            yield Finding(RELEASE, "", f"is that of release {release['version']}")
        yield from _conservation(store, release)


def verify_folder(store: Store, folder: str, *, fast: bool = False, decode: bool = False) -> Iterator[Finding]:
    """The same of a release wherever it lies, `folder` relative to the store, by its files alone."""
    if not store.exists(f"{folder}/{RELEASE}"):
        yield Finding(RELEASE, "", "is not there: the release does not exist, or was never finished (run pack again)")
        return
    stated: dict[str, str] = {}
    damaged = set()
    for finding in _files(store, folder, stated):
        damaged.add(finding.file)
        yield finding
    if damaged & {RELEASE, SUMS}:
        return  # there is nothing left to compare the shards with
    try:
        yield from _told(store, folder, json.loads(store.read(f"{folder}/{RELEASE}")), stated, fast=fast, decode=decode)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield Finding(RELEASE, "", f"does not say what pack writes: {type(error).__name__}: {error}")


def _told(
    store: Store, folder: str, release: Mapping[str, Any], stated: Mapping[str, str], *, fast: bool, decode: bool
) -> Iterator[Finding]:
    """What `release.json` says, against the checksums and the shards."""
    shards = {shard["path"]: shard["sha256"] for shard in release["shards"]}
    if {path: digest for path, digest in stated.items() if is_shard(path)} != shards:
        yield Finding(RELEASE, "", f"lists other shards than {SUMS}")
    dropped = sum(group["rows"] for group in release["dropped"].values())
    if release["rows"] != release["counts"]["samples"] + dropped:
        yield Finding(RELEASE, "", f"{release['rows']} rows, but {release['counts']['samples']} samples and {dropped} dropped")
    if not fast:
        yield from _contents(store, folder, release, decode=decode)
        if "text" in release.get("splits", {}).get("by", ()):
            yield from _texts(store, f"{folder}/{INDEX}")


def _conservation(store: Store, release: Mapping[str, Any]) -> Iterator[Finding]:
    """The samples against the manifest that they were packed from, where it is still there. What was patched since has fewer."""
    for stage in store.names("manifests"):
        path = f"manifests/{stage}/{release['fingerprint']}/_SUCCESS"
        if release.get("patches") or not store.exists(path):
            continue
        live = sum(part["counts"]["live"] for part in json.loads(store.read(path))["parts"])
        samples = release["counts"]["samples"] - release["counts"]["split"].get(UNLABELLED, {"samples": 0})["samples"]
        if live != samples:
            yield Finding(RELEASE, "", f"{samples} samples with labels, but the manifest of {stage} has {live} live rows")


def touched(store: Store, version: str) -> Iterator[Finding]:
    """What somebody did to a finished release by hand, as far as it is seen without reading the shards: files that are gone, are there beside it, or are others."""
    yield from _files(store, release_folder(version), {}, shards=False)


def _texts(store: Store, index: str) -> Iterator[Finding]:
    """Texts of train that are word for word those of a split that is held out. Whether a longer one contains them, `split` looked at."""
    with connect() as connection:
        if not store.local:
            connection.register_filesystem(store.fs)
        rows = select_files(store, [index])
        columns = {row[0] for row in connection.execute(f"DESCRIBE {rows}").fetchall()}
        if "text" not in columns:
            return
        query = f"""
            WITH rows AS (SELECT key, shard, split, lower(trim(text)) AS text FROM ({rows}) WHERE len(string_split(trim(text), ' ')) >= {HELD_WORDS})
            SELECT train.shard, train.key, held.key FROM rows AS train JOIN rows AS held USING (text)
            WHERE train.split = '{TRAIN}' AND held.split NOT IN ('{TRAIN}', '{UNLABELLED}') ORDER BY ALL"""
        for shard, key, other in connection.execute(query).fetchall():
            yield Finding(shard, key, f"says what {other} says, which is held out")


def _files(store: Store, folder: str, stated: dict[str, str], *, shards: bool = True) -> Iterator[Finding]:
    """Every file (of shards only whether they are there, if so asked) against its checksum, and no file beside them. Fills `stated` with what SHA256SUMS says."""
    there = set(_walk(store, folder))
    text = store.read(f"{folder}/{SUMS}") if SUMS in there else b""
    stated |= {line[66:]: line[:64] for line in text.decode("utf-8", "replace").splitlines()}
    if not text or text != sums(stated) or RELEASE not in stated:
        yield Finding(SUMS, "", "is not there, or not what pack writes")
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashlib lets go of the interpreter
        both = sorted(path for path in stated.keys() & there if shards or not is_shard(path))
        digests = dict(zip(both, threads.map(lambda path: sha256(store, f"{folder}/{path}"), both), strict=True))
    for path in sorted(stated.keys() | (there - {SUMS})):
        if path not in there:
            yield Finding(path, "", "is not there")
        elif path not in stated:
            yield Finding(path, "", f"is not in {SUMS}")
        elif (digest := digests.get(path, stated[path])) != stated[path]:
            yield Finding(path, "", f"has sha256 {digest}, {SUMS} says {stated[path]}")


def _walk(store: Store, folder: str, inside: str = "") -> Iterator[str]:
    """All files of a release, relative to it."""
    for name in store.names(f"{folder}/{inside}".rstrip("/")):
        path = f"{inside}{name}"
        if store.fs.isdir(store.path(f"{folder}/{path}")):
            yield from _walk(store, folder, f"{path}/")
        else:
            yield path


@dataclass
class _Seen:
    """What the shards before held."""

    decode: bool = False
    tally: Tally = field(default_factory=Tally)
    keys: set[str] = field(default_factory=set)
    split_of: dict[str, str] = field(default_factory=dict)  # recording to split
    audio: str = "flac"  # ending of the audio
    inside: list[str] = field(default_factory=list)  # subsets of all samples of the shard that is read
    apart: tuple[str, ...] = ()  # what else may not be in two splits: channel, speaker
    split_of_unit: dict[tuple[str, str], str] = field(default_factory=dict)
    subsets: dict[str, float] = field(default_factory=dict)  # seconds of each, from the smallest to the largest


def _contents(store: Store, folder: str, release: Mapping[str, Any], *, decode: bool) -> Iterator[Finding]:
    seen = _Seen(
        decode=decode, audio=audio_format(release), apart=_apart(release), subsets=dict.fromkeys(release.get("subsets") or {}, 0.0)
    )
    try:
        with store.open(f"{folder}/{INDEX}") as handle:
            index = groupby(_index(handle), key=lambda row: row["shard"])
            following = next(index, None)
            for shard in release["shards"]:
                if following is not None and following[0] == shard["path"]:
                    rows = list(following[1])
                    following = next(index, None)
                else:
                    rows = []
                seen.inside = shard["subsets"]
                yield from _shard(store, folder, shard, sorted(release["members"]), rows, seen)
            if following is not None:
                yield Finding(INDEX, "", f"the rows of {following[0]} are not where they belong")
    except (FileNotFoundError, pa.ArrowException, OSError) as error:
        yield Finding(INDEX, "", f"cannot be read, so the shards were not looked into: {error}")
        return
    counts, stated = seen.tally.counts(), release["counts"]
    for name in sorted(counts.keys() | stated.keys()):
        if counts.get(name) != stated.get(name):
            yield Finding(RELEASE, "", f"counts of {name}: {stated.get(name)}, but the shards hold {counts.get(name)}")
    for name, seconds in seen.subsets.items():
        hours, said = round(seconds / 3600, 4), release["subsets"][name].get("hours")
        if said != hours:
            yield Finding(RELEASE, "", f"subset {name}: {said} h, but the shards hold {hours} h")


def _apart(release: Mapping[str, Any]) -> tuple[str, ...]:
    """What the splits were made by, beside the recording."""
    by = release.get("splits", {}).get("by", ())
    waived = {leak["kind"] for leak in release.get("leaks", ()) if leak["set"] == RELEASES and leak["waived"]}
    return tuple(name for name in ("channel", "speaker") if name in by and name not in waived)


def _index(handle: BinaryIO) -> Iterator[dict[str, Any]]:
    """Rows of the index: where a sample lies, and what its JSON says in columns that hold one value each (of single precision, the JSON has other digits)."""
    file = pq.ParquetFile(handle)
    plain = [
        column.name
        for column in file.schema_arrow
        if column.name in PLACES or pa.types.is_string(column.type) or pa.types.is_float64(column.type) or pa.types.is_integer(column.type)
    ]
    for batch in file.iter_batches(columns=plain, batch_size=4096):
        yield from batch.to_pylist()


def _shard(
    store: Store, folder: str, shard: Mapping[str, Any], members: list[str], index: list[dict[str, Any]], seen: _Seen
) -> Iterator[Finding]:
    path = shard["path"]
    samples, seconds, rows = 0, 0.0, iter(index)
    try:
        with store.open(f"{folder}/{path}") as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
            for key, group in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                named = [(member.name.partition(".")[2], member) for member in group]
                samples, row = samples + 1, next(rows, None)
                if (names := sorted(name for name, _ in named)) != members:
                    yield Finding(path, key, f"has the members {', '.join(names)}; expected {', '.join(members)}")
                    continue
                found = dict(named)
                if key in seen.keys:
                    yield Finding(path, key, "is there twice")
                seen.keys.add(key)
                data = {name: _read(handle, member) for name, member in found.items()}
                try:
                    seconds += yield from _sample(path, key, data, row or {}, seen)
                except (KeyError, TypeError, ValueError) as error:
                    yield Finding(path, key, f"its JSON cannot be used: {type(error).__name__}: {error}")
                yield from _place(path, key, found[seen.audio], found["json"], row)
    except (FileNotFoundError, tarfile.TarError, OSError) as error:
        yield Finding(path, "", f"cannot be read: {error}")
        return
    if left := list(rows):
        yield Finding(path, "", f"{INDEX} has {len(left)} more samples")
    if (size := store.fs.size(store.path(f"{folder}/{path}"))) != shard["bytes"]:
        yield Finding(path, "", f"has {size} bytes; {RELEASE} says {shard['bytes']}")
    if samples != shard["samples"] or seconds != shard["seconds"]:
        yield Finding(path, "", f"holds {samples} samples, {seconds:g} s; {RELEASE} says {shard['samples']}, {shard['seconds']:g} s")


def _read(handle: BinaryIO, member: tarfile.TarInfo) -> bytes:
    handle.seek(member.offset_data)
    return handle.read(member.size)


def _sample(path: str, key: str, data: Mapping[str, bytes], index: Mapping[str, Any], seen: _Seen) -> Generator[Finding, None, float]:
    """One sample; returns its seconds. Raises ValueError, KeyError or TypeError for JSON that is none."""
    row = json.loads(data["json"])
    yield from _same(path, key, row, data.get("txt"), index)
    if row["segment_id"] != key:
        yield Finding(path, key, f"its JSON is that of {row['segment_id']}")
    if row["split"] != path.partition("/")[0]:
        yield Finding(path, key, f"its JSON says split {row['split']}")
    split = TRAIN if row["split"] == UNLABELLED else row["split"]
    if (other := seen.split_of.setdefault(row["recording_id"], split)) != split:
        yield Finding(path, key, f"recording {row['recording_id']} is in {other} too")
    for name in seen.apart:
        if (unit := row.get(name)) and (
            other := seen.split_of_unit.setdefault((name, " ".join(str(unit).casefold().split())), split)
        ) != split:
            yield Finding(path, key, f"{name} {unit} is in {other} too")
    yield from _subsets(path, key, row, seen)
    seen.tally.add(row)
    try:
        length, rate, channels = _heard(data[seen.audio], whole=seen.decode or zlib.crc32(key.encode()) % DECODED == 0)
    except soundfile.LibsndfileError as error:
        yield Finding(path, key, f"its {seen.audio.upper()} does not decode: {error}")
    else:
        if channels != 1 or abs(length - row["duration"] * rate) > 1.5:
            yield Finding(
                path,
                key,
                f"its {seen.audio.upper()} holds {length} samples at {rate} Hz, {channels} channel(s); its JSON says {row['duration']} s",
            )
    return float(row["duration"])


def _same(path: str, key: str, row: Mapping[str, Any], text: bytes | None, index: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether JSON, index and text file say the same of a sample."""
    missing = {name for name, value in index.items() if isinstance(value, float) and math.isnan(value)}  # JSON has no NaN
    if index.get("key") == key:
        others = [name for name, value in index.items() if name not in PLACES and row[name] != (None if name in missing else value)]
        if others:
            yield Finding(path, key, f"{INDEX} has another {', '.join(others)} than its JSON")
    if text is not None and text.decode() != (row["text"] or ""):
        yield Finding(path, key, "its text is not that of its JSON")


def _heard(data: bytes, *, whole: bool) -> tuple[int, int, int]:
    """Samples, hertz and channels: decoded, or by the head of the file."""
    if whole:
        audio, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        return len(audio), rate, audio.shape[1]
    info = soundfile.info(io.BytesIO(data))
    return info.frames, info.samplerate, info.channels


def _subsets(path: str, key: str, row: Mapping[str, Any], seen: _Seen) -> Iterator[Finding]:
    """A sample of a subset is one of all larger subsets, and of train; a shard is of the same subsets as its samples."""
    named, order = set(row.get("subsets") or ()), list(seen.subsets)
    if named != set(seen.inside):
        yield Finding(path, key, f"is in the subsets {sorted(named)}; {RELEASE} says of the shard {seen.inside}")
    if not order or not named:
        return
    for name in sorted(named - seen.subsets.keys()):
        yield Finding(path, key, f"is in the subset {name}, which {RELEASE} does not have")
    if row["split"] != "train":
        yield Finding(path, key, f"is in a subset, but in the split {row['split']}: subsets are of train")
    within = [name in named for name in order]
    if within != sorted(within):
        yield Finding(path, key, f"is in {', '.join(n for n in order if n in named)}, but not in every larger subset")
    for name in named & seen.subsets.keys():
        seen.subsets[name] += row["duration"]


def _place(path: str, key: str, audio: tarfile.TarInfo, record: tarfile.TarInfo, row: Mapping[str, Any] | None) -> Iterator[Finding]:
    place = {
        "key": key, "shard": path, "offset": audio.offset_data, "size": audio.size, "json_offset": record.offset_data, "json_size": record.size,
    }  # fmt: skip
    said = row and {name: row[name] for name in PLACES}
    if said != place:
        yield Finding(path, key, f"{INDEX} says {said}, the shard has {place}")
