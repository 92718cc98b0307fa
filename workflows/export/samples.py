"""The samples of a finished release, shard by shard."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import SilverError


@dataclass(frozen=True)
class Sample:
    """One sample: its record (KEY.json), its encoded audio, and where that lies."""

    row: dict[str, Any]
    audio: bytes
    codec: str
    """Ending of the audio member, one of `manifests.release.AUDIO`."""
    shard: str
    offset: int

    @property
    def key(self) -> str:
        """Also the segment's id: letters, digits, '-'."""
        return str(self.row["segment_id"])

    @property
    def text(self) -> str:
        """On one line; empty if it has no label."""
        return " ".join(str(self.row.get("text") or "").split())


@dataclass(frozen=True)
class Shard:
    """One tar of the release."""

    path: Path
    name: str
    split: str
    seconds: float

    def samples(self) -> Iterator[Sample]:
        """In order. Memory: one sample."""
        with tarfile.open(self.path, "r:") as tar:
            audio, place, codec, row = b"", 0, "", None
            for member in tar:
                handle = tar.extractfile(member)
                data = handle.read() if handle else b""
                ending = member.name.partition(".")[2]
                if ending == "json":
                    row = json.loads(data)
                elif ending != "txt":
                    if row is not None:
                        yield Sample(row, audio, codec, self.name, place)
                    audio, place, codec, row = data, member.offset_data, ending, None
            if row is not None:
                yield Sample(row, audio, codec, self.name, place)


def open_release(folder: Path) -> dict[str, Any]:
    """`release.json`.

    Raises:
        SilverError: the folder is no finished release.
    """
    path = folder / "release.json"
    if not path.is_file():
        raise SilverError(f"{folder} is no finished release: it has no release.json; give OUT/releases/<version>")
    release: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return release


def shards(folder: Path, release: dict[str, Any], split: str | None) -> list[Shard]:
    """Those of a split, or all.

    Raises:
        SilverError: there is no such split.
    """
    splits = release["counts"]["split"]
    if split is not None and split not in splits:
        raise SilverError(f"{folder} has no split {split!r}; there are {', '.join(splits)}")
    listed = [(shard, shard["path"].partition("/")[0]) for shard in release["shards"]]
    return [
        Shard(folder / shard["path"], shard["path"].removesuffix(".tar").replace("/", "-"), name, shard["seconds"])
        for shard, name in listed
        if split in {None, name}
    ]


def write(path: Path, data: bytes) -> None:
    """A file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
