"""What of a held-out set is trained on is found, and what only looks like it is not."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.audio import SAMPLE_RATE, Samples
from stages.decode import Decode
from stages.heldout import HeldOut, apart, check, leaks
from stages.heldout.fingerprint import SAME, Index
from tests.heldout import compressed, write_gold
from tests.speech import long_speech

SECONDS = 90


@pytest.fixture(scope="module")
def speech() -> tuple[Samples, list]:
    """What is held out."""
    return long_speech("en", SECONDS)


@pytest.fixture(scope="module")
def other() -> Samples:
    """Other speech of the same speaker, in the same studio."""
    samples, _ = long_speech("en", SECONDS, skip=60)
    return samples


class World:
    """A corpus root, and a folder with a held-out set."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "root"))

    def held(self, samples: Samples, texts: list[str], **more: Any) -> HeldOut:
        soundfile.write(self.folder / "held.flac", samples, SAMPLE_RATE)
        lines = [{"audio": "held.flac", "start": n, "end": n + 1, "text": text, "language": "en"} | more for n, text in enumerate(texts)]
        return HeldOut.read(write_gold(self.folder / "test.jsonl", lines))

    def speech(self, speech: tuple[Samples, list], name: str = "test", **more: Any) -> HeldOut:
        samples, spans = speech
        soundfile.write(self.folder / "held.flac", samples, SAMPLE_RATE)
        lines = [{"audio": "held.flac", "start": s, "end": e, "text": t, "language": "en"} | more for s, e, t in spans]
        return HeldOut.read(write_gold(self.folder / f"{name}.jsonl", lines))

    def gold(self, name: str, audio: Path, *texts: str, **more: Any) -> HeldOut:
        lines = [{"audio": str(audio), "start": n, "end": n + 1, "text": text, "language": "en"} | more for n, text in enumerate(texts)]
        return HeldOut.read(write_gold(self.folder / f"{name}.jsonl", lines))

    def train(self, path: Path, text: str = "", **more: Any) -> Row:
        """A segment of a recording, through the real decoder."""
        row = {"media_uri": str(path), "source_uri": str(path), "channel": None, "speaker": None, "language": "en", "train_text": text}
        return Decode(Decode.Params()).process_row(row | more, PartContext(self.store))

    def flac(self, name: str, samples: Samples) -> Path:
        soundfile.write(self.folder / name, samples, SAMPLE_RATE)
        return self.folder / name


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def kinds(rows: list[Row], held: HeldOut, world: World) -> list[str]:
    return [leak.kind for leak in leaks(rows, held, world.store)]


def test_other_speech_of_the_same_speaker_is_another_audio(world: World, speech: tuple[Samples, list], other: Samples) -> None:
    held = world.speech(speech, channel="studio one", speaker="Ann")
    row = world.train(world.flac("a.flac", other), "press one for sales", channel="studio two", speaker="Anna")
    assert check([row], [held], world.store) == {held.path: []}


def test_the_same_file_leaks_under_any_name_and_in_any_container(world: World, speech: tuple[Samples, list]) -> None:
    held = world.speech(speech)
    copy = world.folder / "copy.wav"
    soundfile.write(copy, soundfile.read(world.folder / "held.flac", dtype="int16")[0], SAMPLE_RATE)
    for path in (world.folder / "held.flac", copy):
        assert kinds([world.train(path)], held, world) == ["recording"]
    link = world.folder / "link.flac"
    link.symlink_to(world.folder / "held.flac")
    row = world.train(world.flac("other.flac", speech[0][:SAMPLE_RATE]))  # what was at the path when it was decoded
    assert "recording" in kinds([row | {"source_uri": str(link)}], held, world)


CODECS = [("libmp3lame", 64_000, 44_100, "mp3"), ("libmp3lame", 24_000, 16_000, "mp3"), ("libopus", 16_000, 16_000, "ogg"), ("pcm_mulaw", 64_000, 8_000, "wav")]  # fmt: skip


