"""Plain tables of a release: one row a segment, with where its audio lies. No audio is copied."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from workflows.export.samples import Shard, write


def jsonl(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<shard>.jsonl`: all of KEY.json, and `shard`, `audio_offset` and `audio_size` of its audio."""
    for shard, rows in _rows(shards, report):
        lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
        write(out / f"{shard.name}.jsonl", "".join(line + "\n" for line in lines).encode())


def csv_files(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<shard>.csv`: the same, what is nested as JSON. Values are exact: a spreadsheet takes what begins with '=' for a formula."""
    for shard, rows in _rows(shards, report):
        sink = io.StringIO()
        found = list(rows)
        writer = csv.DictWriter(sink, sorted({name for row in found for name in row}), lineterminator="\n")
        writer.writeheader()
        nested = (list, dict)
        writer.writerows(
            {name: json.dumps(value, ensure_ascii=False) if isinstance(value, nested) else value for name, value in row.items()}
            for row in found
        )
        write(out / f"{shard.name}.csv", sink.getvalue().encode())


def _rows(shards: Sequence[Shard], report: Callable[[str], None]) -> Iterator[tuple[Shard, Iterator[dict[str, Any]]]]:
    for shard in shards:
        place = f"{shard.split}/{shard.path.name}"
        yield shard, (item.row | {"shard": place, "audio_offset": item.offset, "audio_size": len(item.audio)} for item in shard.samples())
        report(place)
