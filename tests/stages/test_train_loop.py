"""The training loop: when it ends, and what is said where it cannot go on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from manifests.store import Store
from pipeline.contract import SilverError
from stages.train.data import Utterance, batches, joined
from stages.train.loop import CHECKPOINT, STATE, Curve, Training, _checkpoint, _memory, _rate, _worse


def curve(*wers: float) -> Curve:
    return Curve([{"wer": wer} for wer in wers])


def test_it_ends_when_the_dev_set_gains_nothing_for_a_while() -> None:
    assert not _worse(curve(0.4, 0.38, 0.39), 2)
    assert _worse(curve(0.4, 0.38, 0.39, 0.38), 2)


def test_a_student_that_does_not_write_yet_is_waited_for() -> None:
    assert not _worse(curve(1.0, 1.0, 1.0, 1.0), 2)
    assert _worse(curve(1.0, 0.99, 1.0, 1.0), 2)


def test_the_learning_rate_rises_and_falls_in_lines() -> None:
    assert [round(_rate(progress, 0.2), 3) for progress in (0.1, 0.2, 0.6, 1.0)] == [0.5, 1.0, 0.5, 0.0]


def test_memory_that_ends_is_an_error_that_says_what_to_lower() -> None:
    training = object.__new__(Training)
    training.device, training.whole = torch.device("cpu"), None
    training.job = SimpleNamespace(accumulate=1, batch_seconds=240.0)
    training.student = SimpleNamespace(loss=lambda *_: torch.empty(1 << 46).sum())
    with (
        pytest.raises(SilverError, match="a batch of 240 s does not fit into memory: lower batch_seconds, raise accumulate"),
        _memory(training.job),
    ):
        training._learn({})


ENDED = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("CUDA failed with error out of memory")]


@pytest.mark.parametrize("error", ENDED)
def test_memory_that_ends_on_a_gpu_is_told_too_with_a_mock_that_raises_it(error: Exception) -> None:
    with pytest.raises(SilverError, match="does not fit into memory"), _memory(SimpleNamespace(batch_seconds=1.0)):
        raise error
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), _memory(SimpleNamespace(batch_seconds=1.0)):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_lower() -> None:
    training = object.__new__(Training)
    training.device, training.whole, training.epoch = torch.device("cpu"), None, 2
    training.job = SimpleNamespace(accumulate=1)
    training.student = SimpleNamespace(loss=lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(SilverError, match="the loss is nan in epoch 3: lower learning_rate"):
        training._learn({})


def test_a_damaged_checkpoint_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    job = SimpleNamespace(store=Store(str(tmp_path)), folder="models/train_1/x")
    assert _checkpoint(job) is None
    path = tmp_path / job.folder / STATE / CHECKPOINT
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 1}, path)
    with pytest.raises(SilverError, match=r"is damaged \(it has no curve, network, optimizer, schedule, step\)"):
        _checkpoint(job)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SilverError, match=r"checkpoint\.pt is damaged .*remove it, and the training begins anew"):
        _checkpoint(job)


def utterance(seconds: float, language: str = "en") -> Utterance:
    return Utterance(torch.zeros(round(seconds * 16_000)).numpy(), f"{seconds:g} s", language)


def test_batches_have_utterances_of_like_length_and_none_is_lost() -> None:
    lengths = [1.0, 9.0, 1.2, 8.5, 1.1, 9.5]
    made = list(batches((utterance(length) for length in lengths), 20.0, 0, 0))
    assert sorted(item.seconds for batch in made for item in batch) == sorted(lengths)
    assert all(max(item.seconds for item in batch) * len(batch) <= 20 for batch in made)


def test_short_utterances_of_one_language_share_a_window() -> None:
    made = list(joined([utterance(10), utterance(10), utterance(10), utterance(5, "de")], 30.0))
    assert [item.text for item in made] == ["10 s 10 s", "10 s", "5 s"]
    assert all(item.seconds <= 30 for item in made)
