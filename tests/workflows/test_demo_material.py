"""The speech and the podcasts of the demo: what the truth says is what is heard, when it is heard."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import feedparser
import numpy as np
import pytest
import soundfile

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.audio import read_audio
from stages.decode import Decode
from workflows.demo import speech
from workflows.demo.episodes import FORMATS, Episode, chords, encode, make_episodes
from workflows.demo.feed import serve, write_feeds
from workflows.demo.speech import LANGUAGES, Span, long_speech, prompts


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def episodes(home: Path) -> list[Episode]:
    return make_episodes(home / "site", home / "truth.jsonl", minutes=0.5)


@pytest.fixture(scope="module")
def decoded(episodes: list[Episode], home: Path) -> dict[str, Row]:
    rows = [
        {"source_id": episode.path.name, "segment_id": None, "source_uri": str(episode.path), "media_uri": str(episode.path)}
        for episode in episodes
    ]
    done = Decode(Decode.Params()).process(rows, PartContext(Store(str(home / "corpus"))))
    return {row["source_id"]: row for row in done}


def loudness(samples: np.ndarray, start: float, end: float) -> float:
    """Root mean square, 0 for nothing."""
    span = samples[round(start * 16000) : round(end * 16000)]
    return float(np.sqrt(np.mean(span**2))) if len(span) else 0.0


def assert_speech_is_where_the_truth_says(samples: np.ndarray, spans: list[Span]) -> None:
    """Between prompts it is quiet, but for what a lossy codec smears; in them it is not."""
    quiet = [0.0, *(span.end for span in spans)], [*(span.start for span in spans), len(samples) / 16000]
    pauses = [loudness(samples, start + 0.05, end - 0.05) for start, end in zip(*quiet, strict=True)]
    assert max(pauses) < 0.005
    assert min(loudness(samples, span.start, span.end) for span in spans) > 0.01
    # nor does a prompt begin or end long after or before the truth has it: the recordings are trimmed
    assert np.median([loudness(samples, span.start + 0.05, span.start + 0.25) for span in spans]) > 0.005
    assert np.median([loudness(samples, span.end - 0.35, span.end - 0.05) for span in spans]) > 0.002


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_are_real_sentences_at_16_khz(language: str) -> None:
    found = prompts(language)
    assert len(found) > 150
    assert len({prompt.path for prompt in found}) == len(found)
    for prompt in found:
        about = soundfile.info(prompt.path)
        assert (about.samplerate, about.channels, about.subtype) == (16000, 1, "PCM_16")
        assert about.duration >= 1
        assert len(prompt.text.split()) >= 3
        assert not set(prompt.text) & set("[]<>0123456789")


def test_a_machine_without_debian_packages_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SilverError, match=r"asterisk-core-sounds-es-g722.*no apt-get"):
        prompts("es")
    assert not (tmp_path / "es").exists()


def test_a_folder_of_the_cache_is_made_once_and_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "CACHE", tmp_path / "cache")
    made = []

    def make(work: Path) -> Path:
        (work / "kept").mkdir()
        (work / "kept" / "file").write_text("whole" if made else "half")
        made.append(work)
        if len(made) == 1:
            raise SilverError("the network is down")
        time.sleep(0.2)  # the others come meanwhile
        return work / "kept"

    with pytest.raises(SilverError, match="network"):
        speech.cached("name", make)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".name.lock"]
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: speech.cached("name", make), range(3)))
    assert folders == [tmp_path / "cache" / "name"] * 3
    assert (folders[0] / "file").read_text() == "whole"
    assert len(made) == 2  # the first failed


@pytest.mark.parametrize("language", LANGUAGES)
def test_long_speech_lies_where_its_spans_say(language: str) -> None:
    samples, spans = long_speech(language, 60)
    assert samples.dtype == np.float32
    assert 60 <= len(samples) / 16000 < 105
    assert_speech_is_where_the_truth_says(samples, spans)


def test_long_speech_is_the_same_each_time_and_can_be_continued() -> None:
    samples, spans = long_speech("en", 30)
    again, _ = long_speech("en", 30)
    _, more = long_speech("en", 30, skip=len(spans))
    assert np.array_equal(samples, again)
    assert not {span.text for span in spans} & {span.text for span in more}
    _, all_of_it = long_speech("en", 20, skip=len(prompts("en")))
    assert all_of_it[0].text == spans[0].text  # when all were used they come again


def test_truth_holds_after_encoding_and_decoding(home: Path, episodes: list[Episode], decoded: dict[str, Row]) -> None:
    said: dict[str, list[Span]] = {}
    for line in (home / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        said.setdefault(entry["episode"], []).append(Span(entry["start"], entry["end"], entry["text"]))
    assert {Path(name).suffix for name in said} == {".mp3", ".opus", ".m4a"}
    for name in said.keys() - {"en-cut-off.mp3"}:
        assert decoded[name].get("drop_reason") is None
        assert_speech_is_where_the_truth_says(read_audio(Store(str(home / "corpus")), decoded[name]), said[name])


def test_no_prompt_is_in_two_episodes(home: Path, episodes: list[Episode]) -> None:
    lines = [json.loads(line) for line in (home / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    first_heard: dict[tuple[str, str], str] = {}
    for line in lines:
        assert first_heard.setdefault((line["language"], line["text"]), line["episode"]) == line["episode"]


def test_some_episodes_are_not_what_they_claim(home: Path, episodes: list[Episode], decoded: dict[str, Row]) -> None:
    claimed = {episode.path.name: episode for episode in episodes}
    truth = [json.loads(line) for line in (home / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    spoken = {line["episode"]: line["language"] for line in truth}
    assert [name for name, language in spoken.items() if claimed[name].language != language] == ["en-guest-from-madrid.mp3"]
    assert claimed.keys() - spoken.keys() == {"en-rain-to-sleep-by.opus", "en-theme.m4a", "en-not-audio.mp3"}
    assert decoded["en-not-audio.mp3"]["drop_reason"] == "not_audio"
    assert decoded["en-cut-off.mp3"]["duration"] < 0.6 * claimed["en-cut-off.mp3"].seconds
    assert decoded["en-theme.m4a"]["duration"] == pytest.approx(30, abs=0.2)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_episode_has_the_same_bytes_each_time(suffix: str, tmp_path: Path) -> None:
    for name in "ab":
        encode(chords(3), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_feeds_name_every_episode_with_its_true_length(episodes: list[Episode]) -> None:
    folder = episodes[0].path.parent
    found = {}
    with serve(folder) as address:
        names = write_feeds(folder, episodes, address)
        assert names == ["en.xml", "es.xml", "fr.xml"]
        for name in names:
            feed = feedparser.parse(f"{address}/{name}")
            assert not feed.bozo
            assert feed.version == "rss20"
            assert feed.feed.language == name[:2]
            assert feed.feed.license.startswith("https://creativecommons.org/licenses/by-sa/3.0")
            assert feed.feed.link
            assert feed.feed.description
            for entry in feed.entries:
                (enclosure,) = entry.enclosures
                with urllib.request.urlopen(enclosure.href) as answer:
                    assert len(answer.read()) == int(enclosure.length)
                found[enclosure.href.rpartition("/")[2]] = enclosure.type, entry.itunes_duration, entry.published
    assert found.keys() == {episode.path.name for episode in episodes}
    assert {kind for kind, *_ in found.values()} == {"audio/mpeg", "audio/ogg", "audio/mp4"}


def test_the_truth_is_not_served(home: Path, episodes: list[Episode]) -> None:
    with serve(episodes[0].path.parent) as address, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/../truth.jsonl")
