"""What the table of rounds says of labels that drift away from the original ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from manifests.corpus import Manifest
from manifests.part import Counts, to_table, write_part
from manifests.schema import Row, extend
from manifests.store import Store
from tests.stages.test_select import SCHEMA, segment
from workflows.refine.report import _moved

COLUMNS = extend(SCHEMA, pa.schema([("train_text", pa.string()), ("original_cer", pa.float32())]))


def moved(rows: list[Row], folder: Path) -> dict[str, float | None]:
    manifest = Manifest(Store(str(folder)), "select_2", "x")
    rows = [dict.fromkeys(COLUMNS.names) | row for row in rows]
    manifest.finish([write_part(manifest.store, manifest.folder, "0", to_table(rows, COLUMNS), Counts.of(rows))], "")
    return _moved(manifest)


def test_students_that_write_fewer_different_words_are_seen_though_they_write_as_many(tmp_path: Path) -> None:
    found = moved([segment(1, train_text="One one one one."), segment(2)], tmp_path)
    assert (found["share"], found["changed"], found["words"], found["vocabulary"]) == (0.5, 1, 1, 0.25)


def test_words_that_are_made_up_are_seen_and_capitals_are_no_new_words(tmp_path: Path) -> None:
    assert moved([segment(1, train_text="ONE, two three four!")], tmp_path)["vocabulary"] == 1
    rows = [segment(1, train_text="one two thrice four"), segment(2, train_text="one two three four")]
    assert moved(rows, tmp_path / "other")["vocabulary"] == 1.25
