"""Parts: the same rows are the same bytes, whoever hands them over."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from manifests.part import Counts, read_part, read_rows, to_table, write_part
from manifests.schema import LABELS, ROW, WORDS, extend
from manifests.store import Store

SCHEMA = extend(ROW, pa.schema([("words", WORDS), ("labels", LABELS), ("tags", pa.list_(pa.string()))]))


def test_a_stage_that_goes_on_after_a_kill_writes_the_bytes_of_one_that_was_never_killed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    characters = [{"character": "a", "start": 0.0, "end": 0.5, "score": 0.5}]
    rows = [
        {"source_id": "a", "segment_id": f"a-{n}", "words": [{"word": "a", "characters": characters}] if n else None, "labels": [{"text": "a"}], "tags": ["x"] * n}
        for n in range(3)
    ]  # fmt: skip
    counts = Counts.of(rows)
    in_memory = to_table(rows, SCHEMA)
    first = write_part(store, "one", "0", in_memory, counts)
    handed_on = write_part(store, "two", "0", to_table(in_memory.to_pylist(), in_memory.schema), counts)
    before = read_part(store, first)
    read_back = write_part(store, "three", "0", to_table(before.to_pylist(), before.schema), counts)
    assert first.digest == handed_on.digest == read_back.digest
    files = [(tmp_path / ref.path).read_bytes() for ref in (first, handed_on, read_back)]
    assert files[0] == files[1] == files[2], "items of lists are called item in memory and element in a file"
    assert read_rows(store, read_back) == read_rows(store, first)
