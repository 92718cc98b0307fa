"""The training loop: when it ends, and what is said where it cannot go on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from manifests.store import Store
from pipeline.contract import SilverError
from stages.train.data import Utterance, batches, joined
from stages.train.hf_whisper import HfWhisper
from stages.train.loop import CHECKPOINT, STATE, Curve, Training, _checkpoint, _mean, _memory, _rate, _worse
from stages.train.precision import mixed


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
    with pytest.raises(SilverError, match=r"is damaged \(it has no curve, mean, network, optimizer, schedule, step\)"):
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


def test_the_mean_of_the_weights_follows_fast_at_first_and_slowly_later() -> None:
    old, new = torch.tensor([0.0]), torch.tensor([1.0])
    assert [round(float(_mean(0.97, old, new, torch.tensor(steps))), 2) for steps in (0, 8, 1000)] == [0.9, 0.5, 0.03]
    assert float(_mean(0.0, old, new, torch.tensor(1000))) == 1
    assert int(_mean(0.97, torch.tensor(3), torch.tensor(7), torch.tensor(1000))) == 7, "a counter is no weight"


def test_the_mean_with_the_student_before_stays_only_if_it_is_better() -> None:
    worse, better, none = curve(0.4, 0.38), curve(0.4, 0.38), curve(0.4)
    worse.soup, better.soup = 0.39, 0.37
    assert [(each.kept, each.wer) for each in (worse, better, none)] == [("best", 0.38), ("soup", 0.37), ("best", 0.4)]


def test_utterances_that_are_joined_keep_how_probable_their_words_were() -> None:
    quiet = np.zeros(16000, np.float32)
    [both] = joined([Utterance(quiet, "one two", "en", [0.5, 0.25]), Utterance(quiet, "three", "en")], 30)
    assert (both.text, both.scores) == ("one two three", [0.5, 0.25, 1.0])
    assert next(joined([Utterance(quiet, "one", "en")] * 2, 30)).scores is None


def test_a_word_weighs_what_it_was_worth(base_model: Path) -> None:
    made = HfWhisper(HfWhisper.Options(model=str(base_model)))
    made.build([], None)
    said = Utterance(np.zeros(16000, np.float32), "Onwaarschijnlijk is dit, écht!", "nl", [0.5, 1.0, 0.9, 0.1])
    batch = made.batch([said, Utterance(said.samples, "Dit is zeker.", "nl")])
    doubted, sure = batch["weights"]
    text = made._tokenizer.encode(" " + said.text, add_special_tokens=False)
    weights = [0.25] * sum(end <= 17 for _, end in text.offsets) + [1.0] + [0.81] * 2
    assert doubted[:3].tolist() == [0, 0, 0], "language and task are given"
    assert doubted[3 : 3 + len(weights)].tolist() == pytest.approx(weights)
    assert doubted[3 + len(text.ids) - 1] == pytest.approx(0.01)
    assert doubted[3 + len(text.ids)] == pytest.approx(float(doubted[3 : 3 + len(text.ids)].mean())), "the end weighs as much as the mean"
    assert set(sure.tolist()) == {0.0, 1.0}
    assert batch["labels"][0, 3 + len(text.ids)] == made._tokenizer.token_to_id("<|endoftext|>")


def test_mixed_precision_is_not_imitated() -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    with mixed("cpu"):
        product = torch.nn.Linear(8, 8)(torch.zeros(1, 8))
    assert product.dtype == (torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else torch.float32)
    with mixed("cpu", wanted=False):
        assert torch.nn.Linear(8, 8)(torch.zeros(1, 8)).dtype == torch.float32
