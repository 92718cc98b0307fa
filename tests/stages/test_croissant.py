"""The Croissant record against the reader that MLCommons publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest

from manifests.release import read_release
from manifests.verify import verify_release
from tests.released import released
from tests.small_corpus import small_corpus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    released(tmp_path, version="1.2.0")
    return tmp_path / "releases/1.2.0"


def test_mlcroissant_has_no_errors_and_misses_the_date_alone(folder: Path) -> None:
    found = mlcroissant.Dataset(jsonld=json.loads((folder / "croissant.json").read_text())).metadata.ctx.issues
    assert found.errors == set()
    assert [warning for warning in found.warnings if "datePublished" not in warning] == []


def test_mlcroissant_reads_the_index_from_the_folder(folder: Path) -> None:
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    records = list(mlcroissant.Dataset(jsonld=folder / "croissant.json").records("samples"))
    assert [record["samples/key"].decode() for record in records] == [row["key"] for row in rows]
    for record, row in zip(records, rows, strict=True):
        assert record["samples/text"].decode() == row["text"]
        assert record["samples/offset"] == row["offset"]
        assert record["samples/confidence"] == pytest.approx(row["confidence"])
        assert record["samples/title"] is None
        (word,) = record["samples/words"]
        assert (word["samples/words/word"], word["samples/words/start"]) == (b"word", row["words"][0]["start"])


def test_an_index_that_was_changed_is_refused(folder: Path) -> None:
    index = folder / "index.parquet"
    index.write_bytes(index.read_bytes() + b" ")
    with pytest.raises(Exception, match=r"Download\(index.parquet\)") as caught:
        list(mlcroissant.Dataset(jsonld=folder / "croissant.json").records("samples"))
    assert "Hash of downloaded file" in str(caught.value.__cause__)


def test_it_says_what_the_release_says(folder: Path, tmp_path: Path) -> None:
    record: dict[str, Any] = json.loads((folder / "croissant.json").read_text())
    release = json.loads((folder / "release.json").read_text())
    shards = {entry["contentUrl"]: entry["sha256"] for entry in record["distribution"] if entry["@type"] == "cr:FileObject"}
    assert {path: digest for path, digest in shards.items() if path.endswith(".tar")} == {
        shard["path"]: shard["sha256"] for shard in release["shards"]
    }
    assert "CC0-1.0" in record["license"]
    assert "https://creativecommons.org/licenses/by-nd/4.0/" in record["license"]
    assert any(licence.startswith("unknown: ") for licence in record["license"])
    assert any(tool.startswith("large-v3 abc123 (MIT)") for tool in record["rai:machineAnnotationTools"])
    assert "corpus@example.org" in record["rai:dataReleaseMaintenancePlan"]
    assert "datePublished" not in record
    assert str(tmp_path) not in json.dumps(record)


def test_columns_of_a_release_without_any_licence(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1")
    record = json.loads((tmp_path / "releases/v1/croissant.json").read_text())
    said = {field["name"] for field in record["recordSet"][0]["field"]}
    assert said == set(pq.read_schema(tmp_path / "releases/v1/index.parquet").names)
    assert mlcroissant.Dataset(jsonld=record).metadata.ctx.issues.errors == set()
    (tmp_path / "releases/v1/croissant.json").write_text("{}")
    assert [finding.file for finding in verify_release(corpus.store, "v1", fast=True)] == ["croissant.json"]
    assert read_release(corpus.store, "v1")["counts"]["samples"] == 15
