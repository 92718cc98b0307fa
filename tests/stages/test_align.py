"""Forced alignment with real CTC models: a tiny wav2vec 2.0 that was trained on a language of tones, whose boundaries are known."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.part import to_table
from manifests.schema import ROW, Row, extend
from manifests.store import Store
from pipeline.contract import ItemError, PartContext, SilverError
from stages.align import Align, network
from stages.align.ctc_forced_aligner import CtcForcedAligner
from stages.align.spelling import WILDCARD, spell
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import aligned_words
from stages.resegment import Resegment
from stages.words import written_words
from tests import tiny_ctc

BACKENDS = ["torchaudio", "ctc-forced-aligner", "whisperx"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_ctc.train(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def peaky_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For whisperX, whose search lets a letter be heard in one frame only."""
    torch.set_num_threads(1)
    return tiny_ctc.train(tmp_path_factory.mktemp("peaky"), peaky=True)


@pytest.fixture
def context(tmp_path: Path) -> PartContext:
    return PartContext(store=Store(str(tmp_path)))


def stage(backend: str, model: Path | str, context: PartContext, **params: object) -> Align:
    made = Align(Align.Params(backend=backend, model=str(model), **params))
    made.identity()
    made.setup(context)
    return made


def row(context: PartContext, name: str, samples: np.ndarray, text: str, start: float = 0.0) -> Row:
    """A segment at `start` of a recording: `samples` after so much silence."""
    path = f"audio/{name}.flac"
    target = Path(context.store.path(path))
    target.parent.mkdir(exist_ok=True)
    soundfile.write(target, np.concatenate([np.zeros(round(start * 16_000)), samples]), 16_000)
    end = start + len(samples) / 16_000
    return {"audio_path": path, "start": start, "end": end, "duration": end - start, "text_raw": text, "language": "en"}


def sentences(context: PartContext, count: int) -> tuple[list[Row], list[list[tuple[float, float]]]]:
    rng = np.random.default_rng(7)
    rows, truths = [], []
    for i in range(count):
        words, pauses = tiny_ctc.random_words(rng, 2 + i)
        samples, times = tiny_ctc.speak(words, pauses, seed=i)
        start = 0.5 * i
        rows.append(row(context, f"s{i}", samples, " ".join(words).capitalize() + ".", start))
        truths.append([(start + a, start + b) for a, b in times])
    return rows, truths


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_are_where_they_were_spoken(backend: str, model: Path, peaky_model: Path, context: PartContext) -> None:
    rows, truths = sentences(context, 5)
    chosen = peaky_model if backend == "whisperx" else model
    aligned = [children[0] for children in stage(backend, chosen, context).apply(rows, context)]
    assert [" ".join(word["word"] for word in out["words"]) for out in aligned] == [row["text_raw"] for row in rows]
    for out, truth in zip(aligned, truths, strict=True):
        next_starts = [*(start for start, _ in truth[1:]), out["end"]]
        for word, (start, end), next_start in zip(out["words"], truth, next_starts, strict=True):
            assert word["start"] == pytest.approx(start, abs=0.04), (word, start)
            if backend == "whisperx":  # which has no say on where the last letter of a word ends
                assert word["start"] < word["end"] <= next_start + 0.04, word
            else:
                assert word["end"] == pytest.approx(end, abs=0.04), (word, end)
            assert 0.5 < word["score"] <= 1
        assert out["align_score"] == pytest.approx(np.mean([word["score"] for word in out["words"]]))
    assert context.errors == 0
    to_table([{key: value for key, value in out.items() if key in Align.adds.names} for out in aligned], extend(ROW, Align.adds))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_text_scores_lower_than_the_right_one(backend: str, model: Path, peaky_model: Path, context: PartContext) -> None:
    samples, _ = tiny_ctc.speak(["abc", "dea"], [0.2, 0.2, 0.2])
    rows = [row(context, "right", samples, "abc dea"), row(context, "wrong", samples, "fgh igf")]
    right, wrong = (
        children[0]["align_score"]
        for children in stage(backend, peaky_model if backend == "whisperx" else model, context).apply(rows, context)
    )
    assert right > 0.6
    assert wrong < 0.3


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_bad_row_costs_no_other(backend: str, model: Path, context: PartContext) -> None:
    samples, _ = tiny_ctc.speak(["ab", "cd"], [0.2, 0.2, 0.2])
    rows = [
        row(context, "good", samples, "ab cd"),
        row(context, "long", samples, "abcdefghij " * 20),
        row(context, "silent", samples, "  "),
        row(context, "none", samples, "ab") | {"text_raw": None},
        row(context, "short", samples[:50], "ab"),
        row(context, "last", samples, "ab cd"),
    ]
    good, long, silent, none, short, last = (children[0] for children in stage(backend, model, context).apply(rows, context))
    assert good["words"] == last["words"]
    assert [word["word"] for word in good["words"]] == ["ab", "cd"]
    assert (silent["words"], silent["align_score"], silent.get("drop_reason")) == ([], None, None)
    assert none["words"] == []
    assert long["drop_reason"] == short["drop_reason"] == "alignment"
    assert "do not fit into" in long["drop_detail"]
    assert context.errors == 2


