"""Samples that are encoded as one frame come back from any decoder as they were."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pack.flac import _head
from stages.pack.frames import SYNC, short_header
from stages.pack.rice import encode


def decode(samples: np.ndarray) -> bytes:
    """The frame; asserts that libFLAC and ffmpeg, which look at its checksums, find these samples in it."""
    frame = encode(samples, short_header(SYNC + b"\x05\x08", 0, len(samples)))
    data = _head(4096, 4096, len(samples)) + frame
    found, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(found, samples)
    with av.open(io.BytesIO(data), options={"err_detect": "crccheck+explode"}) as container:
        np.testing.assert_array_equal(np.concatenate([part.to_ndarray()[0] for part in container.decode(audio=0)]), samples)
    return frame


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4095), st.integers(0, 15), st.floats(0, 1), st.integers(0, 2**32))
def test_noise_of_any_loudness(count: int, bits: int, share: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    samples = chance.integers(-(2**bits), 2**bits, count)
    if bits < 15:
        samples = np.cumsum(samples)  # what a line foretells
    samples[chance.random(count) < share] = 0
    frame = decode(np.clip(samples, -32768, 32767).astype(np.int16))
    assert len(frame) <= 2 * count + 16


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 192, 256, 257, 4095])
@pytest.mark.parametrize("values", [(0,), (-1,), (32767,), (-32768,), (32767, -32768), (-32768, -32768, 32767), (0, 0, 0, 0, 1)])
def test_extremes(count: int, values: tuple[int, ...]) -> None:
    decode(np.resize(np.array(values, np.int16), count))


def test_one_click_in_silence() -> None:
    for place in (0, 1, 2, 1000, 2999):
        samples = np.zeros(3000, np.int16)
        samples[place] = -32768
        decode(samples)


def test_a_line_is_short() -> None:
    assert len(decode(np.arange(-9000, 9000, 5, dtype=np.int16))) < 3600 / 8 + 20
