from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests.corpus import CURRENT, Corpus
from manifests.release import read_release
from manifests.store import Store
from manifests.takedown import Requests, Takedown, add, read_takedowns
from manifests.verify import verify_release
from pipeline.contract import SilverError
from stages.pack.patch import patch
from tests.small_corpus import FOLDER, SmallCorpus
from tests.stages.test_pack import samples
from workflows.takedown import hits, near, request


@pytest.fixture
def corpus(tmp_path: Path) -> SmallCorpus:
    """Twelve recordings of six channels, each of a speaker of its own, with a finished release `v1` of many shards."""
    corpus = SmallCorpus(tmp_path)
    for n in range(12):
        corpus.add(corpus.segments(f"/audio/{n}.mp3", n, [(0.0, 1.0), (1.0, 2.0)], channel=f"Channel {n % 6}", speaker=f"speaker {n}"))
    _, _, stage, fingerprint = (*[""] * 2, *FOLDER.split("/")[1:])
    corpus.store.write(
        f"{FOLDER}/_stage.json", b'{"stage": "filter", "version": "1", "fingerprint": "feedbeef", "identity": {}, "software": {}}'
    )
    corpus.store.write(CURRENT, f'{{"stages": [{{"stage": "{stage}", "fingerprint": "{fingerprint}"}}]}}'.encode())
    corpus.pack(version="v1", shard_seconds=3)
    return corpus


def asked(corpus: SmallCorpus, kind: str, value: str, reason: str = "asked by mail") -> Takedown:
    made = request(Corpus(corpus.store.root), kind, value, reason)
    assert add(corpus.store, made)
    return made


@pytest.mark.parametrize(
    ("kind", "value", "rows"),
    [("source", "/audio/3.mp3", 2), ("channel", "channel  3", 4), ("speaker", "SPEAKER 3", 2), ("segment", None, 1)],
)
def test_the_next_release_is_without_it_and_says_so_without_the_name(corpus: SmallCorpus, kind: str, value: str | None, rows: int) -> None:
    value = value or next(iter(samples(corpus, "v1")))
    made = asked(corpus, kind, value)
    tables = corpus.pack(version="v2", after="v1", shard_seconds=3)
    gone = [row for table in tables for row in table.to_pylist() if row["drop_reason"] == "taken_down"]
    assert len(gone) == rows
    assert all(row["shard"] is None and "asked by mail" in row["drop_detail"] for row in gone)
    before, after = samples(corpus, "v1"), samples(corpus, "v2")
    assert before.keys() - after.keys() == {row["segment_id"] for row in gone}
    release = read_release(corpus.store, "v2")
    assert [(entry["request"], entry["rows"]) for entry in release["takedowns"]] == [(made.name, rows)]
    assert ("removed", "taken down", rows) in {(row["change"], row["why"], row["segments"]) for row in release["changes"][0]["table"]}
    assert list(verify_release(corpus.store, "v2")) == []
    untouched = {row["shard"] for row in pq.read_table(corpus.store.path("releases/v1/index.parquet")).to_pylist() if row["key"] in after}
    for path in untouched - {shard for shard in untouched if not same(corpus, shard)}:
        assert os.stat(corpus.store.path(f"releases/v1/{path}")).st_ino == os.stat(corpus.store.path(f"releases/v2/{path}")).st_ino


def same(corpus: SmallCorpus, shard: str) -> bool:
    index = [pq.read_table(corpus.store.path(f"releases/{version}/index.parquet")).to_pylist() for version in ("v1", "v2")]
    one, other = ([row["key"] for row in rows if row["shard"] == shard] for rows in index)
    return one == other


def test_a_release_of_that_name_is_not_made_again_and_the_way_out_is_said(corpus: SmallCorpus) -> None:
    asked(corpus, "speaker", "speaker 3")
    with pytest.raises(SilverError, match=r"v1 was made before some of it was taken down.*--now v1"):
        corpus.pack(version="v1", shard_seconds=3)


def test_a_segment_stays_away_when_it_is_cut_at_other_places(corpus: SmallCorpus) -> None:
    asked(corpus, "segment", next(key for key in samples(corpus, "v1") if key.endswith("-00000000-00001000")))
    requests = Requests(tuple(read_takedowns(corpus.store)))
    recording = requests.takedowns[0].recordings[0]
    assert requests.match({"recording_id": recording, "start": 0.9, "end": 1.7})
    assert requests.match({"recording_id": recording, "start": 1.0, "end": 1.7}) is None
    assert requests.match({"recording_id": "another", "start": 0.0, "end": 1.0}) is None


