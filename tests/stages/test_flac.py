"""A span that is cut out of a FLAC file has exactly the samples of the source, whoever decodes it."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.audio import SAMPLE_RATE
from stages.pack.crc import crc16, long_crc16
from stages.pack.flac import cut
from stages.pack.frames import _number, coded, find, read_stream
from workflows.demo.speech import long_speech


def flac(pcm: np.ndarray) -> bytes:
    sink = io.BytesIO()
    with soundfile.SoundFile(sink, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        for at in range(0, len(pcm), 10_000):
            file.write(pcm[at : at + 10_000])
    return sink.getvalue()


def source() -> tuple[bytes, np.ndarray]:
    """Eleven minutes of real speech, pauses, silence and loud noise."""
    speech = long_speech("en", 400)[0]
    noise = np.random.default_rng(0).uniform(-1, 1, 60 * SAMPLE_RATE).astype(np.float32)
    samples = np.concatenate([speech, np.zeros(60 * SAMPLE_RATE, np.float32), noise, speech[: 100 * SAMPLE_RATE + 777]])
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return flac(pcm), pcm


FLAC, PCM = source()


def decoded_by_ffmpeg(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(PCM) - 2), st.integers(1, 30 * SAMPLE_RATE))
def test_random_spans(start: int, length: int) -> None:
    end = min(len(PCM), start + length)
    data = cut(io.BytesIO(FLAC), start, end)
    if data is None:
        assert end - start < 2 * 4096 or 0 < -start % 4096 < 16
        return
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == SAMPLE_RATE
    np.testing.assert_array_equal(samples, PCM[start:end])
    np.testing.assert_array_equal(decoded_by_ffmpeg(data), PCM[start:end])
    assert cut(io.BytesIO(FLAC), start, end) == data


@pytest.mark.parametrize(
    ("start", "end"), [(0, len(PCM)), (4096 * 3, 4096 * 9), (4096 * 3, 4096 * 9 + 1), (100, len(PCM)), (0, 4096), (4095 - 15, 4096 * 5 - 1)]
)
def test_spans_that_end_with_frames(start: int, end: int) -> None:
    data = cut(io.BytesIO(FLAC), start, end)
    assert data is not None
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(data), dtype="int16")[0], PCM[start:end])
    np.testing.assert_array_equal(decoded_by_ffmpeg(data), PCM[start:end])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_files_of_any_length(data: st.DataObject) -> None:
    """Exactly some blocks, or a last frame of any length, of which the span takes all or some."""
    blocks, rest = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([0, 1, 2, 3, 15, 16, 17, 192, 255, 256, 257, 4095]))
    at = data.draw(st.integers(0, len(PCM) - 6 * 4096))
    pcm = PCM[at : at + 4096 * blocks + rest]
    start = data.draw(st.integers(0, 4096 * 2)) if blocks > 2 else data.draw(st.sampled_from([0, 1, 4080, 4081]))
    end = data.draw(st.sampled_from([len(pcm), len(pcm) - 1, 4096 * blocks]))
    cut_out = cut(io.BytesIO(flac(pcm)), start, end)
    if cut_out is None:
        assert end // 4096 == -(-start // 4096) or 0 < -start % 4096 < 16
        return
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(cut_out), dtype="int16")[0], pcm[start:end])
    np.testing.assert_array_equal(decoded_by_ffmpeg(cut_out), pcm[start:end])


def test_damage_in_a_frame_at_an_end_is_left_to_the_decoder() -> None:
    stream = read_stream(io.BytesIO(FLAC))
    assert stream is not None
    for number, left in ((20, True), (21, False), (40, True)):  # in a frame that is copied, `silver verify` finds it
        (frame,) = find(io.BytesIO(FLAC), stream, number, number) or ()
        damaged = bytearray(FLAC)
        damaged[FLAC.index(frame.data) + len(frame.data) // 2] ^= 4
        assert (cut(io.BytesIO(damaged), 4096 * 20 + 5, 4096 * 40 + 7) is None) == left


def test_whole_frames_are_the_bytes_of_the_source() -> None:
    data = cut(io.BytesIO(FLAC), 4096 * 20 + 5, 4096 * 40)
    assert data is not None
    middle = data[len(data) // 2 : len(data) // 2 + 1500]
    assert middle in FLAC or middle[:700] in FLAC or middle[-700:] in FLAC


def test_other_kinds_of_files_are_left_to_the_decoder(tmp_path: Path) -> None:
    for rate, shape, subtype in (
        (8000, (90_000,), "PCM_16"),
        (16_000, (90_000, 2), "PCM_16"),
        (16_000, (90_000,), "PCM_24"),
        (16_000, (90,), "PCM_16"),
    ):
        soundfile.write(tmp_path / "other.flac", np.zeros(shape, np.int16), rate, subtype=subtype)
        with (tmp_path / "other.flac").open("rb") as handle:
            assert cut(handle, 0, 50) is None
    assert cut(io.BytesIO(b"fLaC"), 0, 10_000) is None
    assert cut(io.BytesIO(b"RIFF" + bytes(1000)), 0, 10_000) is None


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_left_to_the_decoder(keep: float) -> None:
    damaged = FLAC[: int(len(FLAC) * keep)]
    assert cut(io.BytesIO(damaged), len(PCM) - 200_000, len(PCM)) is None


@given(st.integers(0, 2**36 - 1))
def test_numbers_are_coded_both_ways(number: int) -> None:
    assert _number(coded(number)) == number
    if number < 0x110000 and not 0xD800 <= number < 0xE000:
        assert coded(number) == chr(number).encode()


def test_the_checksum_is_that_of_the_format() -> None:
    assert crc16(b"123456789") == long_crc16(b"123456789") == 0xFEE8  # CRC-16/UMTS, the polynomial 0x8005 without reflection
