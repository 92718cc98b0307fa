"""The network of `encoder-ctc`: Whisper's encoder on waves of any length up to its window, and blocks of convolutions over what it heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import WhisperFeatureExtractor

from stages.align.head import Block
from stages.train.specaugment import mask

if TYPE_CHECKING:
    from stages.train.encoder_ctc import EncoderCtc

FFT, HOP = 400, 160
"""Samples, as Whisper's."""


class Encoder(nn.Module):
    """Waves, shape (batch, samples), and lengths to logits, shape (batch, frames, classes), a frame each 20 ms."""

    convolutions: Sequence[tuple[int, int]] = ((2 * HOP, 2 * HOP),)
    filters: torch.Tensor

    def __init__(self, encoder: Any, options: EncoderCtc.Options, classes: int) -> None:
        super().__init__()
        self.options = options
        encoder.layers = encoder.layers[: options.layers]
        encoder.config.encoder_layers = len(encoder.layers)
        self.encoder = encoder.requires_grad_(options.encoder)
        self.encoder.embed_positions.requires_grad_(False)  # sinusoids
        filters = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins).mel_filters
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)  # (frequencies, mels)
        self.enter = nn.Sequential(nn.LayerNorm(encoder.config.d_model), nn.Linear(encoder.config.d_model, options.width))
        self.blocks = nn.ModuleList(Block(options.width, options.kernel, options.dropout) for _ in range(options.blocks))
        self.leave = nn.Sequential(nn.LayerNorm(options.width), nn.Linear(options.width, classes))

    def forward(self, waves: torch.Tensor, lengths: torch.Tensor, heard: bool = False) -> torch.Tensor:
        """Logits; with `heard`, of what `hear` gave and its frames."""
        found, frames = (waves, lengths) if heard else self.hear(waves, lengths)
        inside = _inside(frames, found.shape[1])
        if self.training:
            found = mask(found, self.options.time_masks, 20, self.options.channel_masks, 64)
        found = self.enter(found)
        for block in self.blocks:
            found = block(found * inside)
        logits: torch.Tensor = self.leave(found)
        return logits

    def hear(self, waves: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder hears, shape (batch, frames, channels), and how many frames each has. What lies behind the length of a wave changes nothing."""
        encoder = self.encoder
        frames = torch.clamp(lengths // (2 * HOP), min=1, max=encoder.config.max_source_positions)
        longest = int(frames.max())
        with torch.autocast(waves.device.type, enabled=False):
            features = self._features(waves.float(), 2 * frames)
        near = nn.functional.gelu(encoder.conv1(features)) * _inside(2 * frames, features.shape[2]).transpose(1, 2)
        found = nn.functional.gelu(encoder.conv2(near)).transpose(1, 2) + encoder.embed_positions.weight[:longest]
        outside = (_inside(frames, longest) == 0).transpose(1, 2)[:, None]  # (batch, 1, 1, frames)
        blocked = torch.zeros(outside.shape, dtype=found.dtype, device=found.device).masked_fill(outside, torch.finfo(found.dtype).min)
        for layer in encoder.layers:
            found = layer(found, blocked)
        return encoder.layer_norm(found), frames

    def _features(self, waves: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Whisper's log-mel features, shape (batch, mels, most frames), zero behind the `count` of each wave."""
        longest = int(count.max())
        waves = nn.functional.pad(waves, (0, max(0, longest * HOP + FFT - waves.shape[1])))
        spectrum = torch.stft(waves, FFT, HOP, window=torch.hann_window(FFT, device=waves.device), return_complex=True).abs() ** 2
        features = (spectrum[:, :, :longest].transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()
        inside = _inside(count, longest)
        highest = torch.where(inside > 0, features, -torch.inf).amax(dim=(1, 2), keepdim=True)
        return ((torch.maximum(features, highest - 8.0) + 4.0) / 4.0 * inside).transpose(1, 2)


def _inside(count: torch.Tensor, longest: int) -> torch.Tensor:
    """1 for the first `count` places and 0 behind them, shape (batch, longest, 1)."""
    return (torch.arange(longest, device=count.device)[None] < count[:, None])[:, :, None].float()
