"""Long recordings of real speech with their transcripts, by the aligner that comes with Silver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manifests.schema import Row
from pipeline.contract import PartContext
from stages.align import Align, pieces
from stages.resegment import Resegment
from tests.speech import Span, long_speech
from tests.windows import context, store_windows


@pytest.fixture(scope="module")
def aligner(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Align:
    stage = Align(Align.Params(text="text_source"))
    stage.identity()
    stage.setup(context(tmp_path_factory.mktemp("nothing")))
    return stage


def recording(root: Path, language: str, seconds: float) -> tuple[PartContext, Row, list[Span]]:
    samples, prompts = long_speech(language, seconds)
    [row] = store_windows(root, [samples], language)
    return context(root), row | {"segment_id": None, "text_source": " ".join(prompt.text for prompt in prompts)}, prompts


@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_a_minute_is_aligned_with_its_transcript_and_cut(
    language: str, aligner: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LARGEST", 1_000_000)  # a minute is a long row
    shared, row, prompts = recording(tmp_path, language, 58)
    [[out]] = aligner.apply([row], shared)
    words = out["words"]
    assert [word["word"] for word in words] == row["text_source"].split()
    assert shared.memory == {}
    first = 0
    late = []
    for prompt in prompts:
        last = first + len(prompt.text.split()) - 1
        late += [words[first]["start"] - prompt.start, prompt.end - words[last]["end"]]
        first = last + 1
    assert np.mean(np.abs(late) < 0.6) >= 0.9  # a prompt begins and ends with some silence of its own
    assert np.percentile(late, 5) > -0.3

    segments = Resegment(Resegment.Params()).expand_row(out, shared)
    assert " ".join(segment["text_raw"] for segment in segments).split() == row["text_source"].split()
    assert max(segment["duration"] for segment in segments) < 20


def test_a_sentence_that_nobody_wrote_down_and_one_that_nobody_said(
    aligner: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LARGEST", 1_000_000)
    shared, row, prompts = recording(tmp_path, "en", 58)
    middle = len(prompts) // 2
    missing = row | {"text_source": " ".join(prompt.text for prompt in prompts[:middle] + prompts[middle + 1 :])}
    never = "The quick brown fox jumps over the lazy dog while eleven wizards brew their purple potion in a haunted castle by the sea."
    extra = row | {
        "text_source": " ".join(prompt.text for prompt in prompts[:middle]) + f" {never} " + " ".join(p.text for p in prompts[middle:])
    }
    whole, missing, extra = (children[0]["words"] for children in aligner.apply([row, missing, extra], shared))
    before = sum(len(prompt.text.split()) for prompt in prompts[:middle])
    unwritten, unsaid = len(prompts[middle].text.split()), len(never.split())
    for found, added in ((missing[:before] + missing[before:], -unwritten), (extra[:before] + extra[before + unsaid :], 0)):
        expected = whole[:before] + whole[before - added :]
        moved = [abs(a["start"] - b["start"]) for a, b in zip(found, expected, strict=True)]
        assert np.mean(np.array(moved) < 0.1) > 0.9
    said = np.mean([word["score"] for word in whole])
    assert np.mean([word["score"] for word in extra[before : before + unsaid]]) < said / 3
