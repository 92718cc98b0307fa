"""Writes one shard: the audio, the text and the record of its samples in a tar, the same bytes for the same plan.

Beside the shard goes a fragment of the index, which also says that the shard is done. Both are committed whole, the shard first.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile

from manifests.release import STATE, UNLABELLED, release_folder, sha256
from manifests.schema import DROP, Row
from manifests.store import Store
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE, read_audio
from stages.pack.after import same_shard
from stages.pack.codec import Codec, encode_lossy
from stages.pack.flac import cut
from stages.pack.shuffle import rows_of
from stages.pack.tar import Tar

INTERNAL = (*DROP, "audio_path", "media_uri", "media_version")
"""Columns that mean nothing outside the corpus root."""

PLACE = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),  # relative to the release
        ("offset", pa.int64()),  # of the bytes of the audio (KEY.flac) in the shard
        ("size", pa.int64()),
        ("json_offset", pa.int64()),  # of the bytes of KEY.json
        ("json_size", pa.int64()),
    ]
)
"""Columns of the index before those of the segments."""

ADDED = pa.schema([("split", pa.string()), ("subsets", pa.list_(pa.string())), ("audio_format", pa.string())])

LABEL_COLUMNS = ("labels", "words", "train_text", "student_text")
"""Beside the tiers (`text...`): what is not said of a sample without a label."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
_FOOTER = b"silver"
_READ = ("segment_id", "source_uri", "audio_path", "start", "end", "duration")


@dataclass(frozen=True)
class ShardInfo:
    """One shard as `release.json` lists it."""

    path: str
    sha256: str
    bytes: int
    samples: int
    seconds: float
    subsets: list[str]
    """Subsets that all samples of the shard are in, from the smallest on."""


@dataclass(frozen=True)
class Before:
    """The shard of this name in the release before: where its rows are in the index of that release, and what `release.json` says of it."""

    version: str
    rows: tuple[int, int]
    info: ShardInfo


@dataclass(frozen=True)
class ShardJob:
    """All that a worker needs to know."""

    store: Store
    version: str
    rows: tuple[str, int]
    """File that holds the rows, and number of the row group; see `stages.pack.shuffle`."""
    path: str
    split: str
    text: bool
    subsets: tuple[str, ...] = ()
    codec: Codec = "flac"
    before: Before | None = None


def state_folder(version: str) -> str:
    """Folder of what a release needs only while it is made."""
    return f"{release_folder(version)}/{STATE}"


def fragment_path(version: str, shard: str) -> str:
    """The part of the index that belongs to a shard (its name begins with its split, so it is the only one)."""
    return f"{state_folder(version)}/{shard.rpartition('/')[2].removesuffix('.tar')}.parquet"


def pack_shard(job: ShardJob) -> str:
    """Write a shard and its fragment of the index.

    Raises:
        SilverError: the audio of a segment is missing, damaged or too short.
    """
    table = rows_of(job.store, *job.rows)
    public = table.drop_columns([name for name in INTERNAL if name in table.column_names])
    for column, value in zip(ADDED, (job.split, list(job.subsets), job.codec), strict=True):
        public = _set(public, column, pa.array([value] * len(table), column.type))
    if job.split == UNLABELLED:
        public, table = (_without_labels(some) for some in (public, table))
    if job.before and (same := same_shard(job.store, job.before.version, job.before.rows, public)) is not None:
        before = f"{release_folder(job.before.version)}/{job.path}"
        if not job.store.exists(before) or sha256(job.store, before) != job.before.info.sha256:
            raise SilverError(
                f"{job.store.uri(before)} is not what it was when release {job.before.version} was made: bring it back from a copy, "
                "or make a release that follows none (silver release ... --after none)"
            )
        job.store.copy(before, f"{release_folder(job.version)}/{job.path}")
        _write_fragment(job, same.select(PLACE.names), public, job.before.info)
        return job.path
    places: dict[str, list[Any]] = {name: [] for name in PLACE.names}
    seconds = 0.0
    with job.store.staged(f"{release_folder(job.version)}/{job.path}") as path, path.open("wb") as handle:
        tar = Tar(handle)
        rows = table.select([*_READ, *(["text"] if job.text else [])]).to_pylist()
        for row, record in zip(rows, records(public), strict=True):
            key = row["segment_id"]
            if not _KEY.fullmatch(key):
                raise SilverError(f"{key!r} cannot be the key of a sample: letters, digits, '-' and '_' only; see {job.path} of the plan")
            offset, size = tar.add(f"{key}.{job.codec}", encode(job.store, row, job.codec))
            json_offset, json_size = tar.add(f"{key}.json", record)
            if job.text:
                tar.add(f"{key}.txt", (row["text"] or "").encode())
            seconds += row["duration"]
            for name, value in zip(PLACE.names, (key, job.path, offset, size, json_offset, json_size), strict=True):
                places[name].append(value)
        info = ShardInfo(job.path, tar.close(), tar.size, len(table), seconds, list(job.subsets))
    _write_fragment(job, pa.table(places, schema=PLACE), public, info)
    return job.path


