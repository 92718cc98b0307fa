from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from silero_vad import get_speech_timestamps, load_silero_vad

from manifests.part import Counts, to_table
from manifests.schema import ROW, Row, extend
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from pipeline.worker import apply
from stages.audio import SAMPLE_RATE, audio_path, read_audio
from stages.decode import Decode
from stages.segment import Segment, cut, merge
from stages.voice import BLOCK, WINDOW_MS, Vad, speech_regions
from tests.hostile import voice_like
from tests.speech import long_speech

SPEECH_SECONDS = 150


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Recorded prompts, a second apart, and where their sound begins and ends (40 dB under their peak)."""
    samples, spans = long_speech("en", SPEECH_SECONDS, pause=1.0)
    truth = []
    for span in spans:
        first = round(span.start * SAMPLE_RATE)
        frames = samples[first : round(span.end * SAMPLE_RATE)]
        level = np.sqrt((frames[: len(frames) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1))
        loud = np.flatnonzero(level > level.max() / 100)
        truth.append((span.start + loud[0] * 0.01, span.start + (loud[-1] + 1) * 0.01))
    return samples, truth


@pytest.fixture(scope="module")
def vad() -> Vad:
    return Vad()


def in_blocks(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]


def segment(tmp_path: Path, samples: np.ndarray, **params: float) -> list[Row]:
    """The rows that the stage makes of one recording."""
    store = Store(str(tmp_path))
    path = audio_path("ab" * 32)
    with store.staged(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    seconds = len(samples) / SAMPLE_RATE
    row = {
        "source_id": "s",
        "recording_id": "ab" * 8,
        "segment_id": None,
        "audio_path": path,
        "start": 0.0,
        "end": seconds,
        "duration": seconds,
    }
    context = PartContext(store)
    stage = Segment(Segment.Params(**params))
    stage.setup(context)
    (children,) = stage.apply([row], context)
    check(children, seconds, stage.params.max_duration, stage.params.min_speech)
    return children


def check(children: list[Row], seconds: float, longest: float = 30.0, shortest: float = 0.25) -> None:
    """What holds of every segment."""
    assert children
    if children[0].get("drop_reason"):
        assert len(children) == 1
        return
    for child in children:
        assert 0 <= child["start"] < child["end"] <= seconds
        assert child["duration"] == pytest.approx(child["end"] - child["start"], abs=1e-9)
        assert shortest <= child["duration"] <= longest
        assert 0 < child["speech_ratio"] <= 1
        assert child["segment_id"] == f"{'ab' * 8}-{round(child['start'] * 1000):08d}-{round(child['end'] * 1000):08d}"
        assert round(child["start"], 3) == child["start"]
    for before, after in pairwise(children):
        assert before["end"] <= after["start"]
    assert len({child["segment_id"] for child in children}) == len(children)


def test_probabilities_are_those_of_the_published_loop(speech: tuple[np.ndarray, list[tuple[float, float]]], vad: Vad) -> None:
    samples = speech[0][: 70 * SAMPLE_RATE + 123]  # three blocks, and a last window that is not whole
    reference = load_silero_vad(onnx=True).audio_forward(torch.from_numpy(samples)[None], SAMPLE_RATE)[0].numpy()
    difference = np.abs(vad.probabilities(in_blocks(samples)) - reference)
    assert difference.max() < 1e-4
    assert difference.mean() < 1e-5


def test_regions_are_those_that_silero_finds(speech: tuple[np.ndarray, list[tuple[float, float]]], vad: Vad) -> None:
    samples = speech[0]
    theirs = get_speech_timestamps(torch.from_numpy(samples), load_silero_vad(onnx=True), speech_pad_ms=0)
    mine = speech_regions(vad.probabilities(in_blocks(samples)), 0.5, 250, 100)
    assert len(mine) > 20
    assert mine == [(region["start"] // 16, min(region["end"] // 16, mine[-1][1])) for region in theirs]


def test_speech_between_pauses_is_found_within_150_ms(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    samples, truth = speech
    children = segment(tmp_path, samples, max_gap=0.0, pad=0.0)
    for start, end in truth:
        inside = [child for child in children if child["end"] > start and child["start"] < end]
        assert inside[0]["start"] == pytest.approx(start, abs=0.15)
        assert inside[-1]["end"] == pytest.approx(end, abs=0.15)


def test_padding_keeps_the_first_and_the_last_sound(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    samples, truth = speech
    children = segment(tmp_path, samples)
    lost = sum(max(0.0, end - start - sum(max(0.0, min(end, c["end"]) - max(start, c["start"])) for c in children)) for start, end in truth)
    assert lost < 0.002 * sum(end - start for start, end in truth)


def test_neighbours_are_merged_into_nearly_whole_windows(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    children = segment(tmp_path, speech[0])
    assert len(children) < len(speech[1]) / 3
    assert np.median([child["duration"] for child in children]) > 22
    assert all(child["speech_ratio"] > 0.5 for child in children)


def test_a_long_pause_is_not_inside_a_window(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    sentence = speech[0][: 8 * SAMPLE_RATE]
    children = segment(tmp_path, np.concatenate([sentence, np.zeros(3 * SAMPLE_RATE, np.float32), sentence]))
    assert len(children) == 2
    assert children[1]["start"] - children[0]["end"] > 2.5


def test_speech_without_a_pause_is_cut_at_its_weakest_point_and_nothing_is_lost(
    tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]
) -> None:
    samples, truth = speech
    unbroken = np.concatenate([samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in truth])
    children = segment(tmp_path, unbroken, max_duration=10.0, min_silence=5.0)  # min_silence: one region of two minutes
    assert len(children) > 10
    assert sum(child["duration"] for child in children) > 0.97 * len(unbroken) / SAMPLE_RATE
    at_cuts = [unbroken[round(child["end"] * SAMPLE_RATE) + np.arange(-400, 400)] for child in children[:-1]]
    assert np.sqrt(np.mean(np.square(at_cuts))) < 0.4 * np.sqrt(np.mean(unbroken**2))


def test_the_audio_of_a_segment_is_what_the_row_says(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    samples = speech[0]
    child = segment(tmp_path, samples)[1]
    heard = read_audio(Store(str(tmp_path)), child)
    assert len(heard) == round(child["duration"] * SAMPLE_RATE)
    assert np.abs(heard - samples[round(child["start"] * SAMPLE_RATE) :][: len(heard)]).max() < 1e-4


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(60 * SAMPLE_RATE, np.float32),
        np.random.default_rng(0).standard_normal(40 * SAMPLE_RATE).astype(np.float32) * 0.05,
        voice_like(20),
        np.sin(np.arange(20 * SAMPLE_RATE) * 0.17).astype(np.float32) * 0.5,
    ],
    ids=["nothing", "a few samples", "silence", "noise", "pulsing noise", "tone"],
)
def test_where_nobody_speaks_the_recording_is_dropped_with_the_reason(tmp_path: Path, samples: np.ndarray) -> None:
    (row,) = segment(tmp_path, samples)
    assert row["drop_reason"] == "no_speech"
    assert row["duration"] == len(samples) / SAMPLE_RATE


def test_the_same_audio_gives_the_same_rows(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    assert segment(tmp_path / "a", speech[0]) == segment(tmp_path / "b", speech[0])


def test_rows_and_audio_of_decode_go_straight_in(tmp_path: Path, speech: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    context = PartContext(Store(str(tmp_path / "root")))
    soundfile.write(tmp_path / "talk.flac", speech[0][: 70 * SAMPLE_RATE], SAMPLE_RATE)
    soundfile.write(tmp_path / "quiet.flac", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    rows = [{"source_id": name, "segment_id": None, "media_uri": str(tmp_path / f"{name}.flac")} for name in ("talk", "quiet")]
    decoded = [row for (row,) in Decode(Decode.Params()).apply(rows, context)]
    stage = Segment(Segment.Params())
    stage.setup(context)
    before = to_table(decoded, extend(ROW.append(pa.field("media_uri", pa.string())), Decode.adds))
    after, counts = apply(stage, before, Counts.of(decoded), context)
    children = after.to_pylist()
    assert {(row["source_id"], row["drop_stage"], row["drop_reason"]) for row in children} == {
        ("talk", None, None),
        ("quiet", "segment", "no_speech"),
    }
    assert counts.live >= 3
    assert all(child["recording_id"] == decoded[0]["recording_id"] and child["codec"] == "flac" for child in children[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [(None, "is not there any more"), (b"", "cannot be read"), (b"hello" * 100, "cannot be read"), (b"half", "too early|cannot be read")],
)
def test_audio_that_the_corpus_lost_stops_the_part_and_says_what_to_do(tmp_path: Path, damage: bytes | None, message: str) -> None:
    path = tmp_path / "audio" / "a.flac"
    path.parent.mkdir()
    soundfile.write(path, voice_like(60), SAMPLE_RATE)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == b"half" else damage)
    context = PartContext(Store(str(tmp_path)))
    stage = Segment(Segment.Params())
    stage.setup(context)
    with pytest.raises(SilverError, match=rf"audio/a\.flac ({message}).*remove it and the folder manifests/decode"):
        stage.apply([{"segment_id": None, "recording_id": "a", "audio_path": "audio/a.flac", "start": 0.0, "end": 60.0}], context)


def test_cut_takes_the_least_likely_point_in_the_second_half() -> None:
    smooth = np.full(3000, 0.9, np.float32)
    smooth[100], smooth[700] = 0.0, 0.2  # 3.2 s: too early; 22.4 s
    pieces = cut((0, 60_000), smooth, 30_000, 250)
    assert pieces[0] == (0, 700 * WINDOW_MS + WINDOW_MS // 2)
    assert pieces[-1][1] == 60_000
    assert all(0 < end - start <= 30_000 for start, end in pieces)
    assert all(before[1] == after[0] for before, after in pairwise(pieces))


@pytest.mark.parametrize("length", [30_001, 30_032, 30_249, 59_999, 90_017])
def test_cut_leaves_no_piece_too_short_or_too_long(length: int) -> None:
    smooth = np.linspace(1, 0, length // WINDOW_MS + 2, dtype=np.float32)  # the least likely point is always the last
    pieces = cut((0, length), smooth, 30_000, 250)
    assert all(250 <= end - start <= 30_000 for start, end in pieces)


def test_merge_fills_windows_but_never_over_30_s() -> None:
    speech = [(1_000, 11_000), (12_000, 22_000), (23_000, 31_000), (33_500, 34_000)]
    assert merge(speech, 30_000, 2_000, 100, 34_050) == [(900, 22_100), (22_900, 31_100), (33_400, 34_050)]
    assert merge([(0, 15_000), (15_000, 29_800)], 30_000, 2_000, 100, 40_000) == [(0, 29_900)]
    assert merge([], 30_000, 2_000, 100, 40_000) == []


def test_padding_of_neighbours_does_not_overlap() -> None:
    assert merge([(1_000, 2_000), (2_150, 3_000)], 30_000, 0, 100, 3_050) == [(900, 2_075), (2_075, 3_050)]


def test_a_window_too_short_for_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="max_duration must be at least four times"):
        Segment.Params(max_duration=1.1)
