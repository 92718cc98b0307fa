from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from manifests.part import read_rows
from manifests.release import read_release
from manifests.verify import verify_release
from pipeline.contract import SilverError
from stages.pack import Pack
from tests.small_corpus import SmallCorpus
from tests.stages.test_pack import samples

SUBSETS = [
    {"name": "XS", "hours": 4 / 3600, "when": "align_score >= 0.9"},
    {"name": "S", "hours": 10 / 3600, "when": "align_score >= 0.5"},
    {"name": "M"},
]


def corpus_of(root: Path, recordings: int = 20) -> SmallCorpus:
    """Channel `big` has three quarters of the audio; scores from .0 to .95."""
    corpus = SmallCorpus(root)
    for n in range(recordings):
        rows = corpus.segments(f"/{n}.mp3", n, [(0.0, 1.0), (1.0, 2.0)], channel="small" if n % 4 == 0 else "big")
        for index, row in enumerate(rows):
            row["align_score"] = ((2 * n + index) % 20) / 20
        corpus.add(rows)
    return corpus


def test_a_subset_is_in_every_larger_one_keeps_its_rule_and_its_hours_and_is_a_list_of_shards(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    corpus.split(splits={"dev": 0.1})
    tables = corpus.pack(version="v1", subsets=SUBSETS, shard_seconds=3)
    rows = [row for table in tables for row in table.to_pylist()]
    for row in rows:
        inside = row["subsets"]
        assert inside in ([], ["M"], ["S", "M"], ["XS", "S", "M"])
        assert row["split"] == "train" or inside == []
        if "XS" in inside:
            assert row["align_score"] >= 0.89
        if "S" in inside:
            assert row["align_score"] >= 0.5
        smallest = f"-{inside[0]}" if inside else ""
        assert f"/{row['split']}/{row['split']}{smallest}-0000" in row["shard"]
    seconds = {name: sum(row["duration"] for row in rows if name in row["subsets"]) for name in ("XS", "S", "M")}
    assert seconds["XS"] == 4
    assert seconds["S"] == 10
    assert seconds["M"] == sum(row["duration"] for row in rows if row["split"] == "train")
    release = read_release(corpus.store, "v1")
    assert release["counts"]["subsets"]["S"] == {"samples": 10, "hours": round(10 / 3600, 4)}
    assert release["subsets"]["XS"] == {"asked": 4 / 3600, "when": "align_score >= 0.9", "hours": round(4 / 3600, 4)}
    packed = samples(corpus, "v1")
    assert all(json.loads(packed[row["segment_id"]]["json"])["subsets"] == row["subsets"] for row in rows if row["split"] == "train")
    assert list(verify_release(corpus.store, "v1")) == []


def test_a_channel_with_much_audio_does_not_crowd_out_the_others(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    (rows,) = [[row for table in corpus.pack(version="v1", subsets=[{"name": "S", "hours": 12 / 3600}]) for row in table.to_pylist()]]
    chosen = [row["channel"] for row in rows if row["subsets"]]
    assert (chosen.count("big"), chosen.count("small")) == (6, 6)


def test_a_subset_larger_than_the_corpus_is_pointed_out_and_stated(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    corpus.pack(version="v1", subsets=[{"name": "XL", "hours": 10_000}])
    assert "subset XL asks for 10000 hours, and 0.01 can be had" in corpus.reported
    assert read_release(corpus.store, "v1")["subsets"]["XL"]["hours"] == round(40 / 3600, 4)
    for paper in ("README.md", "croissant.json"):
        assert "The subset XL was asked for 10000 hours; there were 0.0111 for it." in corpus.files("v1")[paper].decode()
    assert "| XL |  | 10000.0 | 0.0111 |" in corpus.files("v1")["README.md"].decode()


def test_a_rule_over_a_column_that_nobody_makes_is_refused_before_any_work(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    with pytest.raises(SilverError, match="subsets of pack read quality, which no stage before it makes"):
        corpus.pack(version="v1", subsets=[{"name": "S", "when": "quality > 1"}])
    assert not corpus.store.exists("releases/v1")


@pytest.mark.parametrize(
    "subsets",
    [
        [{"name": "S", "hours": 10}, {"name": "XS", "hours": 1}],
        [{"name": "S", "hours": 10}, {"name": "s", "hours": 20}],
        [{"name": "../S", "hours": 10}],
        [{"name": "S", "hours": -1}],
        [{"name": "S", "when": "1; DROP TABLE x"}],
    ],
)
def test_subsets_that_make_no_sense_are_refused(subsets: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        Pack.Params(subsets=subsets)


def test_what_the_filter_dropped_is_published_without_its_label_if_asked(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(6):
        rows = corpus.segments(f"/{n}.mp3", n, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], channel=f"channel {n}")
        rows[1] |= {"drop_stage": "filter", "drop_reason": "target_wer", "drop_detail": "too low"}
        rows[2] |= {"drop_stage": "identify", "drop_reason": "audio_language", "drop_detail": "other"}
        corpus.add(rows)
    corpus.split(splits={"test": 0.2}, by=["channel"])
    tables = corpus.pack(version="v1", unlabelled=["filter"])
    rows = [row for table in tables for row in table.to_pylist()]
    held = {row["recording_id"] for row in rows if row["split"] == "test"}
    assert held
    for row in rows:
        expected = None if row["drop_reason"] == "audio_language" else "train" if row["recording_id"] not in held else "test"
        if row["drop_reason"] == "target_wer":
            expected = None if row["recording_id"] in held else "unlabelled"
        assert row["split"] == expected
    found = samples(corpus, "v1", "unlabelled")
    assert len(found) == 6 - len(held)
    for parts in found.values():
        record = json.loads(parts["json"])
        assert (record["text"], record["words"], record["labels"]) == (None, None, None)
        assert record["source_uri"]
    release = read_release(corpus.store, "v1")
    assert release["rows"] == release["counts"]["samples"] + sum(some["rows"] for some in release["dropped"].values())
    assert release["dropped"]["filter:target_wer"]["rows"] == len(held)
    assert list(verify_release(corpus.store, "v1")) == []


def inodes(corpus: SmallCorpus, version: str) -> dict[str, tuple[int, int]]:
    folder = Path(corpus.store.path(f"releases/{version}"))
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*.tar")}


def test_a_release_that_follows_another_writes_only_what_changed(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    corpus.pack(version="v1", shard_seconds=5)
    first = corpus.store.names("releases/v1/train")
    rows = [row for ref in corpus.parts for row in read_rows(corpus.store, ref)]
    gone, other = rows[5]["segment_id"], rows[9]["segment_id"]
    corpus.parts = []
    for n in range(0, len(rows), 2):
        some = rows[n : n + 2]
        for row in some:
            if row["segment_id"] == gone:
                row |= {"drop_stage": "filter", "drop_reason": "snr", "drop_detail": "noise"}
            if row["segment_id"] == other:
                row["text"] = "something else"
        corpus.add(some)
    corpus.add(corpus.segments("/new.mp3", 99, [(0.0, 1.0), (1.0, 2.0)], channel="new"))
    corpus.pack(version="v2", after="v1", shard_seconds=5)
    assert list(verify_release(corpus.store, "v2")) == []

    index = {row["key"]: row["shard"] for row in pq.read_table(tmp_path / "releases/v1/index.parquet").to_pylist()}
    touched = {index[gone], index[other]}
    before, after = inodes(corpus, "v1"), inodes(corpus, "v2")
    assert {path for path in before if before[path] == after[path]} == before.keys() - touched
    assert len(first) - len(touched) >= 4
    (new,) = after.keys() - before.keys()
    assert new == f"train/train-{len(first):06d}.tar"
    (log,) = read_release(corpus.store, "v2")["changes"]
    assert (log["release"], log["after"]) == ("v2", "v1")
    assert {(row["change"], row["why"], row["segments"]) for row in log["table"]} == {
        ("added", "new audio", 2), ("removed", "snr", 1), ("changed", "another text", 1), ("same", None, 38),
    }  # fmt: skip

    corpus.pack(version="v3", after="v2", shard_seconds=5)
    assert [entry["release"] for entry in read_release(corpus.store, "v3")["changes"]] == ["v3", "v2"]
    assert inodes(corpus, "v3") == inodes(corpus, "v2")


def _pack_until(corpus: SmallCorpus, commits: int) -> None:
    """Pack the second release in a process that is killed at its commit number `commits`."""
    replace, count = os.replace, 0

    def counted(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count > commits:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted  # type: ignore[assignment]
    corpus.pack(version="v2", after="v1", shard_seconds=9)


def test_a_release_after_another_that_is_killed_at_any_commit_ends_in_the_same_bytes(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", 8)
    corpus.pack(version="v1", shard_seconds=9)
    corpus.add(corpus.segments("/new.mp3", 99, [(0.0, 1.0), (1.0, 2.0)], channel="new"))
    corpus.pack(version="v2", after="v1", shard_seconds=9)
    whole = corpus.files("v2")
    for commits in range(40):
        corpus.store.remove("releases/v2")
        process = multiprocessing.get_context("fork").Process(target=_pack_until, args=(corpus, commits))
        process.start()
        process.join()
        corpus.pack(version="v2", after="v1", shard_seconds=9)
        assert corpus.files("v2") == whole
        if process.exitcode == 0:
            return
    raise AssertionError("the release was never finished")


def test_what_was_in_a_subset_stays_in_it_as_the_corpus_grows(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    subset = [{"name": "S", "hours": 8 / 3600}]
    corpus.pack(version="v1", subsets=subset)
    for n in range(100, 140):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 1.0)], channel=f"new {n}"))
    corpus.pack(version="v2", after="v1", subsets=subset)
    inside = {
        version: {row["key"] for row in pq.read_table(tmp_path / f"releases/{version}/index.parquet").to_pylist() if row["subsets"]}
        for version in ("v1", "v2")
    }
    assert inside["v1"] == inside["v2"]
    assert len(inside["v1"]) == 8


def test_a_release_that_is_not_there_cannot_be_followed(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    corpus.pack(version="v1")
    with pytest.raises(SilverError, match="no finished release 'v0' to follow; there are v1"):
        corpus.pack(version="v2", after="v0")
    with pytest.raises(SilverError, match="cannot follow itself"):
        corpus.pack(version="v1", after="v1")
