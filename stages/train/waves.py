"""A CTC model of transformers as the students' networks are: waves and their lengths in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


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
