"""A CTC model of raw audio (wav2vec 2.0 and its kin), from torchaudio or a Hugging Face folder: samples in, log-probabilities out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt

from pipeline.contract import SilverError
from stages import models
from stages.audio import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    import torch

LogProbs = npt.NDArray[np.float32]
"""Natural logarithms, shape (frames, classes)."""

STUDENT = "student.json"
"""File that a student's folder has (see `stages.train.student`)."""
_MASKS_PADDING = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
"""Hugging Face architectures that keep padding out of all layers after the first (data2vec, for one, does not)."""


@dataclass(frozen=True)
class Network:
    """A loaded model. `forward` maps (batch, samples) and lengths (batch,) to logits (batch, frames, classes)."""

    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    labels: Sequence[str]
    """What each class writes: a character, a piece of several, the space; nothing (the blank, marks)."""
    blank: int
    convolutions: Sequence[tuple[int, int]]  # kernel and stride, in order
    variance_floor: float | None  # of the normalisation of a waveform to zero mean, unit variance; None: the model takes it as it is
    batchable: bool
    """False where padding would change the result: such a model gets one segment at a time."""
    device: str
    spell: Callable[[str], Sequence[int]] | None = None
    """Classes of a text, of a model that writes pieces of words; others spell by character (see `vocabulary`)."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Classes of the characters that the model spells with; of the space, where it has a class for what is between words."""
        return {label: index for index, label in enumerate(self.labels) if len(label) == 1}

    @property
    def stride(self) -> float:
        """Seconds from one frame to the next."""
        return float(np.prod([stride for _, stride in self.convolutions])) / SAMPLE_RATE

    def frames(self, samples: int) -> int:
        """Frames that so many samples give."""
        return frames(self.convolutions, samples)

    def log_probs(self, waves: Sequence[Samples], batch_size: int) -> list[LogProbs]:
        """For each wave (16 kHz, shape (n,)), in order, its emissions; no frames where it is shorter than the model's first window.

        Waves of similar length share a batch: padding is work for nothing.
        """
        import torch

        results = [np.zeros((0, 0), np.float32) for _ in waves]
        order = sorted((i for i, wave in enumerate(waves) if self.frames(len(wave))), key=lambda i: -len(waves[i]))
        step = batch_size if self.batchable else 1
        for chosen in (order[at : at + step] for at in range(0, len(order), step)):
            lengths = [len(waves[i]) for i in chosen]
            batch = np.zeros((len(chosen), max(lengths)), np.float32)
            for line, i in zip(batch, chosen, strict=True):
                line[: len(waves[i])] = normalised(waves[i], self.variance_floor)
            with torch.inference_mode():
                logits = self.forward(torch.from_numpy(batch).to(self.device), torch.tensor(lengths, device=self.device))
                emissions = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
            for line, i, length in zip(emissions, chosen, lengths, strict=True):
                results[i] = line[: self.frames(length)]
        return results


def frames(convolutions: Sequence[tuple[int, int]], samples: int) -> int:
    """Frames that come out of layers of (kernel, stride) for so many samples.

    >>> frames([(400, 160), (3, 2), (3, 2)], 16_000)
    24
    """
    return max(0, reduce(lambda n, layer: (n - layer[0]) // layer[1] + 1, convolutions, samples))


def identity(model: str) -> Mapping[str, str]:
    """What the result depends on. Downloads a torchaudio bundle that is not on this machine.

    Raises:
        SilverError: no such model, or it cannot be downloaded.
    """
    if Path(model).is_dir():
        needed = [] if (Path(model) / STUDENT).is_file() else ["config.json", "vocab.json"]
        if missing := [name for name in needed if not (Path(model) / name).is_file()]:
            msg = f"{model} is neither a student nor a Hugging Face CTC model: {' and '.join(missing)} missing"
            raise SilverError(msg)
        return models.identity(str(Path(model).absolute()))
    return {"model": model, "checkpoint": _download(model, _bundle(model))}


def load(model: str, device: str) -> Network:
    """The model, ready to run.

    Raises:
        SilverError: no such model, it cannot be downloaded, or it is not a CTC model of raw audio.
    """
    if not Path(model).is_dir():
        return _from_bundle(model, device)
    if (Path(model) / STUDENT).is_file():
        from stages.train import student

        return student.network(Path(model), device)
    return from_hugging_face(Path(model), device)


def _bundle(name: str) -> Any:
    import torchaudio

    bundle = getattr(torchaudio.pipelines, name, None)
    if not isinstance(bundle, torchaudio.pipelines.Wav2Vec2ASRBundle):
        known = sorted(
            key for key, value in vars(torchaudio.pipelines).items() if isinstance(value, torchaudio.pipelines.Wav2Vec2ASRBundle)
        )
        msg = f"align.model={name} is neither a folder nor a CTC bundle of torchaudio: {', '.join(known)}"
        raise SilverError(msg)
    return bundle


def _download(name: str, bundle: Any) -> str:
    """Bring the checkpoint to torch's cache, once; gives its address."""
    import torch.hub

    path = bundle._path  # noqa: SLF001 - torchaudio has no public name for it
    url = path if path.startswith("https") else f"https://download.pytorch.org/torchaudio/models/{path}"
    target = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(urlparse(url).path))
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(target), progress=False)
        except OSError as error:
            msg = f"the torchaudio bundle {name} cannot be downloaded ({error}). On a machine without network, put {url} at {target}, "
            msg += "set align.model to a folder with a Hugging Face CTC model, or use align.backend=attention"
            raise SilverError(msg) from error
    return url


