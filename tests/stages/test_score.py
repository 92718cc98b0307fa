"""What the signals say of real speech, of real texts, and of what labellers write when there is none."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from manifests.part import to_table
from manifests.schema import LABELS, ROW, extend
from manifests.store import Store
from pipeline.contract import PartContext
from stages.normalise.text import normalise
from stages.score import Score
from stages.score.agreement import agreement
from stages.score.charset import charset
from stages.score.hallucination import is_hallucination
from stages.score.language import TextLanguage
from stages.score.noise import snr
from stages.score.rate import chars_per_second, words_per_second
from stages.score.repetition import repetition
from tests.speech import long_speech, prompts
from tests.windows import spoken, store_windows


def shipped() -> list[str]:
    """The lines of the lists as they are shipped."""
    folder = resources.files("stages.score").joinpath("assets", "hallucinations")
    lines = [line.strip() for file in folder.iterdir() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


PHRASES = [line for line in shipped() if not line.startswith("~")]
COURTESIES = [line.removeprefix("~").strip() for line in shipped() if line.startswith("~")]


def test_every_shipped_phrase_is_found_as_labellers_write_it() -> None:
    assert len(PHRASES) > 250
    for phrase in PHRASES:
        for written in (phrase, f" {phrase}!", phrase.upper(), f"{phrase}. {phrase}.", f"{phrase} {COURTESIES[0]}", f"[Music] {phrase}"):
            assert is_hallucination(written), written


@pytest.mark.parametrize(
    "text",
    [
        "Thank you for watching!",
        "Thanks for watching. Bye-bye.",
        "Thank you. Thank you for watching.",
        "Thank you for watching. I'll see you in the next one. Bye!",
        "Untertitel im Auftrag des ZDF für funk, 2018",
        "Υπότιτλοι AUTHORWAVE Υπότιτλοι AUTHORWAVE",
        "ご視聴ありがとうございました。",
        "请不吝点赞订阅转发打赏支持明镜与点点栏目",
        "SUBTITLES BY THE AMARA.ORG COMMUNITY",
    ],
)
def test_hallucinations_go(text: str) -> None:
    assert is_hallucination(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thank you, Mr President, for the excellent report",
        "Thank you.",
        "Thank you. Thank you. Bye.",
        "Thank you for watching the children while I was away.",
        "I said please subscribe to my channel and nobody did.",
        "The subtitles by the Amara.org community are often better.",
        "Thanks for watching, and now the weather.",
        "",
        "[Music]",
        "2020",
    ],
)
def test_speech_that_looks_like_one_stays(text: str) -> None:
    assert not is_hallucination(text)


def test_no_phrase_hits_real_transcripts_and_no_courtesy_alone() -> None:
    texts = [prompt.text for language in ("en", "es", "fr") for prompt in prompts(language)]
    assert len(texts) > 500
    assert [text for text in texts if is_hallucination(text)] == []
    assert [text for text in COURTESIES if is_hallucination(text)] == []


def test_a_long_hostile_text_is_judged_at_once() -> None:
    assert not is_hallucination("you " * 100_000)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("the person you are calling is not available", 0.0),
        ("thank you " * 10, 0.9),
        ("so so so so so so so so", 7 / 8),
        ("go on " + "i don't know what to do " * 5 + "well", 72 / 98),
        ("ha" * 40, 78 / 80),
        ("谢谢谢谢谢谢谢谢", 7 / 8),
        ("ครับครับครับครับ", 0.75),
        ("bye bye", 0.0),
        ("no no no", 0.0),
        ("thank you thank you thank you", 0.0),
        ("哈哈哈哈", 0.0),
        ("we will we will we will rock you", 0.0),
        ("i don't know what to do " * 3, 2 / 3),
        ("rechtsschutzversicherungsgesellschaften", 0.0),
        ("", None),
    ],
)
def test_repetition_is_the_share_that_loops(text: str, share: float | None) -> None:
    assert repetition(text) == (share if share is None else pytest.approx(share, abs=0.03))


def test_loops_fire_on_no_real_transcript() -> None:
    texts = [normalise(prompt.text, language) for language in ("en", "es", "fr") for prompt in prompts(language)]
    assert max(repetition(text) or 0 for text in texts) < 0.5


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("καλημέρα σας", "el", 1.0),
        ("kalimera", "el", 0.0),
        ("สวัสดีครับ", "th", 1.0),
        ("มี iphone", "th", pytest.approx(1 / 7, abs=0.1)),
        ("ラーメンを食べる", "ja", 1.0),
        ("你好", "ja", 1.0),
        ("こんにちは", "zh", 0.0),
        ("добар дан dobar dan", "sr", 1.0),
        ("garçon façade naïve", "fr-CA", 1.0),
        ("مرحبا", "ar", 1.0),
        ("123", "en", None),
        ("hello", "xx", None),
    ],
)
def test_charset(text: str, language: str, share: float | None) -> None:
    assert charset(text, language) == share


def test_the_language_of_a_text_and_how_likely_the_expected_one_is() -> None:
    judge = TextLanguage()
    dutch = judge("de trein naar amsterdam vertrekt over tien minuten", "nl-BE")
    assert dutch.language == "nl"
    assert dutch.probability == dutch.expected > 0.8  # type: ignore[operator]
    assert judge("de trein naar amsterdam vertrekt over tien minuten", "en").expected < 0.1  # type: ignore[operator]
    assert judge("de trein naar amsterdam", None).expected is None
    assert judge("de trein naar amsterdam", "xx").expected is None
    assert judge("de trein naar amsterdam", "yue").expected < 0.01  # type: ignore[operator]
    # Written Norwegian and Danish are nearly one to it: neither is thrown away for the other.
    assert judge("jeg vet ikke hvorfor hun ikke kom på skolen i går", "nb-NO").expected > 0.9  # type: ignore[operator]
    assert judge("jag vet inte varför hon inte kom till skolan igår", "nb-NO").expected < 0.1  # type: ignore[operator]
    assert judge("", "nl") == (None, None, None)
    # The package reads 80 characters unless it is told otherwise.
    mixed = "the quick brown fox jumps over the lazy dog and runs away from the old farmer " + "de trein naar amsterdam vertrekt zo " * 12
    assert judge(mixed, "en").language == "nl"


def test_of_real_transcripts_the_language_is_right() -> None:
    judge = TextLanguage()
    for language in ("en", "es", "fr"):
        texts = [text for prompt in prompts(language) if len(text := normalise(prompt.text, language)) >= 30]
        right = [judge(text, language).language == language for text in texts]
        assert sum(right) / len(right) > 0.97


def test_pace() -> None:
    assert chars_per_second("two words", 2.0) == 4.0
    assert words_per_second("two words", "en", 2.0) == 1.0
    assert words_per_second("สวัสดีครับ", "th", 2.0) is None
    assert chars_per_second("a", None) is None


@pytest.mark.parametrize(
    ("labels", "language", "value"),
    [
        (["Twenty-one euros.", "21 euros"], "en", 1.0),
        (["It's 25%!", "it’s twenty five percent"], "en", 1.0),
        (["a b c d", "a b c"], "en", 0.75),
        (["a", "b c d"], "en", 0.0),
        (["今天天气很好", "今天天气不好"], "zh", pytest.approx(5 / 6)),
        (["", ""], "en", 1.0),
        (["hello", ""], "en", 0.0),
        (["hello"], "en", None),
        ([], "en", None),
    ],
)
def test_agreement(labels: list[str], language: str, value: float | None) -> None:
    assert agreement(labels, language) == value


@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_noise_that_was_added_to_real_speech_is_found_in_order(language: str) -> None:
    speech, _ = long_speech(language, 20)
    noise = np.random.default_rng(0).standard_normal(len(speech)) * np.sqrt((speech**2).mean())
    found = [snr((speech + noise * 10 ** (-level / 20)).astype(np.float32)) for level in (0, 5, 10, 15, 20, 25)]
    assert found == sorted(found)  # type: ignore[type-var]
    assert [level - value for level, value in zip((5, 10, 15, 20, 25), found[1:], strict=True)] == pytest.approx([3] * 5, abs=6)  # type: ignore[operator]


@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_noise_reads_the_same_quietly_with_an_offset_and_between_muted_stretches(language: str) -> None:
    speech, _ = long_speech(language, 10)
    noisy = speech + np.random.default_rng(0).standard_normal(len(speech)) * np.sqrt((speech**2).mean()) * 10 ** (-15 / 20)
    for samples in (speech, noisy):
        read, quiet, offset, silence = (
            snr((np.round(np.clip(changed, -1, 1) * 32767) / 32768).astype(np.float32))
            for changed in (samples, samples * 0.1, samples + 0.02, np.concatenate([samples, np.zeros(5 * 16_000)]))
        )
        assert (quiet, offset, silence) == pytest.approx((read,) * 3, abs=1.5)


def test_silence_has_no_noise_ratio() -> None:
    assert snr(np.zeros(16_000, np.float32)) is None
    assert snr(np.full(16_000, 0.1, np.float32)) is None
    assert snr(np.zeros(0, np.float32)) is None
    assert snr(np.full(100, 0.5, np.float32)) is None


def test_score_adds_its_columns_to_real_rows(tmp_path: Path) -> None:
    windows = spoken("en", 2, 6.0)
    rows = store_windows(tmp_path, [window.samples for window in windows], "en-US")
    for row, window in zip(rows, windows, strict=True):
        row |= {"text_raw": window.text, "text": normalise(window.text, "en-US"), "labels": [{"labeller": "whisper", "text": window.text}]}
    lost = rows[0] | {"audio_path": "audio/00/none.flac"}
    damaged = rows[0] | {"audio_path": "audio/broken.flac"}
    (tmp_path / "audio" / "broken.flac").write_bytes(b"no audio")
    context = PartContext(store=Store(str(tmp_path)))
    stage = Score(Score.Params())
    stage.setup(context)
    done = [row for (row,) in stage.apply([*rows, lost, damaged], context)]
    for row in done[:2]:
        assert row["drop_reason"] is None
        assert (row["text_language"], row["charset"], row["hallucination"], row["agreement"]) == ("en", 1.0, False, None)
        assert row["text_language_expected"] > 0.5
        assert 5 < row["chars_per_second"] < 25
        assert 1 < row["words_per_second"] < 5
        assert row["repetition"] < 0.2
        assert row["snr_db"] > 20
    assert [row["drop_reason"] for row in done[2:]] == ["audio_missing", "audio_damaged"]
    assert context.errors == 2
    extra = pa.schema([("audio_path", pa.string()), ("text_raw", pa.string()), ("text", pa.string()), ("labels", LABELS)])
    to_table(done, extend(extend(ROW, extra), Score.adds))
