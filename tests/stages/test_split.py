from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from manifests.part import PartRef, read_rows
from manifests.release import LEAKS, read_release
from manifests.verify import verify_release
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE
from stages.split import HELD_OUT, TIED, Split
from stages.split.clusters import Tie, allot, cluster
from stages.split.voices import same_voice
from tests.small_corpus import SmallCorpus
from tests.speech import prompts
from workflows.demo.speech import read_samples

BY = ["channel", "speaker", "text"]


def corpus_of(root: Path, channels: int, recordings: int = 2, **columns: Any) -> SmallCorpus:
    corpus = SmallCorpus(root)
    for n in range(channels * recordings):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1), (0.1, 0.2)], channel=f"channel {n // recordings}", **columns))
    return corpus


def rows_of(corpus: SmallCorpus) -> list[dict[str, Any]]:
    return [row for ref in corpus.parts for row in read_rows(corpus.store, ref)]


def test_no_channel_is_in_two_splits_and_the_shares_are_right(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 40)
    corpus.split(splits={"dev": 0.2, "test": 0.1}, by=BY)
    splits: dict[str, set[str]] = {}
    for row in rows_of(corpus):
        splits.setdefault(row["channel"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    counts = [sum(found == {name} for found in splits.values()) for name in ("train", "dev", "test")]
    assert counts == [28, 8, 4]


def test_what_a_release_published_as_test_never_trains_however_much_is_added(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 20)
    whole = list(corpus.parts)
    corpus.split(splits={"test": 0.2}, by=BY)
    corpus.pack(version="v1")
    before = {row["recording_id"]: row["split"] for row in rows_of(corpus)}
    corpus.parts = whole
    for n in range(100, 160):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1)], channel=f"channel {n % 30}"))
    corpus.split(splits={"test": 0.1}, by=BY, seed=7)
    after = {row["recording_id"]: row["split"] for row in rows_of(corpus)}
    assert before.items() <= after.items()
    of_channel: dict[str, set[str]] = {}
    for row in rows_of(corpus):
        of_channel.setdefault(row["channel"], set()).add(row["split"])
    assert all(len(found) == 1 for found in of_channel.values())
    corpus.pack(version="v2", after="v1")
    assert list(verify_release(corpus.store, "v2")) == []


def test_a_speaker_on_two_channels_ties_them_together(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(20):
        who = "Ann  Lee" if n in (3, 12) else f"speaker {n}"
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1)], channel=f"channel {n}", speaker=who if n != 12 else "ann lee"))
    for seed in range(5):
        found = cluster_of(corpus, seed)
        assert found["channel 3"] == found["channel 12"]


def cluster_of(corpus: SmallCorpus, seed: int) -> dict[str, str]:
    parts = list(corpus.parts)
    corpus.split(splits={"dev": 0.4}, by=BY, seed=seed)
    found = {row["channel"]: row["split"] for row in rows_of(corpus)}
    corpus.parts = parts
    return found


def test_a_new_recording_between_train_and_test_is_left_out_and_says_why(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(10):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1)], channel=f"channel {n}", speaker=f"speaker {n}"))
    whole = list(corpus.parts)
    corpus.split(splits={"test": 0.3}, by=BY)
    corpus.pack(version="v1")
    split = {row["channel"]: row["split"] for row in rows_of(corpus)}
    held = next(name for name, found in split.items() if found == "test")
    trained = next(name for name, found in split.items() if found == "train")
    corpus.parts = whole
    corpus.add(corpus.segments("/between.mp3", 50, [(0.0, 0.1)], channel=trained, speaker=held.replace("channel", "speaker")))
    corpus.add(corpus.segments("/beside.mp3", 51, [(0.0, 0.1)], channel=trained, speaker="somebody else"))
    corpus.split(splits={"test": 0.3}, by=BY)
    between, beside = rows_of(corpus)[-2:]
    assert (between["drop_reason"], between["drop_stage"], between["split"]) == (TIED, "split", None)
    assert "speaker" in between["drop_detail"] or "channel" in between["drop_detail"]
    assert (beside["drop_reason"], beside["split"]) == (None, "train")


def test_a_sentence_of_the_test_set_is_not_trained_on_and_a_formula_is(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(10):
        rows = corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1), (0.1, 0.2), (0.2, 0.3)], channel=f"channel {n}")
        rows[0]["text"] = "the quick brown fox jumps over the lazy dog"
        rows[1]["text"] = "thank you very much"
        rows[2]["text"] = f"nobody else has ever said this sentence number {'abcdefghij'[n]} before"
        corpus.add(rows)
    corpus.split(splits={"test": 0.2}, by=BY)
    for row in rows_of(corpus):
        if row["split"] == "train" and row["text"].startswith("the quick"):
            assert row["drop_reason"] == HELD_OUT
            assert "is held out" in row["drop_detail"]
        else:
            assert row["drop_reason"] is None


def test_one_channel_alone_cannot_be_split_by_channel_and_says_what_to_do(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 1, recordings=6)
    with pytest.raises(SilverError, match=r"no split is possible: by channel, speaker.*'channel 0'.*split\.by.*splits=\{\}"):
        corpus.split(splits={"test": 0.2}, by=BY)
    corpus.split(splits={"test": 0.2})
    assert {row["split"] for row in rows_of(corpus)} == {"train", "test"}


def test_recordings_without_channel_and_speaker_are_units_of_their_own(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(10):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1)], channel=None, speaker=None))
    corpus.split(splits={"test": 0.2}, by=BY)
    assert sorted(row["split"] for row in rows_of(corpus)) == ["test"] * 2 + ["train"] * 8


