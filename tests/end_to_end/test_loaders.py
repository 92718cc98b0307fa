"""The loaders that people train with read the shards, as the card tells them to."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset

from manifests.part import read_rows
from manifests.schema import Row
from stages.audio import read_audio
from tests.hugging_face_reader import read
from tests.small_corpus import SmallCorpus, small_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SmallCorpus:
    """A corpus with a release `v1` of two splits."""
    corpus = small_corpus(tmp_path_factory.mktemp("corpus"), recordings=8)
    corpus.split(splits={"dev": 0.4})
    corpus.pack(version="v1", shard_seconds=6, text=True)
    return corpus


@pytest.fixture
def release(corpus: SmallCorpus, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder, and where the test runs."""
    folder = Path(corpus.store.path("releases/v1"))
    monkeypatch.chdir(folder)
    return folder


def live(corpus: SmallCorpus) -> dict[str, Row]:
    return {row["segment_id"]: row for ref in corpus.parts for row in read_rows(corpus.store, ref) if row["drop_reason"] is None}


def snippet(of: str) -> dict[str, Any]:
    """Run a block of the card, word for word; what it defined."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(compile(next(block for block in blocks if of in block), "README.md", "exec"), names)
    return names


def test_webdataset(corpus: SmallCorpus, release: Path) -> None:
    rows = live(corpus)
    found = []
    for split in ("train", "dev"):
        dataset = webdataset.WebDataset([str(path) for path in sorted(release.glob(f"{split}/*.tar"))], shardshuffle=False)
        for sample in dataset.decode(webdataset.handle_extension("flac", lambda data: soundfile.read(io.BytesIO(data), dtype="float32"))):
            row = rows[sample["__key__"]]
            np.testing.assert_array_equal(sample["flac"][0], read_audio(corpus.store, row))
            assert sample["json"]["text"] == sample["txt"] == row["text"]
            found.append(sample["__key__"])
    assert sorted(found) == sorted(rows)


def test_the_card_reads_with_webdataset(release: Path) -> None:
    names = snippet("for sample in webdataset")
    assert len(names["audio"]) == round(names["row"]["duration"] * names["rate"])


def test_the_card_reads_with_lhotse(corpus: SmallCorpus, release: Path) -> None:
    rows = live(corpus)
    cuts = list(snippet("lhotse")["cuts"])
    assert [cut.supervisions[0].id for cut in cuts] == [
        row["key"] for row in pq.read_table("index.parquet").to_pylist() if row["split"] == "train"
    ]
    for cut in cuts:
        supervision = cut.supervisions[0]
        row = rows[supervision.id]
        assert (supervision.text, supervision.language, supervision.speaker) == (row["text"], row["language"], row["speaker"])
        np.testing.assert_array_equal(cut.load_audio()[0], read_audio(corpus.store, row))


def test_hugging_face_datasets(corpus: SmallCorpus, release: Path, tmp_path: Path) -> None:
    """`datasets` guesses types from the first five samples, unless the card declares them: in `late`, a column begins with nulls."""
    late = small_corpus(tmp_path / "late", recordings=8)
    late.add(late.segments("/titled.mp3", 99, [(0.0, 0.2)], title="a title", speaker="somebody", language="en-US"))
    late.pack(version="late", text=True)
    second = Path(late.store.path("releases/late"))
    titles = pq.read_table(second / "index.parquet", columns=["title"]).column(0).to_pylist()
    assert (titles[:5], titles.count("a title")) == ([None] * 5, 1)

    nested = small_corpus(tmp_path / "nested", recordings=8)
    nested.pack(version="nested", text=True, subsets=[{"name": "S", "hours": 4 / 3600}, {"name": "M", "hours": 9 / 3600}], shard_seconds=3)
    third = Path(nested.store.path("releases/nested"))

    found = read(tmp_path / "scratch", (release, "card"), (release, "shards"), (second, "card"), (third, "card S"), (third, "card M"))
    inside = {row["key"]: row["subsets"] for row in pq.read_table(third / "index.parquet", columns=["key", "subsets"]).to_pylist()}
    for name in ("S", "M"):
        for mode in ("streaming", "whole"):
            keys = sorted(sample["key"] for sample in found.pop(f"nested card {name} {mode}"))
            assert keys == sorted(key for key, subsets in inside.items() if name in subsets)
    (by_snippet,) = found.pop("snippet")
    assert by_snippet["samples"] == round(by_snippet["json"]["duration"] * by_snippet["rate"])
    assert found.keys() == {f"{way} {mode}" for way in ("v1 card", "v1 shards", "late card") for mode in ("streaming", "whole")}
    for way, samples in found.items():
        source = late if way.startswith("late") else corpus
        rows = live(source)
        assert sorted(sample["key"] for sample in samples) == sorted(rows)
        for sample in samples:
            row, record = rows[sample["key"]], sample["json"]
            np.testing.assert_array_equal(np.array(sample["samples"]) / 32768, read_audio(source.store, row))
            assert record["split"] == sample["split"]
            assert (record["text"], sample["txt"], record["title"]) == (row["text"], row["text"], row["title"])
            assert [word["start"] for word in record["words"]] == [word["start"] for word in row["words"]]
            assert sample["type"].startswith("Audio(")


def test_one_sample_by_its_offset(corpus: SmallCorpus, release: Path) -> None:
    import duckdb

    rows = live(corpus)
    query = "SELECT key, shard, \"offset\", size FROM 'index.parquet' WHERE text = 'word 2' LIMIT 1"
    key, shard, offset, size = duckdb.sql(query).fetchall()[0]
    with Path(shard).open("rb") as handle:
        handle.seek(offset)
        audio, _ = soundfile.read(io.BytesIO(handle.read(size)), dtype="float32")
    np.testing.assert_array_equal(audio, read_audio(corpus.store, rows[key]))