@pytest.mark.parametrize("backend", ["torchaudio", "ctc-forced-aligner"])
def test_a_word_that_cannot_be_spelled_gets_the_time_between_its_neighbours(backend: str, model: Path, context: PartContext) -> None:
    samples, ((_, before), (start, end), (after, _)) = tiny_ctc.speak(["abc", "hij", "dea"], [0.2, 0.2, 0.2, 0.2])
    [[out]] = stage(backend, model, context).apply([row(context, "x", samples, "abc xyz dea")], context)
    first, unknown, last = out["words"]
    assert first["end"] == pytest.approx(before, abs=0.04)
    assert last["start"] == pytest.approx(after, abs=0.04)
    assert unknown["start"] <= start + 0.04
    assert unknown["end"] >= end - 0.04
    assert unknown["score"] is None
    assert out["align_score"] > 0.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_damaged_recording_costs_its_own_rows_only(backend: str, model: Path, context: PartContext) -> None:
    samples, _ = tiny_ctc.speak(["ab", "cd"], [0.2, 0.2, 0.2])
    rows = [row(context, name, samples, "ab cd") for name in ("good", "garbage", "short", "last")]
    Path(context.store.path("audio/garbage.flac")).write_bytes(b"fLaC" + bytes(1000))
    rows[2] = rows[2] | {"end": rows[2]["end"] + 5}  # than the file is long
    good, garbage, short, last = (children[0] for children in stage(backend, model, context).apply(rows, context))
    assert good["words"] == last["words"] != []
    assert garbage["drop_reason"] == short["drop_reason"] == "audio_unreadable"
    assert "audio/garbage.flac" in garbage["drop_detail"]
    assert context.errors == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_of_a_row_longer_than_a_window_are_where_they_were_spoken(
    backend: str, model: Path, peaky_model: Path, context: PartContext
) -> None:
    words, pauses = tiny_ctc.random_words(np.random.default_rng(3), 130)
    samples, truth = tiny_ctc.speak(words, pauses)
    long = row(context, "long", samples, " ".join(words), 1.0)
    assert long["duration"] > 60
    chosen = peaky_model if backend == "whisperx" else model
    [[out]] = stage(backend, chosen, context).apply([long], context)
    assert [word["word"] for word in out["words"]] == words
    late = np.abs([word["start"] - 1 - start for word, (start, _) in zip(out["words"], truth, strict=True)])
    assert np.percentile(late, 95) <= 0.05
    times = [time for word in out["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)


def test_a_recording_is_aligned_with_the_transcript_that_came_with_it_and_cut(model: Path, context: PartContext) -> None:
    words, pauses = tiny_ctc.random_words(np.random.default_rng(4), 200)
    pauses[100] = 3.0
    samples, truth = tiny_ctc.speak(words, pauses)
    recording = row(context, "r", samples, "") | {"recording_id": "0" * 16, "segment_id": None, "text_source": " ".join(words)}
    del recording["text_raw"]
    aligner = stage("torchaudio", model, context, text="text_source")
    assert aligner.reads == ("audio_path", "text_source")
    none = recording | {"text_source": None}
    aligned, silent = (children[0] for children in aligner.apply([recording, none], context))
    assert aligned["text_raw"] == " ".join(words)
    assert (silent["text_raw"], silent["words"]) == (None, [])
    segments = Resegment(Resegment.Params(pause=0.3)).expand_row(aligned, context)
    assert len(segments) > 5
    assert " ".join(segment["text_raw"] for segment in segments) == " ".join(words)
    assert all(segment["duration"] <= 20 for segment in segments)
    gap = truth[99][1] + 1.5
    assert not any(segment["start"] < gap < segment["end"] for segment in segments)


def test_spelling_and_characters_are_stored_if_they_are_asked_for(model: Path, context: PartContext) -> None:
    samples, _ = tiny_ctc.speak(["abc", "dea"], [0.2, 0.2, 0.2])
    item = row(context, "x", samples, "Abc, xyz dea")
    plain, full = (stage("torchaudio", model, context, characters=characters).apply([item], context)[0][0] for characters in (False, True))
    assert [word["spelled"] for word in plain["words"]] == ["abc", "*", "dea"]
    assert [word["heard"] for word in plain["words"]] == ["abc", "", "dea"]
    assert [word["characters"] for word in plain["words"]] == [None] * 3
    first, unknown, _last = (word["characters"] for word in full["words"])
    assert [each["character"] for each in first] == ["a", "b", "c"]
    assert [each["start"] for each in first] == pytest.approx([0.2, 0.32, 0.44], abs=0.04)
    assert all(each["score"] > 0.5 for each in first)
    assert [(each["character"], each["score"]) for each in unknown] == [("*", None)]
    to_table([{key: value for key, value in full.items() if key in Align.adds.names}], extend(ROW, Align.adds))


@pytest.mark.parametrize("backend", ["attention", "whisperx"])
def test_characters_are_refused_where_there_are_none(backend: str) -> None:
    with pytest.raises(ValidationError, match=f"{backend} gives no times of characters"):
        Align.Params(backend=backend, characters=True)


def test_batch_size_does_not_change_the_result(model: Path, context: PartContext) -> None:
    rows, _ = sentences(context, 4)
    one, many = ([children[0] for children in stage("torchaudio", model, context, batch_size=size).apply(rows, context)] for size in (1, 4))
    for a, b in zip(one, many, strict=True):
        assert [(w["word"], w["start"], w["end"]) for w in a["words"]] == [(w["word"], w["start"], w["end"]) for w in b["words"]]
        assert a["align_score"] == pytest.approx(b["align_score"], abs=1e-4)


def tiny_bundle(mode: str) -> torchaudio.pipelines.Wav2Vec2ASRBundle:
    return torchaudio.pipelines.Wav2Vec2ASRBundle(
        _path="tiny.pth",
        _params={
            "extractor_mode": mode, "extractor_conv_layer_config": [(16, 160, 32), (16, 12, 10)], "extractor_conv_bias": False,
            "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0, "encoder_pos_conv_kernel": 8, "encoder_pos_conv_groups": 2,
            "encoder_num_layers": 1, "encoder_num_heads": 2, "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 16,
            "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.0, "encoder_layer_norm_first": True, "encoder_layer_drop": 0.0,
            "aux_num_out": 5,
        },
        _sample_rate=16_000, _normalize_waveform=True, _model_type="Wav2Vec2", _labels=("|", "A", "B", "C"), _remove_aux_axis=(),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
def test_a_torchaudio_bundle_runs_and_its_emissions_do_not_depend_on_the_batch(
    mode: str, context: PartContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of torchaudio's own class with random weights, as there is no pretrained one offline."""
    bundle = tiny_bundle(mode)
    monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchaudio.models.wav2vec2_model(**bundle._params).state_dict(), tmp_path / "hub/checkpoints/tiny.pth")

    assert network.identity("TINY") == {"model": "TINY", "checkpoint": "https://download.pytorch.org/torchaudio/models/tiny.pth"}
    tiny = network.load("TINY", "cpu")
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype(np.float32) for n in (16_000, 9_000, 100, 12_345)]
    alone = [tiny.log_probs([wave], 1)[0] for wave in waves]
    assert [len(each) for each in alone] == [49, 27, 0, 37]
    for expected, got in zip(alone, tiny.log_probs(waves, 4), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    with torch.inference_mode():
        theirs = torch.log_softmax(bundle.get_model()(torch.from_numpy(waves[0])[None])[0], -1)[0].numpy()
    np.testing.assert_allclose(alone[0], theirs, atol=1e-4)

    aligner = stage("torchaudio", "TINY", context)
    [[out]] = aligner.apply([row(context, "x", waves[0] * 0.1, "cab, ab!")], context)
    assert [word["word"] for word in out["words"]] == ["cab,", "ab!"]


def test_a_bundle_that_cannot_be_downloaded_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_args: object, **_kwargs: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(SilverError, match="MMS_FA cannot be downloaded") as error:
        Align(Align.Params(backend="torchaudio")).identity()
    assert str(tmp_path / "hub/checkpoints/model.pt") in str(error.value)
    assert "https://dl.fbaipublicfiles.com/mms/torchaudio/ctc_alignment_mling_uroman/model.pt" in str(error.value)


def test_a_wrong_model_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SilverError, match=r"NO_SUCH is neither a folder nor a CTC bundle .*MMS_FA"):
        Align(Align.Params(backend="ctc-forced-aligner", model="NO_SUCH")).identity()
    with pytest.raises(SilverError, match=r"config.json and vocab.json missing"):
        Align(Align.Params(backend="whisperx", model=str(tmp_path))).identity()


def test_identity_follows_the_weights_not_the_path(model: Path, tmp_path: Path) -> None:
    other = tmp_path / model.name
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    first, second = (dict(Align(Align.Params(backend="torchaudio", model=str(path))).identity()) for path in (model, other))
    assert first == second
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert Align(Align.Params(backend="torchaudio", model=str(other))).identity() != first


@st.composite
def lattices(draw: st.DrawFn) -> tuple[np.ndarray, list[list[int]], int | None]:
    """Random emissions over blank and up to five characters, and words that may or may not fit into them."""
    classes, blank = draw(st.integers(3, 6)), 0
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(scale=draw(st.sampled_from([0.0, 1.0, 10.0, 200.0])), size=(draw(st.integers(1, 40)), classes))
    log_probs = torch.log_softmax(torch.from_numpy(logits), -1).numpy().astype(np.float32)
    character = st.one_of(st.integers(blank + 1, classes - 1), st.just(WILDCARD))
    words = draw(st.lists(st.lists(character, min_size=1, max_size=6), min_size=1, max_size=6))
    return log_probs, words, draw(st.sampled_from([None, classes - 1]))


@pytest.mark.parametrize("tightness", [1.0, 1.3, 3.0])
def test_both_searches_give_the_same_path_of_a_long_text(tightness: float) -> None:
    rng = np.random.default_rng(0)
    words = [rng.integers(1, 28, size=rng.integers(1, 9)).tolist() for _ in range(300)]
    needed = sum(map(len, words)) + sum(a == b for a, b in pairwise([i for word in words for i in word]))
    logits = rng.normal(scale=4, size=(int(needed * tightness), 28)).astype(np.float32)
    log_probs = torch.log_softmax(torch.from_numpy(logits), -1).numpy()
    ours, theirs = (aligned_words(log_probs, words, 0, None, backend.path) for backend in (Torchaudio, CtcForcedAligner))
    assert ours == theirs


@settings(max_examples=300, deadline=None)
@given(lattices())
def test_both_searches_give_the_same_words_for_the_same_emissions(lattice: tuple[np.ndarray, list[list[int]], int | None]) -> None:
    log_probs, words, separator = lattice
    results = []
    for backend in (Torchaudio, CtcForcedAligner):
        try:
            results.append(aligned_words(log_probs, words, 0, separator, backend.path))
        except ItemError as error:
            results.append(error.detail)
    assert repr(results[0]) == repr(results[1])  # repr: a NaN is not equal to itself
    if not isinstance(results[0], str):
        assert len(results[0]) == len(words)
        previous = 0
        for (start, end, score), _characters in results[0]:
            assert previous <= start < end <= len(log_probs)
            assert math.isnan(score) or 0 <= score <= 1.0001
            previous = end


def test_a_text_with_as_many_characters_as_frames_does_not_kill_the_process() -> None:
    """ctc-forced-aligner alone writes past its memory here. A process of its own: what is asserted is that it lives."""
    code = """
import numpy as np
from stages.align.ctc_forced_aligner import CtcForcedAligner
from stages.align.viterbi import aligned_words
for frames in [*range(1, 40)] * 4:
    for characters in range(1, frames + 1):
        words = [[1 + i % 2] for i in range(characters)]
        found = aligned_words(np.log(np.full((frames, 3), 1 / 3, np.float32)), words, 0, None, CtcForcedAligner.path)
        assert len(found) == characters
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't  stop,\nnow!", ["Don't", "stop,", "now!"]),
        ("你好,世界。", ["你", "好,", "世", "界。"]),
        ("カレーを iPhone15で", ["カ", "レー", "を", "iPhone15", "で"]),
        ("— 「あ」", ["—", "「あ」"]),
        ("", []),
    ],
)
def test_words_are_what_spaces_part_and_characters_where_there_are_no_spaces(text: str, words: list[str]) -> None:
    assert written_words(text) == words
    assert "".join(words) == "".join(text.split())


def test_spelling_romanises_what_the_model_does_not_know_and_leaves_the_rest_to_wildcards() -> None:
    latin = {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz'", start=1)}
    upper = {letter.upper(): i for letter, i in latin.items()}
    greek = {letter: i for i, letter in enumerate("αβγδεζηθικλμνξοπρσςτυφχψω", start=1)}

    def spelled(word: str, language: str) -> str:
        letters = {i: letter for letter, i in latin.items()} | {WILDCARD: "*"}
        return "".join(letters[i] for i in spell(word, language, latin))

    assert spelled("Привет,", "ru") == "privet"
    assert spelled("«Don't»", "en") == "don't"
    assert spelled("schön", "de") == "schoen"
    assert spelled("你", "zh") == "ni"
    assert spelled("♪", "en") == "*"
    assert spell("Hey", "en", upper) == [upper["H"], upper["E"], upper["Y"]]
    assert spell("και", "el", greek) == [greek["κ"], greek["α"], greek["ι"]]
    assert spell("Facebook", "el", greek) == [WILDCARD]


def test_separators_stand_between_words_where_the_model_has_them() -> None:
    log_probs = np.log(np.full((8, 4), 0.01, np.float32))
    for frame, heard in enumerate([0, 1, 1, 3, 3, 3, 2, 0]):  # blank, a, a, separator ..., b, blank
        log_probs[frame, heard] = np.log(0.97)
    for path in (Torchaudio.path, CtcForcedAligner.path):
        assert [word[:2] for word, _ in aligned_words(log_probs, [[1], [2]], 0, 3, path)] == [(1, 3), (6, 7)]


def test_numbers_are_spelled_as_they_are_spoken() -> None:
    latin = {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz'", start=1)}
    letters = {i: letter for letter, i in latin.items()}
    assert "".join(letters[i] for i in spell("21", "en", latin)) == "twentyone"
