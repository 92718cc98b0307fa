"""From a sample back to its source, in a folder that was copied away from its corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from manifests.prov import prov
from manifests.provenance import provenance
from manifests.store import Store
from pipeline.errors import SilverError
from tests.released import MODELS, released
from workflows.cli import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release alone: nothing of the corpus is left."""
    released(tmp_path / "corpus")
    shutil.copytree(tmp_path / "corpus/releases/v1", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "corpus")
    return tmp_path / "elsewhere"


def keys(folder: Path) -> list[str]:
    return pq.read_table(folder / "index.parquet", columns=["key"]).column(0).to_pylist()


def test_every_sample_leads_to_its_source_and_to_all_that_made_its_label(folder: Path) -> None:
    index = {row["key"]: row for row in pq.read_table(folder / "index.parquet").to_pylist()}
    for key, row in index.items():
        found = provenance(Store(str(folder)), key)
        assert found["source"]["source_uri"] == row["source_uri"]
        assert (found["source"]["start"], found["source"]["end"]) == (row["start"], row["end"])
        assert found["source"].get("licence") == row["licence"]
        assert found["label"]["text"] == row["text"]
        assert {stage["stage"]: stage["identity"] for stage in found["stages"]} == MODELS
        assert all(stage["parameters"] == {"beam_size": 5} for stage in found["stages"])
        data = (folder / found["place"]["shard"]).read_bytes()
        assert data[found["place"]["offset"] :][:4] == b"fLaC"


def test_the_command_prints_it(folder: Path) -> None:
    key = keys(folder)[0]
    found = CliRunner().invoke(app, ["trace", str(folder), key, "--format", "json"], catch_exceptions=False)
    rows = {(row["step"], row["what"]): row["value"] for row in json.loads(found.stdout)}
    assert rows["sample", "key"] == key
    assert rows["transcribe", "models"] == {"model": "large-v3", "sha256": "abc123"}
    assert rows["source", "source_uri"].startswith("https://example.org/")
    table = CliRunner().invoke(app, ["trace", str(folder), key], catch_exceptions=False).stdout
    assert table.index("source_uri") < table.index("acquire") < table.index("transcribe") < table.index("filter") < table.index("software")


def test_prov_json_has_the_keys_of_the_submission_and_every_reference_leads_somewhere(folder: Path) -> None:
    key = keys(folder)[0]
    found = CliRunner().invoke(app, ["trace", str(folder), key, "--format", "prov"], catch_exceptions=False)
    document = json.loads(found.stdout)
    assert document == prov(provenance(Store(str(folder)), key))
    records = {"entity", "activity", "agent"}
    relations = {
        "wasGeneratedBy": ("prov:entity", "prov:activity"),
        "used": ("prov:activity", "prov:entity"),
        "wasInformedBy": ("prov:informed", "prov:informant"),
        "wasAssociatedWith": ("prov:activity", "prov:agent"),
        "actedOnBehalfOf": ("prov:delegate", "prov:responsible"),
        "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
        "hadMember": ("prov:collection", "prov:entity"),
    }
    assert document.keys() == records | relations.keys() | {"prefix"}
    named = {name for kind in records for name in document[kind]}
    assert all(name.startswith("silver:") for name in named)
    for relation, ends in relations.items():
        for entry in document[relation].values():
            assert set(ends) == entry.keys()
            assert {entry[end] for end in ends} <= named, relation
    assert list(document["activity"]) == [f"silver:stage/{number}-{stage}" for number, stage in enumerate(MODELS)]
    (sample,) = [entity for name, entity in document["entity"].items() if name.startswith("silver:sample/")]
    assert sample["silver:key"] == key


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SilverError, match="has no sample 'nobody'"):
        CliRunner().invoke(app, ["trace", str(folder), "nobody"], catch_exceptions=False)
    with pytest.raises(SilverError, match="is no release"):
        CliRunner().invoke(app, ["trace", str(tmp_path), "x", "--format", "prov"], catch_exceptions=False)
    shard = folder / provenance(Store(str(folder)), keys(folder)[0])["place"]["shard"]
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(SilverError, match="something else: run `silver verify`"):
        CliRunner().invoke(app, ["trace", str(folder), keys(folder)[0]], catch_exceptions=False)
    (folder / "release.json").unlink()
    (tmp_path / "releases").mkdir()
    unfinished = folder.rename(tmp_path / "releases/v1")
    with pytest.raises(SilverError, match=r"has no release\.json: it is no release, or one that was never finished"):
        CliRunner().invoke(app, ["trace", str(unfinished), "x"], catch_exceptions=False)
