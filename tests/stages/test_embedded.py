"""The aligner that comes with Silver, on real speech of people that it was not trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from manifests.schema import Row
from pipeline.contract import PartContext, SilverError
from stages import whisper
from stages.align import Align, head
from tests.windows import context, spoken, store_windows
from workflows.head.evaluate import librivox


@pytest.fixture(scope="module")
def aligner(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Align:
    stage = Align(Align.Params(backend="embedded"))
    assert set(stage.identity()) == {"model", "sha256", "head"}
    stage.setup(context(tmp_path_factory.mktemp("nothing")))
    return stage


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> tuple[PartContext, list[Row], list[str]]:
    """Three windows of Asterisk's English prompts, heard already as transcribe does, and what is said in them."""
    windows = spoken("en", 3, 9, skip=40)
    root = tmp_path_factory.mktemp("english")
    rows = store_windows(root, [window.samples for window in windows], "en")
    texts = [window.text for window in windows]
    shared = context(root)
    whisper.encode(shared, whisper.load("base", "auto", shared), rows)
    return shared, [row | {"text_raw": text} for row, text in zip(rows, texts, strict=True)], texts


def align(stage: Align, shared: PartContext, rows: list[Row]) -> list[Row]:
    return [children[0] for children in stage.apply(rows, shared)]


def test_words_start_where_pocketsphinx_says(aligner: Align, tmp_path: Path) -> None:
    """A reading of Jane Austen (LibriVox), against the forced alignment by an aligner of another make."""
    clips = librivox()
    rows = store_windows(tmp_path, [soundfile.read(clip.path, dtype="float32")[0] for clip in clips], "en")
    rows = [row | {"text_raw": " ".join(word for word, _ in clip.words)} for row, clip in zip(rows, clips, strict=True)]
    late = [
        word["start"] - row["start"] - start
        for row, clip in zip(align(aligner, context(tmp_path), rows), clips, strict=True)
        for word, (_, start) in zip(row["words"], clip.words, strict=True)
    ]
    assert len(late) == 71
    assert np.median(np.abs(late)) <= 0.06
    assert abs(np.median(late)) <= 0.03  # no bias
    assert np.mean(np.abs(late) <= 0.2) >= 0.95


def test_words_lie_where_prompts_are_said(aligner: Align, english: tuple[PartContext, list[Row], list[str]]) -> None:
    shared, rows, texts = english
    for row, text in zip(align(aligner, shared, rows), texts, strict=True):
        words = row["words"]
        assert " ".join(word["word"] for word in words) == " ".join(text.split())
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert row["start"] + 0.4 < times[0]  # after the silence in front
        assert times[-1] < row["end"] - 0.3
        assert row["align_score"] > 0.5


def test_what_it_hears_is_a_second_opinion(aligner: Align, english: tuple[PartContext, list[Row], list[str]]) -> None:
    shared, rows, _ = english
    for row in align(aligner, shared, rows):
        spelled = "".join(word["spelled"] for word in row["words"])
        assert jiwer.cer(spelled, "".join(word["heard"] for word in row["words"])) < 0.35
    texts = rows[0]["text_raw"].split()
    wrong = rows[0] | {"text_raw": " ".join([texts[0], "zebra", *texts[2:]])}
    right, other = align(aligner, shared, [rows[0], wrong])
    assert other["words"][1]["score"] < 0.2 < right["words"][1]["score"]
    # It hears the same whatever it is asked to look for.
    assert "".join(word["heard"] for word in right["words"]) == "".join(word["heard"] for word in other["words"])


def test_same_words_alone_together_and_after_another_stage(aligner: Align, english: tuple[PartContext, list[Row], list[str]]) -> None:
    shared, rows, _ = english
    together = align(aligner, shared, rows)
    assert align(aligner, shared, rows) == together
    for row, before in zip(rows, together, strict=True):
        [alone] = align(aligner, shared, [row])
        assert [word["word"] for word in alone["words"]] == [word["word"] for word in before["words"]]
        np.testing.assert_allclose([word["start"] for word in alone["words"]], [word["start"] for word in before["words"]], atol=0.021)
        np.testing.assert_allclose([word["score"] for word in alone["words"]], [word["score"] for word in before["words"]], atol=1e-3)


def test_a_window_that_was_heard_is_not_encoded_again(
    aligner: Align, english: tuple[PartContext, list[Row], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, rows, _ = english
    alone = align(aligner, PartContext(store=shared.store), rows[:1])
    monkeypatch.setattr(whisper, "_encode", None)
    assert align(aligner, shared, rows[:1]) == alone


def test_a_network_that_is_not_all_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SilverError, match=r"config.json is missing"):
        head.load(tmp_path)
    shutil.copytree(head.SHIPPED, tmp_path / "cut")
    config = tmp_path / "cut" / "config.json"
    config.write_text(config.read_text().replace('"blocks": 4', '"blocks": 5'))
    with pytest.raises(SilverError, match=r"is not the network that .*config.json describes"):
        head.load(tmp_path / "cut")