def read_fragment(store: Store, version: str, shard: str) -> tuple[pa.Table, ShardInfo]:
    """Index rows of a finished shard, and what `release.json` says of it."""
    table = pq.read_table(io.BytesIO(store.read(fragment_path(version, shard))))
    info = ShardInfo(**json.loads(table.schema.metadata[_FOOTER]))
    return table.replace_schema_metadata(None), info


def encode(store: Store, row: Row, codec: Codec = "flac") -> bytes:
    """The span of a segment as 16-bit FLAC: exactly the samples of the recording. What is copied is not decoded; damage in it is found by `silver verify`.
    Other codecs are encoded from the decoded samples.

    Raises:
        SilverError: the recording is missing, damaged or too short; the message names the file and what to run.
    """
    uri = store.uri(row["audio_path"])
    mend = (
        "Restore it; or remove it and the folder manifests/decode, and run again: decode makes it anew, and what comes after decode stays"
    )
    start, end = (round(row[name] * SAMPLE_RATE) for name in ("start", "end"))
    try:
        with store.open(row["audio_path"]) as handle:
            if codec == "flac" and (copied := cut(handle, start, end)):
                return copied
        samples = read_audio(store, row)
    except FileNotFoundError as error:
        raise SilverError(f"the audio of {row['segment_id']} is gone: {uri} (from {row['source_uri']}). {mend}") from error
    except soundfile.LibsndfileError as error:
        raise SilverError(f"the audio of {row['segment_id']} cannot be read: {uri} (from {row['source_uri']}): {error}. {mend}") from error
    expected = end - start
    if abs(len(samples) - expected) > 1:
        raise SilverError(
            f"{row['segment_id']} should have {expected} samples, but {uri} (from {row['source_uri']}) holds {len(samples)} of them. {mend}"
        )
    sink = io.BytesIO()
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    if codec != "flac":
        return encode_lossy(pcm, codec)
    soundfile.write(sink, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


def records(table: pa.Table) -> Iterator[bytes]:
    r"""Each row as JSON: sorted keys, UTF-8, no NaN or infinity (null instead), single precision with the digits it has.

    >>> list(records(pa.table({"text": ["até"], "score": pa.array([0.1], pa.float32()), "snr": [float("nan")]})))
    [b'{"score": 0.1, "snr": null, "text": "at\xc3\xa9"}']
    """
    plain = pa.table({name: _plain(table.column(name).combine_chunks()) for name in table.column_names})
    write = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode
    for row in plain.to_pylist():
        yield write(row).encode()


def _plain(values: pa.Array) -> pa.Array:
    """With what JSON can say: numbers that are finite; those of single precision as the double of the same digits."""
    kind = values.type
    if pa.types.is_floating(kind):
        finite = pc.if_else(pc.is_finite(values), values, None)
        return finite.cast(pa.string()).cast(pa.float64()) if kind == pa.float32() else finite
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(values.offsets, _plain(values.values), mask=values.is_null())
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays(
            [_plain(field) for field in values.flatten()], [field.name for field in kind], mask=values.is_null()
        )
    return values


def _without_labels(table: pa.Table) -> pa.Table:
    """The same rows without what was written of them: nobody trusts it."""
    for column in table.schema:
        if column.name in LABEL_COLUMNS or (column.name.startswith("text") and not column.name.startswith("text_language")):
            table = _set(table, column, pa.nulls(len(table), column.type))
    return table


def _set(table: pa.Table, column: pa.Field, values: pa.Array) -> pa.Table:
    index = table.schema.get_field_index(column.name)
    return table.set_column(index, column, values) if index >= 0 else table.append_column(column, values)


def _write_fragment(job: ShardJob, places: pa.Table, public: pa.Table, info: ShardInfo) -> None:
    columns = [*zip(places.schema, places.columns, strict=True)]
    columns += [(column, data) for column, data in zip(public.schema, public.columns, strict=True) if column.name not in PLACE.names]
    schema = pa.schema([column for column, _ in columns], metadata={_FOOTER: json.dumps(asdict(info))})
    sink = io.BytesIO()
    pq.write_table(pa.table([data for _, data in columns], schema=schema), sink, compression="zstd")
    job.store.write(fragment_path(job.version, job.path), sink.getvalue())


def finished(store: Store, version: str, shards: Iterable[str]) -> set[str]:
    """Shards that an earlier run has finished: both the tar and its fragment are there."""
    fragments = set(store.names(state_folder(version)))
    folders: dict[str, set[str]] = {}
    done = set()
    for shard in shards:
        split, _, name = shard.partition("/")
        if split not in folders:
            folders[split] = set(store.names(f"{release_folder(version)}/{split}"))
        if name in folders[split] and fragment_path(version, shard).rpartition("/")[2] in fragments:
            done.add(shard)
    return done
