"""Held-out sets: what is read, what a real model makes of it, and when a gain is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from manifests.store import Store
from pipeline.contract import ItemError, PartContext, SilverError
from stages.audio import SAMPLE_RATE, read_audio
from stages.heldout import HeldOut, Transcripts, Window, Written, evaluate, gain, table, transcribe
from stages.transcribe import Transcribe
from stages.transcribe.faster_whisper import FasterWhisper
from stages.transcribe.labeller import Hypothesis
from tests.heldout import compressed, write_gold
from tests.models import tiny_en_model
from tests.speech import long_speech


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gold of 40 s of English in noise, an MP3 at 44.1 kHz beside it."""
    folder = tmp_path_factory.mktemp("english")
    samples, spans = long_speech("en", 40)
    samples += np.random.default_rng(0).normal(0, 0.08, len(samples)).astype(np.float32)
    compressed(folder / "show.mp3", samples, "libmp3lame", 96_000, 44_100)
    lines = [{"episode": "show.mp3", "start": s, "end": e, "text": t, "language": "en", "speaker": "allison"} for s, e, t in spans]
    return write_gold(folder / "english.jsonl", lines)


def labeller(model: str) -> FasterWhisper:
    return FasterWhisper(Transcribe.Params(model=model, beam_size=1))


def test_utterances_are_joined_to_windows_that_whisper_hears_at_once(english: Path, tmp_path: Path) -> None:
    held, store = HeldOut.read(english), Store(str(tmp_path))
    alone, windows = held.windows(store, longest=None), held.windows(store)
    assert len(alone) == len(held.utterances) > 5
    assert len(windows) == 2
    assert all(window.end - window.start <= 28 for window in windows)
    assert [text for window in windows for text in window.texts] == [item.text for item in held.utterances]
    assert windows[0].text == " ".join(item.text for item in held.utterances[: len(windows[0].texts)])
    assert len(read_audio(store, windows[0].row)) == pytest.approx((windows[0].end - windows[0].start) * SAMPLE_RATE, abs=1)


def test_speakers_pauses_and_languages_part_windows(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(20 * 8000), 8000)
    gold = write_gold(
        tmp_path / "g.jsonl",
        [
            {"audio": "a.wav", "start": 0, "end": 2, "text": "one", "speaker": "x"},
            {"audio": "a.wav", "start": 2.5, "end": 4, "text": "two", "speaker": "x"},
            {"audio": "a.wav", "start": 4.5, "end": 6, "text": "three", "speaker": "y"},
            {"audio": "a.wav", "start": 8, "end": 9, "text": "four", "speaker": "y"},
            {"audio": "a.wav", "start": 9, "end": 10, "text": "five", "speaker": "y", "language": "nl"},
        ],
    )
    windows = HeldOut.read(gold, language="en").windows(Store(str(tmp_path / "root")))
    assert [(w.text, w.start, w.end, w.language) for w in windows] == [
        ("one two", 0, 4, "en"), ("three", 4.5, 6, "en"), ("four", 8, 9, "en"), ("five", 9, 10, "nl"),
    ]  # fmt: skip


def test_a_table_of_whole_files_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(SAMPLE_RATE * 3), SAMPLE_RATE)
    (tmp_path / "g.csv").write_text("file,text,language\na.flac,bonjour,fr\n")
    assert [(w.start, w.end, w.text, w.language) for w in HeldOut.read(tmp_path / "g.csv").windows(Store(str(tmp_path)))] == [
        (0, 3, "bonjour", "fr")
    ]


def test_the_digest_is_that_of_words_and_audio_wherever_they_lie(english: Path, tmp_path: Path) -> None:
    moved = tmp_path / "other.jsonl"
    moved.write_text(english.read_text())
    (tmp_path / "show.mp3").write_bytes((english.parent / "show.mp3").read_bytes())
    held = HeldOut.read(english)
    assert HeldOut.read(moved).digest == held.digest
    moved.write_text(english.read_text().replace("allison", "somebody"))
    assert HeldOut.read(moved).digest != held.digest


def test_a_set_is_used_without_its_files_once_it_is_in_the_corpus(english: Path, tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "g.jsonl", [{"audio": "show.mp3", "start": 0, "end": 9, "text": "words"}])
    audio = tmp_path / "show.mp3"
    audio.write_bytes((english.parent / "show.mp3").read_bytes())
    held, store = HeldOut.read(gold), Store(str(tmp_path / "root"))
    first = held.windows(store)
    audio.unlink()
    assert held.windows(store) == first
    assert len(read_audio(store, first[0].row)) == 9 * SAMPLE_RATE


