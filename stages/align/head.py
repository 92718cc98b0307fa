"""A small CTC network on top of Whisper's frozen encoder: encoder output of a window in, log-probabilities of romanised characters out.

Whisper's encoder has heard the whole window already, so the network on top looks only a fraction of a second around each frame:
a few residual blocks of depthwise and pointwise convolutions (ConvNeXt, Liu et al. 2022, over time).
Made by `python -m workflows.head`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.contract import SilverError
from stages.align.network import LogProbs
from stages.whisper import Encoded

SHIPPED = Path(__file__).parent / "assets" / "romanised-ctc"
"""The network that comes with Silver: `config.json`, `head.safetensors`, and `README.md` that says what it was trained on."""


@dataclass(frozen=True)
class Config:
    """What `config.json` says."""

    encoder: str  # the Whisper whose encoder's output the network takes
    width: int  # of that output
    stride: float  # seconds from one frame to the next
    characters: str  # class 0 is the blank, class i the i-th of these; the space stands between words
    hidden: int
    blocks: int
    kernel: int  # frames, odd
    delay: float  # seconds by which its characters start late (their ends do not): measured in training, on synthetic speech


class Block(nn.Module):
    """(batch, frames, hidden) to the same: a look at the frames near each, and a small network on what was seen."""

    def __init__(self, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.norm = nn.LayerNorm(hidden)
        self.pointwise = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden, hidden))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """See the class."""
        near = self.depthwise(frames.transpose(1, 2)).transpose(1, 2)
        out: torch.Tensor = frames + self.pointwise(self.norm(near))
        return out


class Head(nn.Module):
    """(batch, 1500, width) to logits (batch, 1500, classes)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, config: Config, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        # A few of Whisper's features are many times larger than the rest: each is brought to zero mean and unit variance by itself.
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("deviation", torch.ones(config.width))
        self.enter = nn.Sequential(nn.Linear(config.width, config.hidden), nn.Dropout(dropout))
        self.blocks = nn.Sequential(*(Block(config.hidden, config.kernel, dropout) for _ in range(config.blocks)))
        self.leave = nn.Sequential(nn.LayerNorm(config.hidden), nn.Linear(config.hidden, 1 + len(config.characters)))

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits: torch.Tensor = self.leave(self.blocks(self.enter((encoded - self.mean) / self.deviation)))
        return logits

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Class of each character."""
        return {character: i for i, character in enumerate(self.config.characters, start=1)}

    @property
    def blank(self) -> int:
        """Class of no character."""
        return 0

    @property
    def stride(self) -> float:
        """Seconds from one frame to the next."""
        return self.config.stride

    def log_probs(self, outputs: Sequence[Encoded], batch_size: int) -> list[LogProbs]:
        """For each window (shape (1500, width)), in order, its emissions, shape (1500, classes)."""
        found: list[LogProbs] = []
        with torch.inference_mode():
            for at in range(0, len(outputs), batch_size):
                batch = torch.from_numpy(np.stack(outputs[at : at + batch_size])).to(self.mean.device).float()
                found += list(torch.log_softmax(self(batch), dim=-1).cpu().numpy())
        return found


def load(folder: Path, device: str = "cpu") -> Head:
    """The network in a folder, ready to run.

    Raises:
        SilverError: it is not all there.
    """
    from safetensors.torch import load_file

    head = Head(read_config(folder))
    try:
        head.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "head.safetensors").items()})
    except RuntimeError as error:
        msg = f"{folder / 'head.safetensors'} is not the network that {folder / 'config.json'} describes: {error}"
        raise SilverError(msg) from error
    return head.to(device).eval()


def save(head: Head, folder: Path) -> None:
    """Write `config.json` and the weights, in half precision."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(head.config), indent=2) + "\n")
    save_file({name: tensor.half().contiguous() for name, tensor in head.state_dict().items()}, folder / "head.safetensors")
    (folder / "head.safetensors").chmod(0o644)


def read_config(folder: Path) -> Config:
    """What the network in a folder is like.

    Raises:
        SilverError: a file is missing.
    """
    for name in ("config.json", "head.safetensors"):
        if not (folder / name).is_file():
            msg = f"{folder / name} is missing: install Silver again, or make the network with python -m workflows.head"
            raise SilverError(msg)
    return Config(**json.loads((folder / "config.json").read_text()))


def digest(folder: Path) -> str:
    """sha256 over the configuration and the weights."""
    read_config(folder)
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("config.json", "head.safetensors"))).hexdigest()