def _from_bundle(name: str, device: str) -> Network:
    bundle = _bundle(name)
    _download(name, bundle)
    import torchaudio

    fits_alignment = isinstance(bundle, torchaudio.pipelines.Wav2Vec2FABundle)
    model = bundle.get_model(**({"with_star": False} if fits_alignment else {})).to(device)
    # The wrapper normalises over the whole batch: it is left aside, each wave is normalised by itself. 1e-5 is its epsilon.
    core = getattr(model, "model", model)
    labels = bundle.get_labels(**({"star": None} if fits_alignment else {}))
    return _network(
        lambda batch, lengths: core(batch, lengths)[0],
        core.feature_extractor,
        _written({label: i for i, label in enumerate(labels)}, 0, len(labels)),
        0,
        1e-5 if getattr(model, "normalize_waveform", False) else None,
        True,
        device,
    )


def from_hugging_face(folder: Path, device: str) -> Network:
    """A CTC model in transformers' format.

    Raises:
        SilverError: it is not one of raw audio.
    """
    import torch
    from transformers import AutoModelForCTC

    labels, blank = vocabulary(folder)
    model = AutoModelForCTC.from_pretrained(folder, local_files_only=True).to(device).eval()

    def forward(batch: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(batch.shape[1], device=batch.device)[None] < lengths[:, None]
        logits: torch.Tensor = model(batch, attention_mask=mask.long() if len(batch) > 1 else None).logits
        return logits

    extractor = waves_in(model, folder)
    return _network(forward, extractor, labels, blank, variance_floor(folder), model.config.model_type in _MASKS_PADDING, device)


def vocabulary(folder: Path) -> tuple[list[str], int]:
    """What each class of a CTC model in transformers' format writes, and the class of the blank.

    Raises:
        SilverError: it has no vocabulary, or several.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    labels: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
    if not all(isinstance(index, int) for index in labels.values()):
        raise SilverError(f"{folder / 'vocab.json'} holds more than one vocabulary: keep that of one language")
    blank = labels.get("<blank>", config.pad_token_id)
    return _written(labels, blank, config.vocab_size), blank


def waves_in(model: Any, folder: Path) -> torch.nn.Module:
    """The convolutions of a model of transformers that take waves.

    Raises:
        SilverError: it has none.
    """
    extractor: torch.nn.Module | None = getattr(model.base_model, "feature_extractor", None)
    if extractor is None:
        raise SilverError(f"{folder} ({model.config.model_type}) is not a CTC model of raw audio, like wav2vec 2.0 or HuBERT")
    return extractor


def convolutions(extractor: torch.nn.Module) -> list[tuple[int, int]]:
    """Kernel and stride of each, in order."""
    from torch import nn

    return [(layer.kernel_size[0], layer.stride[0]) for layer in extractor.modules() if isinstance(layer, nn.Conv1d)]


def variance_floor(folder: Path) -> float | None:
    """See `Network`, of a model in transformers' format."""
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    return 1e-7 if settings.get("do_normalize", True) else None


def normalised(wave: Samples, floor: float | None) -> Samples:
    """At zero mean and unit variance; as it is without a floor."""
    if floor is None:
        return wave
    found: Samples = (wave - wave.mean()) / np.sqrt(wave.var() + floor)
    return found


def _written(labels: Mapping[str, int], blank: int, classes: int) -> list[str]:
    written = [""] * max(classes, *(index + 1 for index in labels.values()))
    for label, index in labels.items():
        if len(label) == 1 and index != blank:
            written[index] = " " if label == "|" else label
    return written


def _network(
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    extractor: torch.nn.Module,
    labels: Sequence[str],
    blank: int,
    variance_floor: float | None,
    masks_padding: bool,
    device: str,
) -> Network:
    from torch import nn

    return Network(
        forward=forward,
        labels=labels,
        blank=blank,
        convolutions=convolutions(extractor),
        variance_floor=variance_floor,
        # Group normalisation of the first layer runs over time, padding included.
        batchable=masks_padding and not any(isinstance(layer, nn.GroupNorm) for layer in extractor.modules()),
        device=device,
    )