def test_every_language_gets_its_share(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(40):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.1)], channel=f"channel {n}", language="el" if n % 4 == 0 else "it"))
    corpus.split(splits={"test": 0.2}, by=BY, balance=["language"])
    test = [row["language"] for row in rows_of(corpus) if row["split"] == "test"]
    assert (test.count("el"), test.count("it")) == (2, 6)


def gold(tmp_path: Path, corpus: SmallCorpus, text: str) -> str:
    """A public test set that has the audio of recording 3."""
    audio, rate = soundfile.read(corpus.store.path(rows_of(corpus)[0]["audio_path"]), dtype="int16")
    soundfile.write(tmp_path / "public.wav", audio, rate)
    line = {"audio": "public.wav", "start": 0.0, "end": len(audio) / SAMPLE_RATE, "text": text, "language": "en"}
    (tmp_path / "public.jsonl").write_text(json.dumps(line) + "\n")
    return str(tmp_path / "public.jsonl")


def test_a_public_test_set_in_the_corpus_ends_the_run_unless_it_is_waived_by_name(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", 5)
    parts = list(corpus.parts)
    path = gold(tmp_path, corpus, "some words that are nowhere else to be found")
    with pytest.raises(SilverError, match=r"public: same recording, 1 or 100\.0%.*split\.waive=\[public:recording\]"):
        corpus.split(splits={"test": 0.2}, against={"public": path})
    corpus.parts = parts
    corpus.split(splits={"test": 0.2}, against={"public": path}, waive=["public:recording"])
    told = json.loads(corpus.store.read(f"manifests/split/ab/{LEAKS}"))["leaks"]
    assert [(leak["set"], leak["kind"], leak["count"], leak["waived"]) for leak in told] == [("public", "recording", 1, True)]
    corpus.pack(version="v1")
    assert read_release(corpus.store, "v1")["leaks"][0]["waived"]
    told = "Leak of the test set public: 1 times the same recording (100.0% of the set), waived by whoever made this release."
    for paper in ("README.md", "croissant.json"):
        assert told in corpus.files("v1")[paper].decode()
    assert "**Audio or text of public test sets is in this release.**" in corpus.files("v1")["README.md"].decode()


def test_a_speaker_that_is_not_known_is_said_by_the_run_and_by_the_card(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "some", 10, recordings=1)
    corpus.add(corpus.segments("/known.mp3", 99, [(0.0, 0.1)], channel="another", speaker="Ann"))
    corpus.split(splits={"dev": 0.3}, by=["channel", "speaker"])
    assert "10 of 11 recordings do not say their speaker: nothing keeps splits apart by it there" in corpus.reported
    corpus.pack(version="v1")
    assert "- The speaker of 20 of 21 segments is not known." in corpus.files("v1")["README.md"].decode()
    none = corpus_of(tmp_path / "none", 10, recordings=1)
    none.split(splits={"dev": 0.3}, by=["channel", "speaker"])
    none.pack(version="v1")
    card = none.files("v1")["README.md"].decode()
    for said in ("- Speakers are unknown.", "- Speakers can be in two splits: they are not told apart across recordings."):
        assert said in card


@pytest.mark.parametrize("splits", [{"train": 0.1}, {"../dev": 0.1}, {"dev-1": 0.1}, {"dev": 1.5}, {"dev": 0.6, "test": 0.6}])
def test_splits_that_make_no_sense_are_refused(splits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Split.Params(splits=splits)


def test_what_is_waived_must_name_a_leak() -> None:
    with pytest.raises(ValidationError, match="NAME:KIND"):
        Split.Params(waive=["everything"])


def test_channels_that_were_published_apart_and_turn_out_to_be_one_are_a_leak() -> None:
    ties = [Tie("speaker", "x", ("r1", "r2"))]
    found = cluster(["r1", "r2", "r3"], ties, {"r1": "train", "r2": "test"})
    assert [(tie.kind, a, b) for tie, a, b in found.leaks] == [("speaker", "r1", "r2")]
    assert not found.left_out


def test_one_speaker_under_two_names_is_told_by_the_voice(tmp_path: Path) -> None:
    """Real recorded prompts of two speakers, two shows each, every show a channel of its own."""
    corpus = SmallCorpus(tmp_path)
    for number, (language, part) in enumerate([("fr", 0), ("it", 0), ("fr", 1), ("it", 1)]):
        pieces = [read_samples(prompt.path) for prompt in prompts(language)[part * 60 : part * 60 + 40]]
        corpus.add(
            corpus.speech(
                f"/{number}.mp3",
                np.concatenate(pieces)[: 48 * SAMPLE_RATE],
                [(8.0 * n, 8.0 * n + 8) for n in range(6)],
                channel=f"{number}",
            )
        )
    pairs = zip(corpus.parts[:2], corpus.parts[2:], strict=True)
    assert sorted(same_voice(corpus.store, corpus.parts)) == sorted(tuple(sorted(recordings_of(corpus, pair))) for pair in pairs)
    corpus.split(splits={"test": 0.4}, by=["voice"])
    first, second, third, fourth = ({row["split"] for row in read_rows(corpus.store, ref)} for ref in corpus.parts)
    assert first == third != second == fourth


def recordings_of(corpus: SmallCorpus, parts: Iterable[PartRef]) -> set[str]:
    return {row["recording_id"] for ref in parts for row in read_rows(corpus.store, ref)}


def test_a_cluster_that_is_most_of_the_corpus_trains() -> None:
    seconds = {"giant": 1000.0} | {f"small {n}": 1.0 for n in range(50)}
    for seed in range(10):
        found = allot(seconds, {}, {}, {"dev": 0.01, "test": 0.01}, seed)
        assert found["giant"] == "train"
        assert 9 <= sum(split == "dev" for split in found.values()) <= 11