@pytest.mark.parametrize(("codec", "bit_rate", "rate", "suffix"), CODECS)
def test_the_same_speech_is_found_however_it_was_encoded(
    world: World, speech: tuple[Samples, list], other: Samples, codec: str, bit_rate: int, rate: int, suffix: str
) -> None:
    held = world.speech(speech)
    quiet = np.concatenate(
        [other[: 20 * SAMPLE_RATE + 123], 0.1 * speech[0][9 * SAMPLE_RATE + 77 : 60 * SAMPLE_RATE], other[-SAMPLE_RATE:]]
    )
    row = world.train(compressed(world.folder / f"show.{suffix}", quiet, codec, bit_rate, rate))
    (found,) = leaks([row], held, world.store)
    windows = held.windows(world.store)
    assert (found.kind, found.count) == ("audio", 3)  # 9 s to 60 s of windows of 28 s
    assert len(windows) == 4
    with pytest.raises(
        SilverError,
        match=rf"same audio, 3 or 75\.0%: .*test\.jsonl:1 is in {row['recording_id']} from \d+\.\d s .* take one of the two out",
    ):
        check([row], [held], world.store)


def test_three_seconds_of_another_hour_are_enough(world: World, speech: tuple[Samples, list], other: Samples) -> None:
    held = world.speech(speech)
    piece = speech[0][30 * SAMPLE_RATE : 37 * SAMPLE_RATE]
    row = world.train(world.flac("a.flac", np.concatenate([np.tile(other, 8), piece, other])))  # past the first ten minutes
    (found,) = leaks([row], held, world.store)
    assert found.count == 1
    (match,) = Index([piece]).matches(world.store, row["audio_path"])
    assert match.start - match.held_start == pytest.approx(8 * len(other) / SAMPLE_RATE, abs=0.05)
    assert match.wrong < SAME / 2


def test_single_words_are_told_apart_and_found(world: World, speech: tuple[Samples, list], other: Samples) -> None:
    seconds = [speech[0][n * SAMPLE_RATE : (n + 1) * SAMPLE_RATE] for n in range(5, 65)]
    row = world.train(world.flac("a.flac", other))
    assert Index(seconds).matches(world.store, row["audio_path"]) == []
    copy = world.train(compressed(world.folder / "b.mp3", 0.3 * speech[0], "libmp3lame", 32_000))
    assert len(Index(seconds).matches(world.store, copy["audio_path"])) > 50  # the others are pauses for the most part


def test_silence_hum_and_noise_are_nobodys(world: World) -> None:
    time = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    hum = 0.3 * np.sin(2 * np.pi * 50 * time)
    for number, (sound, noise) in enumerate([(0 * hum, 0.0), (hum, 0.02), (0 * hum, 0.1)]):
        held, other = (sound + noise * np.random.default_rng(seed).normal(0, 1, len(time)) for seed in (0, 1))
        row = world.train(world.flac(f"{number}.flac", other))
        if noise:
            assert kinds([row], world.held(held, ["nobody speaks"] * 20), world) == []
        assert Index([held]).matches(world.store, row["audio_path"]) == []


@pytest.mark.parametrize(
    ("held", "trained", "leaking"),
    [
        ({"speaker": "Ann Lee"}, {"speaker": "ann  LEE"}, ["speaker"]),
        ({"speaker": "Ann Lee"}, {"speaker": "Ann"}, []),
        ({"speaker": "Ann"}, {"channel": "Ann"}, []),
        ({"channel": "radio"}, {"channel": "Radio"}, ["channel"]),
        ({"channel": "radio", "speaker": "Ann"}, {"channel": "radio", "speaker": "Ann"}, ["speaker", "channel"]),
        ({}, {}, []),
        ({"speaker": None}, {"speaker": ""}, []),
    ],
)
def test_speakers_and_channels_are_on_one_side(world: World, other: Samples, held: dict, trained: dict, leaking: list[str]) -> None:
    row = world.train(world.flac("a.flac", other[: 5 * SAMPLE_RATE]), **trained)
    assert kinds([row], world.held(np.zeros(SAMPLE_RATE * 3), ["one", "two"], **held), world) == leaking


LONG = "we will not pay more than twenty dollars for the grey colour"


@pytest.mark.parametrize(
    ("trained", "leaking"),
    [
        (f"and she said {LONG} of it", True),
        ("We WON'T pay more than $20 for the gray color!", True),
        ("we will not pay more than twenty dollars for the blue colour", False),
        ("dollars for the grey colour we will not pay more than twenty", False),
        ("thank you very much", False),  # too short to be anybody's own
    ],
)
def test_sentences_are_found_however_they_are_written(world: World, trained: str, leaking: bool) -> None:
    held = world.held(np.zeros(SAMPLE_RATE * 3), [LONG, "thank you very much"])
    row = world.train(world.flac("a.flac", np.ones(SAMPLE_RATE)), trained)
    assert kinds([row], held, world) == (["text"] if leaking else [])
    assert kinds([row | {"language": "fr"}], held, world) == []