def test_the_audio_of_a_source_stays_away_under_another_address(corpus: SmallCorpus) -> None:
    made = asked(corpus, "source", "/audio/3.mp3")
    assert Requests((made,)).match({"source_uri": "https://mirror.example/3.mp3", "recording_id": made.recordings[0]})


def test_a_release_is_patched_in_place_and_other_shards_are_not_touched(corpus: SmallCorpus) -> None:
    made = asked(corpus, "speaker", "speaker 3")
    before = {path: os.stat(corpus.store.path(f"releases/v1/{path}")) for path in corpus.files("v1")}
    old = samples(corpus, "v1")
    index = pq.read_table(corpus.store.path("releases/v1/index.parquet")).to_pylist()
    touched = {row["shard"] for row in index if row["speaker"] == "speaker 3"}
    told = patch(corpus.store, "v1", Requests((made,)))
    assert (told["rows"], told["shards"].keys()) == (2, touched)
    assert list(verify_release(corpus.store, "v1")) == []
    new = samples(corpus, "v1")
    assert {key: old[key] for key in new} == new
    assert len(old) - len(new) == 2
    for path in corpus.files("v1"):
        changed = os.stat(corpus.store.path(f"releases/v1/{path}")).st_mtime_ns != before[path].st_mtime_ns
        assert changed == (path in touched or not path.endswith(".tar"))
    release = read_release(corpus.store, "v1")
    assert release["takedowns"][0]["rows"] == release["dropped"]["pack:taken_down"]["rows"] == 2
    assert "speaker 3" not in corpus.store.read("releases/v1/README.md").decode()
    assert patch(corpus.store, "v1", Requests((made,)))["rows"] == 0


def test_a_shard_that_is_left_empty_is_removed(corpus: SmallCorpus) -> None:
    index = pq.read_table(corpus.store.path("releases/v1/index.parquet")).to_pylist()
    shard = index[0]["shard"]
    keys = [row["key"] for row in index if row["shard"] == shard]
    patch(corpus.store, "v1", Requests(tuple(asked(corpus, "segment", key) for key in keys)))
    assert not corpus.store.exists(f"releases/v1/{shard}")
    assert list(verify_release(corpus.store, "v1")) == []


def _killed_after(root: str, writes: int) -> None:
    """Patch in a process that is killed at its `writes`-th commit."""
    store = Store(root)
    replace, count = os.replace, 0

    def counted(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count > writes:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted  # type: ignore[assignment]
    patch(store, "v1", Requests(tuple(read_takedowns(store))))


def test_killed_at_any_commit_the_same_call_ends_in_the_same_bytes(corpus: SmallCorpus, tmp_path: Path) -> None:
    import shutil

    asked(corpus, "channel", "Channel 2")
    whole = tmp_path.with_name("whole")
    shutil.copytree(tmp_path, whole)
    patch(Store(str(whole)), "v1", Requests(tuple(read_takedowns(corpus.store))))
    expected = {path.relative_to(whole): path.read_bytes() for path in (whole / "releases").rglob("*") if path.is_file()}
    for writes in range(40):
        copy = tmp_path.with_name(f"copy-{writes}")
        shutil.copytree(tmp_path, copy)
        process = multiprocessing.get_context("fork").Process(target=_killed_after, args=(str(copy), writes))
        process.start()
        process.join()
        between = list(verify_release(Store(str(copy)), "v1"))
        patch(Store(str(copy)), "v1", Requests(tuple(read_takedowns(corpus.store))))
        Store(str(copy)).clean_temporary()
        assert {path.relative_to(copy): path.read_bytes() for path in (copy / "releases").rglob("*") if path.is_file()} == expected
        shutil.rmtree(copy)
        if process.exitcode == 0:
            assert between == []
            return
        assert between or read_release(corpus.store, "v1")["counts"]["samples"] == 24
    raise AssertionError("the patch never finished")


def test_where_it_is_and_what_is_spelled_nearly_so(corpus: SmallCorpus) -> None:
    opened = Corpus(corpus.store.root)
    found = hits(opened, request(opened, "channel", "Channel 2", "asked"))
    assert [(row["where"], row["rows"]) for row in found] == [("corpus", 4), ("release", 4)]
    nothing = request(opened, "channel", "Chanel 2", "asked")
    assert hits(opened, nothing) == []
    assert "Channel 2" in near(opened, nothing)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("channel", "two\nlines", "x"),
        ("channel", "", "x"),
        ("channel", "c", ""),
        ("speaker", "x" * 10_000, "x"),
        ("segment", "../../etc", "x"),
    ],
)
def test_requests_that_make_no_sense_are_refused(corpus: SmallCorpus, kind: str, value: str, reason: str) -> None:
    with pytest.raises(SilverError):
        request(Corpus(corpus.store.root), kind, value, reason)
