"""Training of the network: CTC over romanised characters, on cached encoder outputs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from stages.align.head import Config, Head
from stages.train.precision import mixed
from workflows.head.data import CHARACTERS, ENCODER, VOCABULARY, read

STRIDE = 0.02
_HELD_OUT = 25  # one window in so many of each corpus only tells how the training goes

Window = tuple[Any, dict[str, Any]]


def split(corpora: Sequence[str], folder: Path) -> tuple[list[Window], list[Window]]:
    """Windows of prepared corpora: to train on, and held out."""
    windows = [(number, window) for corpus in corpora for number, window in enumerate(read(corpus, folder), start=1)]
    return [w for number, w in windows if number % _HELD_OUT], [w for number, w in windows if not number % _HELD_OUT]


def train(
    corpora: Sequence[str], folder: Path, *, epochs: int, report: Callable[[str], None], config: dict[str, int] | None = None, seed: int = 0
) -> Head:
    """A network trained on prepared corpora."""
    torch.manual_seed(seed)
    chance = random.Random(seed)  # noqa: S311 - a reproducible choice
    training, held_out = split(corpora, folder)
    sizes = {"hidden": 192, "blocks": 4, "kernel": 9} | (config or {})
    head = Head(Config(encoder=ENCODER, width=512, stride=STRIDE, characters=CHARACTERS, delay=0.0, **sizes), dropout=0.15)
    frames = torch.from_numpy(
        np.concatenate([encoded[::25] for encoded, _ in training[:: max(1, len(training) // 100)]]).astype(np.float32)
    )
    head.mean.copy_(frames.mean(0))
    head.deviation.copy_(frames.std(0))
    size = 4
    steps = epochs * (len(training) // size)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.15)
    began, step = time.monotonic(), 0
    for epoch in range(1, epochs + 1):
        head.train()
        chance.shuffle(training)
        losses = []
        for at in range(0, len(training) // size * size, size):
            loss = _loss(head, training[at : at + size], chance)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
        line = f"epoch {epoch}/{epochs}: loss {np.mean(losses):.3f}"
        if held_out:
            head.eval()
            with torch.inference_mode():
                line += f", held out {np.mean([_loss(head, [window], None).item() for window in held_out]):.3f}"
        report(f"{line}, {time.monotonic() - began:.0f} s")
    return head.eval()


def _loss(head: Head, windows: Sequence[Window], chance: random.Random | None) -> torch.Tensor:
    """CTC loss a character; `chance`: with masks, and the windows cut at random pauses. Without: whole windows, clean."""
    batch = torch.from_numpy(np.stack([encoded for encoded, _ in windows])).float()
    if chance:
        _mask(batch, head, chance)
    with mixed("cpu", wanted=chance is not None):
        logits = head(batch)
    log_probs = torch.log_softmax(logits.float(), -1)
    pieces, targets = [], []
    for line, (_, about) in zip(log_probs, windows, strict=True):
        for start, end, characters in _pieces(about, chance):
            pieces.append(line[start:end])
            targets.append(torch.tensor([VOCABULARY[character] for character in characters]))
    lengths = torch.tensor([len(piece) for piece in pieces])
    target_lengths = torch.tensor([len(target) for target in targets])
    padded = torch.nn.utils.rnn.pad_sequence(pieces)
    loss = functional.ctc_loss(padded, torch.cat(targets), lengths, target_lengths, reduction="sum", zero_infinity=True)
    return loss / target_lengths.sum()


def _pieces(about: dict[str, Any], chance: random.Random | None) -> Iterator[tuple[int, int, str]]:
    """First frame, frame after the last and characters of stretches of a window, which is cut at most pauses."""
    said = about["utterances"]
    first, characters = 0, ""
    for index, utterance in enumerate(said):
        characters = f"{characters} {utterance['spelled']}".strip()
        last = index == len(said) - 1
        if last or (chance and chance.random() < 0.7):
            pause = about["duration"] if last else (utterance["end"] + said[index + 1]["start"]) / 2
            end = min(1500, round(pause / STRIDE))
            yield first, end, characters
            first, characters = end, ""


def _mask(batch: torch.Tensor, head: Head, chance: random.Random) -> None:
    """SpecAugment (Park et al. 2019) on encoder outputs: stretches of time, and features, take their mean."""
    for line in batch:
        for _ in range(30):
            width, start = chance.randint(1, 10), chance.randint(0, 1490)
            line[start : start + width] = head.mean
        gone = torch.rand(line.shape[-1]) < chance.uniform(0, 0.2)
        line[:, gone] = head.mean[gone]