def test_few_repeated_sentences_are_reported_and_many_end_it(world: World) -> None:
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    texts = [f"the number of this long sentence is {' '.join(digits[int(d)] for d in f'{n:02d}')}" for n in range(60)]
    held = world.held(np.zeros(SAMPLE_RATE * 61), texts)
    row = world.train(world.flac("a.flac", np.ones(SAMPLE_RATE)))
    (few,) = check([row | {"train_text": texts[7]}], [held], world.store)[held.path]
    assert (few.kind, few.count, few.fatal) == ("text", 1, False)
    assert few.share == pytest.approx(1 / 60)
    with pytest.raises(SilverError, match=r"test\.jsonl is not held out from the training data:\n  same text, 2 or 3\.3% \(at most 2% may be: they may be known by heart\): .*test\.jsonl:8"):  # fmt: skip
        check([row | {"train_text": " ".join(texts[7:9])}], [held], world.store)


def test_every_leak_of_every_set_is_told_at_once(world: World, speech: tuple[Samples, list]) -> None:
    held = world.speech(speech, speaker="Ann")
    again = shutil.copy(held.path, world.folder / "again.jsonl")
    row = world.train(world.folder / "held.flac", speech[1][0].text, speaker="Ann")
    with pytest.raises(SilverError) as told:
        check([row], [held, HeldOut.read(again)], world.store)
    lines = str(told.value).splitlines()
    assert [line.split(",")[0].strip() for line in lines if line.startswith("  ")] == ["same recording", "same speaker", "same text"] * 2


def test_audio_is_compared_once(world: World, speech: tuple[Samples, list], other: Samples) -> None:
    held = world.speech(speech)
    row = world.train(world.flac("a.flac", other))
    # As on a cluster: what runs there is pickled.
    assert leaks([row], held, world.store, lambda function, items: map(pickle.loads(pickle.dumps(function)), items)) == []
    Path(world.store.path(row["audio_path"])).unlink()
    assert leaks([row], held, world.store) == []
    new = world.train(world.flac("b.flac", other[: 9 * SAMPLE_RATE]))
    Path(world.store.path(new["audio_path"])).unlink()
    with pytest.raises(SilverError, match=r"the recording .*\.flac cannot be read, so it cannot be told whether it is held out"):
        leaks([row, new], held, world.store)


def test_dev_and_test_of_one_recording_end_it(world: World, speech: tuple[Samples, list]) -> None:
    test = world.speech(speech)
    dev = world.gold("dev", world.folder / "held.flac", "one", "two")
    with pytest.raises(SilverError, match=r"the dev set .*dev\.jsonl has what the test set .*test\.jsonl has: same recording, 1 or 100\.0%: .*let one of the two have it"):  # fmt: skip
        apart(dev, [test], world.store, lambda _: None)
    with pytest.raises(SilverError, match="same recording"):
        apart(test, [test], world.store, lambda _: None)


def test_a_dev_set_with_a_copy_of_the_tests_audio_ends_it(world: World, speech: tuple[Samples, list], other: Samples) -> None:
    test = world.speech(speech)
    both = np.concatenate([other[: 5 * SAMPLE_RATE], 0.5 * speech[0][10 * SAMPLE_RATE : 30 * SAMPLE_RATE]])
    dev = world.gold("dev", compressed(world.folder / "dev.mp3", both, "libmp3lame", 32_000), "one", "two")
    with pytest.raises(SilverError, match=r"same audio, \d or \d+\.\d%: .*test\.jsonl:\d+ is in "):
        apart(dev, [test], world.store, lambda _: None)
    apart(world.gold("dev", world.flac("else.flac", other), "one", "two"), [test], world.store, lambda _: None)


def test_dev_and_test_that_say_the_same_end_it_and_a_shared_speaker_is_told(world: World, other: Samples) -> None:
    test = world.gold("test", world.flac("a.flac", other[: 4 * SAMPLE_RATE]), LONG, "thank you very much", speaker="Ann", channel="one")
    half = world.flac("b.flac", other[-4 * SAMPLE_RATE :])
    told: list[str] = []
    apart(world.gold("dev", half, "thank you very much", speaker="ann", channel="two"), [test], world.store, told.append)
    assert len(told) == 1
    assert told[0].startswith(f"dev and test: same speaker, 1 or 100.0%: 'Ann' ({world.folder}/test.jsonl:1) is in ")
    with pytest.raises(SilverError, match="same text, 1 or 100"):
        apart(world.gold("dev", half, f"and she said {LONG} of it"), [test], world.store, told.append)
