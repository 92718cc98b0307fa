"""What a student has learned is followed to the student that it began with, and so on, and said where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from manifests.corpus import CURRENT
from manifests.store import Store
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE
from stages.heldout import HeldOut
from stages.train.lineage import TRAINING, Place, hold_out, learned, place, student_in
from stages.train.loop import TEXTS
from stages.train.student import RECORD
from tests.heldout import write_gold

SENTENCE = "we will not pay more than twenty dollars for the grey colour"


def student(
    root: Path, name: str, text: str | None, start: str | None = "", model: str = "base", corpus: str = "", **training: str
) -> Path:
    """A student's folder as a training leaves it; `start` None: as older versions left it; no text: a copy that `start` brought."""
    folder = root / "models" / name / "0123456789abcdef"
    folder.mkdir(parents=True)
    Store(str(root)).write(CURRENT, b"{}")
    told = training if start is None or training else {"start": start or None}
    (folder / TRAINING).write_text(json.dumps({"taken": "x"} | told))
    (folder / RECORD).write_text(json.dumps({"kind": "hf-whisper", "model": model}))
    if text is not None:
        audio = root / f"{name}.flac"
        soundfile.write(audio, np.random.default_rng(len(name)).normal(0, 0.1, SAMPLE_RATE), SAMPLE_RATE)
        row = {
            "segment_id": "a", "recording_id": name, "source_uri": str(audio), "channel": None, "speaker": None, "language": "en", "duration": 1.0,
            "audio_path": audio.name, "train_text": text, "corpus": corpus,
        }  # fmt: skip
        pq.write_table(pa.Table.from_pylist([row]), folder / TEXTS)
    return folder


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, Path]:
    """October's student; and that of December, which began with the second round of November, which went on from its first, which began with October's."""
    october = student(tmp_path / "october", "train_1", f"and she said {SENTENCE} of it")
    november = tmp_path / "november"
    student(november, "start", None, source=str(october))
    first = student(november, "train_1", "the first round", "models/start/0123456789abcdef")
    second = student(november, "train_2", "the second round", first.relative_to(november).as_posix())
    december = tmp_path / "december"
    student(december, "start", None, source=str(second))
    return october, student(december, "train_1", "another month", "models/start/0123456789abcdef")


def texts(begun: Place, told: list[str]) -> list[str]:
    return [text for _, rows in learned(begun, told.append) for text in rows.column("train_text").to_pylist()]


def test_the_chain_is_followed_through_copies_and_rounds_to_its_beginning(three: tuple[Path, Path]) -> None:
    october, december = three
    told: list[str] = []
    assert texts(place(december), told) == ["another month", "the second round", "the first round", f"and she said {SENTENCE} of it"]
    assert told == [f"the gold was compared with all that was learned back to {october}, which began with base"]


def test_gold_that_the_first_of_them_learned_ends_it(three: tuple[Path, Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "held.flac", np.random.default_rng(9).normal(0, 0.1, SAMPLE_RATE), SAMPLE_RATE)
    gold = write_gold(tmp_path / "test.jsonl", [{"audio": "held.flac", "text": SENTENCE, "language": "en"}])
    with pytest.raises(SilverError, match=r"test\.jsonl is not held out from the training data:\n  same text, 1 or 100"):
        hold_out(place(three[1]), [HeldOut.read(gold)], lambda _: None)
    other = write_gold(tmp_path / "test.jsonl", [{"audio": "held.flac", "text": SENTENCE.replace("grey", "blue"), "language": "en"}])
    hold_out(place(three[1]), [HeldOut.read(other)], lambda _: None)


def test_where_a_folder_is_gone_or_says_too_little_it_is_said_that_nothing_is_known(three: tuple[Path, Path], tmp_path: Path) -> None:
    told: list[str] = []
    shutil.rmtree(tmp_path / "october")
    assert texts(place(three[1]), told) == ["another month", "the second round", "the first round"]
    assert told[0].startswith(f"{three[0]} does not lie in its corpus, so it cannot be told whether the gold is held out")
    old = student(tmp_path / "old", "train_1", "long ago", None)
    assert texts(place(old), told) == ["long ago"]
    assert told[1].startswith(f"{old} does not say what it began with")
    replaying = student(tmp_path / "replaying", "train_1", "again", corpus=str(tmp_path / "october"))
    assert texts(place(replaying), told) == []
    assert told[2].startswith(f"{replaying} has learned of {tmp_path / 'october'}, which is gone")


def test_a_student_that_is_the_model_to_begin_with_is_followed_too(three: tuple[Path, Path], tmp_path: Path) -> None:
    published = three[0] / "transformers"
    published.mkdir()
    assert student_in(str(published)) == three[0]
    assert student_in("base") is student_in(None) is student_in(str(tmp_path)) is None
    later = student(tmp_path / "later", "train_1", "later", model=str(published))
    assert texts(place(later), []) == ["later", f"and she said {SENTENCE} of it"]
