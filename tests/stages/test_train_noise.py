"""Noise on training audio: what each kind does to speech, and that it is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from pipeline.contract import SilverError
from stages.train.codecs import CODECS, Codec, through
from stages.train.noise import Noise, by_telephone, coloured, faster, in_a_room, with_noise
from stages.train.specaugment import mask
from workflows.demo.speech import prompts

OFF = {"speed": 0, "additive": 0, "reverberation": 0, "telephone": 0, "codec": 0}


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, _ = soundfile.read(prompts("en")[20].path, dtype="float32")
    return samples


def test_the_same_seed_makes_the_same_noise(speech: np.ndarray) -> None:
    first, again, other = (Noise().apply(speech, np.random.default_rng(seed), 30.0) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other[: len(first)])
    assert np.array_equal(Noise(**OFF).apply(speech, np.random.default_rng(0), 30.0), speech)


def test_noise_lies_as_far_below_speech_as_was_said(speech: np.ndarray) -> None:
    added = with_noise(speech, coloured(np.random.default_rng(0).normal(size=len(speech)), 0.5), 10) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(10, abs=0.1)


def test_a_room_moves_nothing_in_time(speech: np.ndarray) -> None:
    wet = in_a_room(speech, np.random.default_rng(0).normal(size=4800), 0.3, 0.5)
    assert len(wet) == len(speech)
    assert np.argmax(np.correlate(wet, speech, "full")) == len(speech) - 1


def test_a_telephone_has_no_high_frequencies(speech: np.ndarray) -> None:
    spectrum = np.abs(np.fft.rfft(by_telephone(speech))) ** 2
    high = np.fft.rfftfreq(len(speech), 1 / 16000) > 4500
    assert spectrum[high].sum() < 0.02 * spectrum.sum()


def test_faster_speech_is_shorter(speech: np.ndarray) -> None:
    assert len(faster(speech, 1.1)) == round(len(speech) / 1.1)


def test_speech_is_a_tenth_slower_or_faster_or_as_it_was(speech: np.ndarray) -> None:
    always = Noise(**OFF | {"speed": 1})
    lengths = {len(always.apply(speech, np.random.default_rng(seed), 30.0)) for seed in range(10)}
    assert lengths == {round(len(speech) / by) for by in (0.9, 1.1)}


CODEC_RATES = [(codec, bit_rate) for codec in CODECS for bit_rate in codec.bit_rates]


@pytest.mark.parametrize(("codec", "bit_rate"), CODEC_RATES, ids=[f"{codec.encoder} {bit_rate}" for codec, bit_rate in CODEC_RATES])
def test_a_codec_changes_speech_and_moves_nothing_in_time(speech: np.ndarray, codec: Codec, bit_rate: int) -> None:
    heard = through(speech, codec, bit_rate)
    assert len(heard) == len(speech)
    at = np.argmax(np.correlate(speech[7900:12100], heard[8000:12000], "valid"))
    assert abs(int(at) - 100) <= 2  # an eighth of a millisecond
    assert 0.7 < np.corrcoef(heard, speech)[0, 1] < 0.9999
    assert np.array_equal(heard, through(speech, codec, bit_rate))


def test_a_lower_bit_rate_takes_more_away(speech: np.ndarray) -> None:
    for codec in CODECS[:2]:
        lost = [float(np.mean((through(speech, codec, bit_rate) - speech) ** 2)) for bit_rate in (codec.bit_rates[0], codec.bit_rates[-1])]
        assert lost[0] > 1.5 * lost[1]
    at_8_khz = np.abs(np.fft.rfft(through(speech, CODECS[2], 12_200))) ** 2
    assert at_8_khz[np.fft.rfftfreq(len(speech), 1 / 16000) > 4500].sum() < 0.01 * at_8_khz.sum()


def test_a_codec_happens_as_often_as_was_said(speech: np.ndarray) -> None:
    sometimes, second = Noise(**OFF | {"codec": 0.3}), speech[:16000]
    changed = [not np.array_equal(sometimes.apply(second, np.random.default_rng(seed), 30.0), second) for seed in range(60)]
    assert 8 < sum(changed) < 28


def test_a_codec_that_pyav_was_built_without_is_an_error_that_says_what_to_do(speech: np.ndarray) -> None:
    with pytest.raises(SilverError, match=r"this PyAV has no libgsm or gsm: install its wheel, or set noise\.codec to 0"):
        through(speech, Codec("libgsm", "gsm", 8000, "s16", (13_000,)), 13_000)


def test_slow_speech_still_fits_the_window_so_that_no_word_is_cut_off() -> None:
    always = Noise(**OFF | {"speed": 1})
    made = [len(always.apply(np.zeros(29 * 16000, np.float32), np.random.default_rng(seed), 30.0)) for seed in range(30)]
    assert max(made) == 30 * 16000
    assert min(made) < 29 * 16000


@pytest.mark.parametrize("samples", [np.zeros(16000, np.float32), np.ones(1, np.float32)])
def test_silence_and_a_single_sample_stay_finite(samples: np.ndarray) -> None:
    loud = Noise(speed=1, additive=1, reverberation=1, telephone=1, codec=1)
    assert np.isfinite(loud.apply(samples, np.random.default_rng(0), 30.0)).all()


def test_specaugment_hides_some_of_each_window_and_no_more_than_was_said() -> None:
    torch.manual_seed(0)
    features = torch.rand(8, 300, 80) + 1
    hidden = mask(features, 2, 40, 2, 10) != features
    assert hidden.any(dim=(1, 2)).all()
    assert hidden.all(dim=2).sum(dim=1).max() <= 80
    assert torch.equal(mask(features, 0, 40, 0, 10), features)
