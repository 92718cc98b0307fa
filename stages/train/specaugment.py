"""SpecAugment without time warping (Park et al. 2019, https://arxiv.org/abs/1904.08779): masks over time and over frequency."""

from __future__ import annotations

from typing import Any


def mask(features: Any, time_masks: int, longest: int, frequency_masks: int, widest: int) -> Any:
    """A copy of features, shape (batch, frames, channels), with some spans of up to `longest` frames and bands of up to `widest` channels
    set to the mean of the window. Random numbers are torch's own.
    """
    import torch

    batch, frames, channels = features.shape
    hidden = torch.zeros((batch, frames, channels), dtype=torch.bool, device=features.device)
    for count, most, length, axis in ((time_masks, longest, frames, 1), (frequency_masks, widest, channels, 2)):
        for _ in range(count):
            width = torch.randint(0, min(most, length) + 1, (batch, 1), device=features.device)
            first = (torch.rand((batch, 1), device=features.device) * (length - width + 1)).long()
            at = torch.arange(length, device=features.device)
            inside = (at >= first) & (at < first + width)
            hidden |= inside[:, :, None] if axis == 1 else inside[:, None, :]
    return torch.where(hidden, features.mean(dim=(1, 2), keepdim=True), features)
