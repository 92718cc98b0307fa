"""A real CTC model, small enough to train in seconds: wav2vec 2.0 on a language whose letters are tones.

Nothing pretrained can be had offline. A letter of this language is 120 ms of one pitch, words are separated by silence, so the
true boundaries are known to the sample.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

RATE = 16_000
LETTER_SECONDS = 0.12
PITCHES = {letter: 300 * 1.28**i for i, letter in enumerate("abcdefghij")}  # hertz
VOCABULARY = {"<pad>": 0} | {letter: i for i, letter in enumerate(PITCHES, start=1)}
_FRAME = 320  # samples from one frame to the next: 20 ms


def speak(words: list[str], pauses: list[float], seed: int = 0) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Samples in -1..1, and (start, end) in seconds of each word; `pauses` are seconds before each word and after the last."""
    rng = np.random.default_rng(seed)
    pieces, times, at = [], [], 0.0
    for word, pause in zip([*words, ""], pauses, strict=True):
        pieces.append(np.zeros(round(pause * RATE)))
        at += pause
        for letter in word:
            t = np.arange(round(LETTER_SECONDS * RATE)) / RATE
            pieces.append(
                0.3 * np.sin(2 * np.pi * (PITCHES[letter] * t + rng.random())) * np.minimum(1, 10 * np.sin(np.pi * t / LETTER_SECONDS))
            )
        times.append((at, at + LETTER_SECONDS * len(word)))
        at = times[-1][1]
    samples = np.concatenate(pieces)
    return (samples + 0.003 * rng.standard_normal(len(samples))).astype(np.float32), times[:-1]


def random_words(rng: np.random.Generator, count: int) -> tuple[list[str], list[float]]:
    """Words of one to four letters, none twice in a row, and pauses to speak them with."""
    letters = list(PITCHES)
    words = ["".join(rng.choice(letters, size=rng.integers(1, 5), replace=False)) for _ in range(count)]
    return words, [float(pause) for pause in rng.uniform(0.06, 0.4, size=count + 1)]


def train(folder: Path, peaky: bool = False) -> Path:
    """Train the model on random sentences and save it as a Hugging Face folder.

    Frames are labelled with what sounds in them; `peaky`: then it goes on with only the first two frames of each letter labelled
    and the others blank, which is where training with the CTC loss ends up.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY), pad_token_id=0, hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96,
        conv_dim=(48, 48), conv_kernel=(160, 12), conv_stride=(32, 10), num_feat_extract_layers=2, feat_extract_norm="layer",
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True, layerdrop=0.0, hidden_dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0, mask_time_prob=0.0,
    )  # fmt: skip
    model = Wav2Vec2ForCTC(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 200 if peaky else 80
    for step in range(steps):
        waves, labels = [], []
        for _ in range(2):
            words, pauses = random_words(rng, 5)
            samples, times = speak(words, pauses, seed=int(rng.integers(1 << 30)))
            samples = np.pad(samples, (0, 5 * RATE))[: 3 * RATE]
            label = np.zeros(5 * RATE // _FRAME, np.int64)
            for word, (start, _end) in zip(words, times, strict=True):
                for i, letter in enumerate(word):
                    first = start + i * LETTER_SECONDS
                    frame = round(first * RATE / _FRAME)
                    until = frame + 2 if step >= 80 else round((first + LETTER_SECONDS) * RATE / _FRAME)
                    label[frame:until] = VOCABULARY[letter]
            waves.append((samples - samples.mean()) / samples.std())
            labels.append(label[: 3 * RATE // _FRAME])
        logits = model(torch.from_numpy(np.stack(waves))).logits
        target = torch.from_numpy(np.stack(labels))[:, : logits.shape[1]]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    return folder
