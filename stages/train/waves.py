"""A CTC model of transformers as the students' networks are: waves and their lengths in, or features and where they are padded; logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stages.train.specaugment import mask


class Waves(nn.Module):
    """`model` on waves, shape (batch, samples), that are padded behind their lengths."""

    def __init__(self, model: Any, convolutions: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.model, self.convolutions = model, convolutions

    def forward(self, waves: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, frames, classes)."""
        inside = torch.arange(waves.shape[1], device=waves.device)[None] < lengths[:, None]
        logits: torch.Tensor = self.model(waves, attention_mask=inside.long()).logits
        return logits


class Features(nn.Module):
    """`model` on features, shape (batch, frames, channels). Where it has no masks of its own (SpecAugment), some are laid over them while it trains."""

    def __init__(self, model: Any, convolutions: Sequence[tuple[int, int]], time_masks: int, frequency_masks: int) -> None:
        super().__init__()
        self.model, self.convolutions = model, convolutions
        self._masks = (0, 0) if hasattr(model.config, "apply_spec_augment") else (time_masks, frequency_masks)

    def forward(self, features: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, frames, classes); `inside`, shape (batch, frames): which of the features are no padding."""
        if self.training and any(self._masks):
            times, frequencies = self._masks
            features = mask(features, times, 40, frequencies, features.shape[2] // 4)
        logits: torch.Tensor = self.model(input_features=features, attention_mask=inside).logits
        return logits
