"""Takedown where requests meet: a killed one, one that is made again, audio without labels, and names as people write them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests.corpus import Corpus
from manifests.release import read_release
from manifests.store import Store
from manifests.takedown import Requests, Takedown, add, read_takedowns
from manifests.verify import verify_release
from pipeline.contract import SilverError
from stages.pack.patch import patch
from tests.corpus import silver
from tests.small_corpus import SmallCorpus
from tests.workflows.test_takedown import asked, corpus  # noqa: F401 - the fixture
from workflows.takedown import request


def speakers(root: str, version: str) -> list[str]:
    rows = pq.read_table(f"{root}/releases/{version}/index.parquet", columns=["speaker"])
    return [str(name) for name in rows.column(0).to_pylist()]


def _killed_at(root: str, value: str, writes: int) -> None:
    replace, count = os.replace, 0

    def counted(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count > writes:
            os._exit(9)
        replace(source, target)

    os.replace = counted  # type: ignore[assignment]
    patch(Store(root), "v1", Requests((Takedown("speaker", value, "asked by mail", "2026-01-01"),)))


def test_killed_at_any_commit_another_request_finishes_both_and_nothing_between_passes(corpus: SmallCorpus, tmp_path: Path) -> None:  # noqa: F811
    moving = 0
    for writes in range(60):
        copy = tmp_path.with_name(f"copy-{writes}")
        shutil.copytree(tmp_path, copy)
        process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(str(copy), "speaker 3", writes))
        process.start()
        process.join()
        store = Store(str(copy))
        left = read_release(store, "v1")["counts"]["samples"]
        assert list(verify_release(store, "v1")) or left == (24 if process.exitcode else 22)
        begun = store.exists("releases/v1/.state/patch.json")
        told = patch(store, "v1", Requests((Takedown("speaker", "speaker 4", "asked by mail", "2026-01-01"),)))
        assert told["rows"] == 2
        there = speakers(str(copy), "v1")
        assert "speaker 4" not in there
        assert ("speaker 3" in there) == (bool(process.exitcode) and not begun)
        assert list(verify_release(store, "v1")) == []
        shutil.rmtree(copy)
        moving += begun
        if process.exitcode == 0:
            assert moving > 5
            return
    raise AssertionError("the patch never finished")


def test_a_source_that_is_asked_for_again_once_its_recording_is_known_takes_its_mirrors_along(corpus: SmallCorpus) -> None:  # noqa: F811
    corpus.add(corpus.segments("https://mirror.example/3.mp3", 3, [(0.25, 2.0)], speaker="mirror"))
    add(corpus.store, Takedown("source", "/audio/3.mp3", "asked by mail", "2026-01-01"))
    corpus.pack(shard_seconds=3)
    (first,) = set(corpus.store.names("releases")) - {"v1"}
    assert "mirror" in speakers(corpus.store.root, first)
    asked(corpus, "source", "/audio/3.mp3")
    corpus.pack(shard_seconds=3)
    (second,) = set(corpus.store.names("releases")) - {"v1", first}
    assert "mirror" not in speakers(corpus.store.root, second)
    assert list(verify_release(corpus.store, second)) == []


def test_audio_that_is_published_without_a_label_goes_too(corpus: SmallCorpus) -> None:  # noqa: F811
    rows = corpus.segments("/audio/unlabelled.mp3", 77, [(0.0, 1.0), (1.0, 2.0)], speaker="unlabelled")
    corpus.add([row | {"drop_stage": "filter", "drop_reason": "snr", "drop_detail": "low"} for row in rows])
    corpus.pack(unlabelled=["filter"], shard_seconds=3)
    (first,) = set(corpus.store.names("releases")) - {"v1"}
    assert speakers(corpus.store.root, first).count("unlabelled") == 2
    asked(corpus, "segment", rows[0]["segment_id"])
    corpus.pack(unlabelled=["filter"], shard_seconds=3)
    (second,) = set(corpus.store.names("releases")) - {"v1", first}
    assert speakers(corpus.store.root, second).count("unlabelled") == 1
    assert list(verify_release(corpus.store, second)) == []


def test_a_release_of_which_nothing_would_stay_is_left_whole(corpus: SmallCorpus) -> None:  # noqa: F811
    before = corpus.files("v1")
    for number in range(6):
        asked(corpus, "channel", f"Channel {number}")
    with pytest.raises(SilverError, match=r"nothing of release v1 would stay: remove the folder .*releases/v1"):
        patch(corpus.store, "v1", Requests(tuple(read_takedowns(corpus.store))))
    assert corpus.files("v1") == before


@pytest.mark.parametrize("name", ["ラジオ\u3000東京", "نیم\u200cفاصله", "family \U0001f468\u200d\U0001f469 talk", "Radio\u00a0X"])
def test_names_of_every_script_can_be_taken_down(corpus: SmallCorpus, name: str) -> None:  # noqa: F811
    corpus.add(corpus.segments("/audio/named.mp3", 78, [(0.0, 1.0)], channel=name))
    made = asked(corpus, "channel", name)
    assert read_takedowns(corpus.store) == [made]
    gone = [row["channel"] for table in corpus.pack(shard_seconds=3) for row in table.to_pylist() if row["drop_reason"] == "taken_down"]
    assert gone == [name]


@pytest.mark.parametrize("name", ["a\u2028b", "a\x1b[31mb", "a\ud800b", "a\x85b"])
def test_ends_of_lines_and_control_characters_are_refused(corpus: SmallCorpus, name: str) -> None:  # noqa: F811
    with pytest.raises(SilverError, match="control character"):
        request(Corpus(corpus.store.root), "channel", name, "asked by mail")


@pytest.mark.parametrize(("version", "said"), [("../v1", "no release is called '../v1'"), ("v2", "there are v1")])
def test_a_release_that_is_not_there_is_told_before_anything_is_recorded(corpus: SmallCorpus, version: str, said: str) -> None:  # noqa: F811
    done = silver("takedown", corpus.store.root, "--channel", "Channel 1", "--reason", "asked by mail", "--now", version)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert read_takedowns(corpus.store) == []
