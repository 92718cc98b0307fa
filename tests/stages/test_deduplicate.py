"""Copies of real recorded speech: encoded anew, made louder, cut, and jingles inside other speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from manifests.part import read_rows
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE, Samples
from stages.copies import Place, repeats
from stages.deduplicate import Deduplicate
from tests.heldout import compressed
from tests.small_corpus import SmallCorpus
from workflows.demo.speech import long_speech, read_samples

MINUTE = 60 * SAMPLE_RATE


@pytest.fixture(scope="module")
def shows() -> list[Samples]:
    """Four minutes each of different prompts by three speakers; two of one speaker, which have no prompt in common."""
    return [long_speech("en", 240)[0][: 4 * MINUTE], long_speech("es", 240)[0][: 4 * MINUTE], long_speech("fr", 240)[0][: 4 * MINUTE],
            long_speech("en", 240, skip=110)[0][: 4 * MINUTE]]  # fmt: skip


@pytest.fixture(scope="module")
def jingle() -> Samples:
    """Eight seconds of somebody else."""
    return long_speech("it", 30)[0][4 * SAMPLE_RATE : 12 * SAMPLE_RATE]


def again(tmp_path: Path, samples: Samples, name: str = "again.mp3", codec: str = "libmp3lame", bit_rate: int = 32_000) -> Samples:
    """Encoded by a lossy codec, decoded, and quieter."""
    found = read_samples(compressed(tmp_path / name, samples, codec, bit_rate))
    return (0.4 * found).astype(np.float32)


def corpus_of(root: Path, *recordings: Samples) -> SmallCorpus:
    corpus = SmallCorpus(root)
    for number, samples in enumerate(recordings):
        spans = [(float(at), at + 10.0) for at in range(0, len(samples) // SAMPLE_RATE - 9, 10)]
        rows = corpus.speech(f"/{number}.mp3", samples, spans, channel=f"channel {number}")
        for row in rows:
            row["text"] = f"text of {row['segment_id']}"
        corpus.add(rows)
    return corpus


def deduplicated(corpus: SmallCorpus, **params: Any) -> list[list[dict[str, Any]]]:
    tables: list[pa.Table] = list(Deduplicate(Deduplicate.Params(**params)).run(corpus.parts, corpus._context({}, map)))  # type: ignore[arg-type]
    return [table.to_pylist() for table in tables]


def reasons(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["drop_reason"] for row in rows]


@pytest.mark.parametrize(("name", "codec", "bit_rate"), [("a.mp3", "libmp3lame", 32_000), ("a.ogg", "libopus", 16_000)])
def test_a_recording_that_was_encoded_anew_is_dropped_and_others_stay(
    tmp_path: Path, shows: list[Samples], name: str, codec: str, bit_rate: int
) -> None:
    corpus = corpus_of(tmp_path / "corpus", *shows, again(tmp_path, shows[1], name, codec, bit_rate))
    *originals, copy = deduplicated(corpus)
    assert all(set(reasons(rows)) == {None} for rows in originals)
    assert set(reasons(copy)) == {"duplicate_recording"}
    assert "/1.mp3), which stays" in copy[0]["drop_detail"]


def test_a_part_of_another_recording_is_dropped_and_the_longer_one_stays_whatever_comes_first(tmp_path: Path, shows: list[Samples]) -> None:
    part = again(tmp_path, shows[0][MINUTE : 2 * MINUTE])
    whole, excerpt = deduplicated(corpus_of(tmp_path / "after", shows[0], part))
    assert (set(reasons(whole)), set(reasons(excerpt))) == ({None}, {"duplicate_recording"})
    excerpt, whole = deduplicated(corpus_of(tmp_path / "before", part, shows[0]))
    assert set(reasons(excerpt)) == {None}
    dropped = [row["start"] for row in whole if row["drop_reason"] == "repeated_audio"]
    assert {70.0, 80.0, 90.0, 100.0} <= set(dropped) <= {60.0, 70.0, 80.0, 90.0, 100.0, 110.0}


def test_of_a_jingle_in_many_episodes_one_stays(tmp_path: Path, shows: list[Samples], jingle: Samples) -> None:
    episodes = []
    for number, show in enumerate(shows):
        at = (30 + 20 * number) * SAMPLE_RATE
        sound = again(tmp_path, jingle) if number % 2 else jingle
        episodes.append(
            np.concatenate(
                [show[:at], np.zeros(SAMPLE_RATE, np.float32), sound[: len(jingle)], np.zeros(SAMPLE_RATE, np.float32), show[at:]]
            )
        )
    found = deduplicated(corpus_of(tmp_path / "corpus", *episodes))
    for number, rows in enumerate(found):
        dropped = [row for row in rows if row["drop_reason"]]
        assert [(row["start"], row["drop_reason"]) for row in dropped] == ([] if number == 0 else [(30.0 + 20 * number, "repeated_audio")])
        assert all("/0.mp3" in row["drop_detail"] or "which stays" in row["drop_detail"] for row in dropped)


def test_a_corpus_that_grows_keeps_what_it_had(tmp_path: Path, shows: list[Samples]) -> None:
    first = deduplicated(corpus_of(tmp_path / "one", *shows[:3]))
    second = deduplicated(corpus_of(tmp_path / "two", *shows[:3], again(tmp_path, shows[2]), shows[3]))
    assert second[:3] == first
    assert set(reasons(second[3])) == {"duplicate_recording"}


def test_where_the_copies_lie_is_said_to_a_third_of_a_second(tmp_path: Path, shows: list[Samples], jingle: Samples) -> None:
    with_jingle = np.concatenate([shows[0][:MINUTE], jingle, shows[0][MINUTE:]])
    corpus = corpus_of(tmp_path / "corpus", with_jingle, np.concatenate([shows[1][: 2 * MINUTE], again(tmp_path, jingle)]))
    places = [
        Place(row["recording_id"], corpus.store.root, row["audio_path"]) for ref in corpus.parts for row in read_rows(corpus.store, ref)[:1]
    ]
    (found,) = repeats(corpus.store, places)
    assert (found.a, found.b) == (places[0].recording, places[1].recording)
    assert found.a_start - found.b_start == pytest.approx(-60, abs=0.1)
    assert 60 - 0.33 <= found.a_start < 61.5
    assert 66 < found.a_end <= 68.7
    assert found.wrong < 0.2
    kept = sorted(Path(corpus.store.path("fingerprints")).rglob("*.npz"))
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    assert repeats(corpus.store, places) == [found]
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_of_one_text_a_number_of_segments_stays_the_same_ones_every_time(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n in range(6):
        corpus.add(corpus.segments(f"/{n}.mp3", n, [(0.0, 0.5), (0.5, 1.0)], text="thank you" if n < 5 else "something else"))
    found = deduplicated(corpus, max_repeats=3, audio=None, recording=None)
    stays = [row["segment_id"] for rows in found for row in rows if row["drop_reason"] is None and row["text"] == "thank you"]
    gone = [row for rows in found for row in rows if row["drop_reason"] == "repeated_text"]
    assert (len(stays), len(gone)) == (3, 7)
    assert gone[0]["drop_detail"] == "its text is in 10 segments, of which 3 stay"
    assert reasons(found[5]) == [None, None]
    corpus.parts.reverse()
    other = deduplicated(corpus, max_repeats=3, audio=None, recording=None)
    assert sorted(
        row["segment_id"] for rows in other for row in rows if row["drop_reason"] is None and row["text"] == "thank you"
    ) == sorted(stays)


def test_what_an_earlier_corpus_has_is_there_first(tmp_path: Path, shows: list[Samples]) -> None:
    import json

    from manifests.corpus import CURRENT, Manifest

    earlier = corpus_of(tmp_path / "earlier", shows[0], shows[1])
    manifest = Manifest(earlier.store, "filter", "feedbeef")
    manifest.write_info({"stage": "filter", "fingerprint": "feedbeef"})
    manifest.finish(earlier.parts, "")
    earlier.store.write(CURRENT, json.dumps({"stages": [{"stage": "filter", "fingerprint": "feedbeef"}]}).encode())
    corpus = corpus_of(tmp_path / "corpus", shows[0], again(tmp_path, shows[1]), shows[2])
    same, encoded, new = deduplicated(corpus, against=[earlier.store.root])
    assert (set(reasons(same)), set(reasons(encoded)), set(reasons(new))) == ({"duplicate_recording"}, {"duplicate_recording"}, {None})
    assert "earlier" in same[0]["drop_detail"]
    with pytest.raises(SilverError, match="is no corpus with a finished stage"):
        deduplicated(corpus, against=[str(tmp_path / "nowhere")])


def test_a_recording_that_is_gone_is_named(tmp_path: Path, shows: list[Samples]) -> None:
    corpus = corpus_of(tmp_path, shows[0][:MINUTE])
    path = Path(corpus.store.path(read_rows(corpus.store, corpus.parts[0])[0]["audio_path"]))
    path.unlink()
    with pytest.raises(SilverError, match=f"{path.name} cannot be read, so copies of it cannot be found"):
        deduplicated(corpus)
    soundfile.write(path, np.zeros(10, np.int16), SAMPLE_RATE, format="FLAC")
    assert reasons(deduplicated(corpus)[0]) == [None] * 6
