"""The network of `conformer-ctc`: waves to log-mel features, to frames of 40 ms, through torchaudio's Conformer, to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torchaudio
from torch import nn

from stages.audio import SAMPLE_RATE
from stages.train.specaugment import mask

if TYPE_CHECKING:
    from stages.train.conformer_ctc import ConformerCtc

MELS = 80
FFT, HOP = 512, 160
"""Samples: of a Fourier transform, with a window of 25 ms in its middle, and from one to the next."""


class Conformer(nn.Module):
    """Waves, shape (batch, samples), and lengths to logits, shape (batch, frames, classes)."""

    convolutions: Sequence[tuple[int, int]] = ((FFT, HOP), (3, 2), (3, 2))

    def __init__(self, options: ConformerCtc.Options, classes: int) -> None:
        super().__init__()
        self.options = options
        self.mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, FFT, 400, HOP, n_mels=MELS, center=False)
        width = options.width
        self.halve = nn.Sequential(nn.Conv2d(1, width // 2, 3, 2), nn.SiLU(), nn.Conv2d(width // 2, width // 2, 3, 2), nn.SiLU())
        self.enter = nn.Sequential(nn.Linear(width // 2 * ((MELS - 1) // 2 - 1) // 2, width), nn.Dropout(options.dropout))
        self.layers = torchaudio.models.Conformer(width, options.heads, 4 * width, options.layers, options.kernel, options.dropout)
        self.leave = nn.Linear(width, classes)

    def forward(self, waves: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See the class."""
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            features, count = self._features(waves, lengths)
        found = self.halve(features[:, None])  # (batch, channels, frames, frequencies)
        frames = torch.clamp(((count - 1) // 2 - 1) // 2, min=1, max=found.shape[2])
        found, _ = self.layers(self.enter(found.transpose(1, 2).flatten(2))[:, : int(frames.max())], frames)
        logits: torch.Tensor = self.leave(found)
        return logits

    def _features(self, waves: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features, shape (batch, frames, MELS), each channel brought to zero mean within its wave; and how many frames each has."""
        features = self.mel(waves.float()).clamp(min=1e-6).log().transpose(1, 2)
        count = torch.clamp((lengths - FFT) // HOP + 1, min=1, max=features.shape[1])
        inside = (torch.arange(features.shape[1], device=waves.device)[None] < count[:, None])[:, :, None]
        mean = (features * inside).sum(1, keepdim=True) / count[:, None, None]
        features = (features - mean) * inside
        if self.training:
            features = mask(features, self.options.time_masks, 40, self.options.frequency_masks, 20)
        return features / 4.0, count  # about unit variance