BAD = [
    ({"audio": "none.wav", "text": "x"}, r"g\.jsonl:2: there is no audio file .*none\.wav"),
    ({"audio": "a.wav", "text": "x", "start": 1, "end": 5.2}, r"g\.jsonl:2: 1 to 5\.2 s lies outside of .*a\.wav, which has 5\.00 s"),
    ({"audio": "a.wav", "text": "x", "start": -1, "end": 2}, r"g\.jsonl:2: -1 to 2 s lies outside"),
    ({"audio": "a.wav", "text": "x", "start": 0, "end": 31}, r"g\.jsonl:2 is 31\.0 s long, and labellers hear 30 s at once: cut it"),
    ({"audio": "a.wav", "text": "x", "start": 2, "end": 2}, r"g\.jsonl:2: from 2\.0 to 2\.0 s there is nothing to hear"),
    ({"audio": "long.wav", "text": "x"}, r"g\.jsonl:2 is 40\.0 s long"),
    ({"audio": "text.wav", "text": "x"}, r"the held-out audio .*text\.wav cannot be used: not_audio"),
    ({"audio": "cut.wav", "text": "x", "start": 0, "end": 4}, r"g\.jsonl:2: 0 to 4 s lies outside of .*cut\.wav, which has 2\.50 s"),
    ({"text": "x"}, r"g\.jsonl:2 needs a text and one of .*audio"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_what_is_wrong_with_a_set_is_named(tmp_path: Path, line: dict, message: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * 8000)
    soundfile.write(tmp_path / "a.wav", noise[: 5 * 8000], 8000)
    soundfile.write(tmp_path / "long.wav", noise, 8000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.wav").write_text("no sound at all, only words")
    gold = write_gold(tmp_path / "g.jsonl", [{"audio": "a.wav", "start": 0, "end": 1, "text": "well"}, line])
    store = Store(str(tmp_path / "root"))
    for _ in range(2):  # nor is it well the second time
        with pytest.raises(SilverError, match=message):
            HeldOut.read(gold).windows(store)


def test_a_set_without_a_word_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with pytest.raises(SilverError, match=r"no utterance of the gold .* has a word in it"):
        HeldOut.read(write_gold(tmp_path / "g.jsonl", [{"audio": "a.wav", "text": " ... "}]))
    with pytest.raises(SilverError, match="is empty"):
        HeldOut.read(write_gold(tmp_path / "g.jsonl", []))


def test_two_real_models_are_compared_and_heard_once(
    english: Path, tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_en_model()
    held, context = HeldOut.read(english), PartContext(Store(str(tmp_path)))
    base, tiny = (evaluate(labeller(name), {"beam_size": 1}, held, context) for name in ("base", "tiny.en"))
    assert base.wer().wer < 0.4
    assert 0 < base.cer().wer < base.wer().wer
    assert base.wer().wer < tiny.wer().wer
    rows = table({"base": [base], "tiny.en": [tiny]})
    assert [(row["system"], row["set"], row["windows"]) for row in rows] == [("base", "english", 2), ("tiny.en", "english", 2)]
    assert rows[0]["gain"] is None
    assert rows[1]["gain"] == pytest.approx(1 - rows[1]["wer"] / rows[0]["wer"], abs=0.01)

    monkeypatch.setattr(FasterWhisper, "label", None)  # nothing is heard a second time
    assert evaluate(labeller("base"), {"beam_size": 1}, HeldOut.read(english), context) == base
    with pytest.raises(TypeError):
        evaluate(labeller("base"), {"beam_size": 5}, held, context)


class Fixed:
    """Not a model: writes what it was given."""

    def __init__(self, *results: Hypothesis | ItemError) -> None:
        self.results = results

    def identity(self) -> dict[str, str]:
        return {}

    def setup(self, context: PartContext) -> None: ...

    def label(self, rows: list, context: PartContext) -> list[Hypothesis | ItemError]:
        return [self.results[int(row["start"])] for row in rows]


def test_errors_are_counted_in_the_scoring_form(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000 * 4), 8000)
    texts = ["I'll pay twenty one colours.", "¿Está aquí?"]
    lines = [
        {"audio": "a.wav", "start": n, "end": n + 0.5 + n / 4, "text": t, "language": g}
        for n, t, g in zip((0, 1), texts, ("en", "es"), strict=True)
    ]
    written = transcribe(
        Fixed(Hypothesis("i will pay 21 color"), Hypothesis("esta aqui hoy")),
        HeldOut.read(write_gold(tmp_path / "g.jsonl", lines)),
        PartContext(Store(str(tmp_path))),
    )
    assert [(e.words, e.errors) for e in written.errors()] == [(5, 1), (2, 3)]
    assert [(e.words, e.errors) for e in written.errors(fold_accents=True)] == [(5, 1), (2, 1)]
    assert [(e.characters, e.character_errors) for e in written.errors(fold_accents=True)][1] == (9, 4)


def test_a_window_that_fails_is_no_window_less(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    held = HeldOut.read(write_gold(tmp_path / "g.jsonl", [{"audio": "a.wav", "text": "hello", "language": "nl"}]))
    with pytest.raises(SilverError, match=r"g\.jsonl:1 cannot be transcribed, so the set g gives no error rate: language_unknown"):
        transcribe(Fixed(ItemError("language_unknown", "no Dutch")), held, PartContext(Store(str(tmp_path))))


def made(errors: list[int], words: int = 20, speaker: str | None = None, recordings: int = 1) -> Transcripts:
    """Transcripts with so many wrong words in each window."""
    written = []
    for n, wrong in enumerate(errors):
        window = Window(f"r{n % recordings}", "a.flac", float(n), n + 1.0, ("ja " * words,), "nl", speaker, None, "a.flac", f"g:{n}")
        written.append(Written(window, "nee " * wrong + "ja " * (words - wrong)))
    return Transcripts("made", "0" * 16, tuple(written), 1.0)


def test_a_gain_that_is_the_same_everywhere_is_one_though_the_rates_overlap() -> None:
    chance = np.random.default_rng(0)
    before = chance.integers(2, 19, 40)
    first, second = made(list(before)), made([max(0, wrong - 1) for wrong in before])
    assert second.wer().high > first.wer().low  # unpaired, nothing could be said
    better = gain(first, second)
    assert better is not None
    assert better.significant
    assert better.reduction == pytest.approx(40 / before.sum())
    assert better.low < better.reduction < better.high
    worse = gain(second, first)
    assert worse is not None
    assert worse.significant
    assert worse.high < 0


def test_chance_is_no_gain() -> None:
    chance = np.random.default_rng(1)
    before, after = chance.binomial(20, 0.2, 60), chance.binomial(20, 0.2, 60)
    same = gain(made(list(before)), made(list(after)))
    assert same is not None
    assert not same.significant
    one = gain(made([1] + [0] * 30), made([0] * 31))  # a single word
    assert one is not None
    assert one.reduction == 1
    assert not one.significant
    assert gain(made([0, 0]), made([1, 0])) is None


def test_a_handful_of_windows_shows_nothing() -> None:
    found = gain(made([9, 9, 9]), made([1, 1, 1]))
    assert found is not None
    assert found.low > 0
    assert not found.significant


def test_the_interval_covers_the_true_gain_as_often_as_it_says() -> None:
    chance = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        hard = chance.uniform(0.05, 0.5, 60)
        found = gain(made(list(chance.binomial(20, hard))), made(list(chance.binomial(20, hard * 0.8))))
        assert found is not None
        covered += found.low <= 0.2 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_what_is_drawn_are_speakers_or_recordings_where_there_are_enough() -> None:
    few, many = made([1] * 40, recordings=4), made([1] * 40, recordings=12)
    assert (few.wer().drawn, many.wer().drawn) == ("windows", "recordings")
    named = [replace(item, window=replace(item.window, speaker=f"s{n % 10}")) for n, item in enumerate(many.written)]
    assert replace(many, written=tuple(named)).wer().drawn == "speakers"
    unknown = [*named[:-1], many.written[-1]]
    assert replace(many, written=tuple(unknown)).wer().drawn == "recordings"
    # All the errors in one of twelve recordings: windows would be far too sure.
    uneven = made([10 if n % 12 == 0 else 0 for n in range(120)], recordings=12)
    assert (
        uneven.wer().high
        > 1.5 * replace(uneven, written=tuple(replace(w, window=replace(w.window, recording_id="r")) for w in uneven.written)).wer().high
    )


def test_only_the_same_windows_are_compared() -> None:
    with pytest.raises(SilverError, match="only be compared on the same windows"):
        gain(made([1, 2]), made([1, 2, 3]))
    assert json.dumps(table({"a": [made([1, 2])], "b": []}))


def test_sets_of_one_name_are_told_apart() -> None:
    one, other = made([1, 2]), replace(made([2, 1]), digest="f" * 16)
    assert [row["set"] for row in table({"a": [one, other], "b": [one]})] == ["made (000000)", "made (ffffff)", "made (000000)"]
