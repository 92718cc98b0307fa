"""A release whose audio is Opus or MP3: as deterministic as one of FLAC, of the same length, and read by everybody."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from lhotse import CutSet

from manifests.release import read_release
from manifests.takedown import Requests, Takedown
from manifests.verify import verify_release
from stages.audio import SAMPLE_RATE, read_audio
from stages.pack.patch import patch
from stages.train.data import Share, utterances
from tests.hugging_face_reader import read
from tests.small_corpus import SmallCorpus
from tests.speech import long_speech
from tests.stages.test_pack import live, samples
from workflows.export import export

CODECS = ("opus", "mp3")


def speech(root: Path) -> SmallCorpus:
    """Two recordings of real speech, three segments each."""
    corpus = SmallCorpus(root)
    for seed in (0, 1):
        heard, _ = long_speech("en", 12, seed=seed)
        corpus.add(corpus.speech(f"/{seed}.mp3", heard, [(0.0, 2.5), (2.5, 2.9), (3.101, 10.0)], channel=f"channel {seed}"))
    return corpus


@pytest.fixture(scope="module", params=CODECS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallCorpus, str]:
    corpus = speech(tmp_path_factory.mktemp(request.param))
    corpus.pack(version="v1", codec=request.param)
    return corpus, request.param


def alike(one: Any, other: Any) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_the_same_bytes_each_time_of_exactly_as_many_samples(packed: tuple[SmallCorpus, str], tmp_path: Path) -> None:
    corpus, codec = packed
    again = speech(tmp_path)
    again.pack(version="v1", codec=codec)
    assert again.files("v1") == corpus.files("v1")
    again.pack(version="flac")
    found, whole = samples(corpus, "v1"), samples(again, "flac")
    for row in live(corpus):
        audio, rate = soundfile.read(io.BytesIO(found[row["segment_id"]][codec]), dtype="float32")
        assert (len(audio), rate) == (len(read_audio(corpus.store, row)), SAMPLE_RATE)
        assert alike(audio, read_audio(corpus.store, row)) > 0.98
        assert json.loads(found[row["segment_id"]]["json"])["audio_format"] == codec
    assert sum(len(some[codec]) for some in found.values()) < 0.6 * sum(len(some["flac"]) for some in whole.values())


def test_verify_reads_it_and_finds_what_was_spoiled(packed: tuple[SmallCorpus, str]) -> None:
    corpus, codec = packed
    assert [str(finding) for finding in verify_release(corpus.store, "v1", decode=True)] == []
    assert f"The audio is lossy: it was encoded anew as {codec.upper()}." in corpus.files("v1")["README.md"].decode()
    index = pq.read_table(corpus.store.path("releases/v1/index.parquet")).to_pylist()
    assert {row["audio_format"] for row in index} == {codec}
    place = index[0]
    with Path(corpus.store.path("releases/v1"), place["shard"]).open("rb") as handle:
        handle.seek(place["offset"])
        audio, _ = soundfile.read(io.BytesIO(handle.read(place["size"])))
    assert len(audio) == round(place["duration"] * SAMPLE_RATE)


def test_loaders_exports_and_training_read_it(packed: tuple[SmallCorpus, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, _ = packed
    folder = Path(corpus.store.path("releases/v1"))
    rows = {row["segment_id"]: row for row in live(corpus)}
    out = export(str(folder), str(tmp_path / "lhotse"), "lhotse")
    for cut in CutSet.from_file(out / "train_cuts.jsonl.gz"):
        assert alike(cut.load_audio()[0], read_audio(corpus.store, rows[cut.id])) > 0.98
    out = export(str(folder), str(tmp_path / "nemo"), "nemo")
    for line in (out / "train_manifest.json").read_text().splitlines():
        assert soundfile.info(json.loads(line)["audio_filepath"]).duration == pytest.approx(json.loads(line)["duration"], abs=1e-4)

    shards = [(corpus.store.root, f"releases/v1/{shard['path']}") for shard in read_release(corpus.store, "v1")["shards"]]
    texts = {(corpus.store.root, key): (row["text"], "en") for key, row in rows.items()}
    heard = list(utterances(shards, texts, seed=0, epoch=0, share=Share()))
    assert sorted(len(item.samples) for item in heard) == sorted(round(row["duration"] * SAMPLE_RATE) for row in rows.values())

    monkeypatch.chdir(folder)
    found = read(tmp_path / "scratch", (folder, "card"))
    (by_snippet,) = found.pop("snippet")
    assert by_snippet["rate"] == SAMPLE_RATE
    for read_back in found.values():
        assert sorted(sample["key"] for sample in read_back) == sorted(rows)
        for sample in read_back:
            expected = read_audio(corpus.store, rows[sample["key"]])
            length = min(len(expected), len(sample["samples"]))
            assert abs(len(expected) - len(sample["samples"])) <= 32  # Opus is decoded at 48 kHz there, and resampled
            assert alike(expected[:length], sample["samples"][:length]) > 0.98


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_taken_down_goes_without_encoding_anything_anew(tmp_path: Path, codec: str) -> None:
    corpus = speech(tmp_path)
    corpus.pack(version="v1", codec=codec)
    before, gone = samples(corpus, "v1"), live(corpus)[1]["segment_id"]
    patch(corpus.store, "v1", Requests((Takedown("segment", gone, "asked", "2026-01-01", (gone.partition("-")[0],)),)))
    after = samples(corpus, "v1")
    assert after == {key: some for key, some in before.items() if key != gone}
    assert list(verify_release(corpus.store, "v1", decode=True)) == []


def test_a_codec_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flac"):
        speech(tmp_path).pack(version="v1", codec="aac")
