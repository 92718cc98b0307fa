"""A CTC model from torchaudio or a Hugging Face folder, of raw audio (wav2vec 2.0 and its kin) or of features (Parakeet, wav2vec 2.0 BERT): samples in,
log-probabilities out.
"""

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
_MASKS_PADDING = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "parakeet_ctc", "wav2vec2-bert")
"""Hugging Face architectures that keep padding out of all layers after the first (data2vec, for one, does not)."""
SHORTEST = 3200
"""Samples that a model is given at least: no network makes a frame of much less, and features of less are no numbers."""
_PIECE_SPACE = "▁"
"""In a piece of SentencePiece: a word begins."""


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
        folder = Path(model)
        writes = "tokenizer.json" if (folder / "tokenizer.json").is_file() else "vocab.json"
        needed = [] if (folder / STUDENT).is_file() else ["config.json", writes]
        if missing := [name for name in needed if not (folder / name).is_file()]:
            msg = f"{model} is neither a student nor a Hugging Face CTC model: {' and '.join(missing)} missing"
            raise SilverError(msg)
        return models.identity(str(Path(model).absolute()))
    return {"model": model, "checkpoint": _download(model, _bundle(model))}


def load(model: str, device: str) -> Network:
    """The model, ready to run.

    Raises:
        SilverError: no such model, it cannot be downloaded, or it is not a CTC model.
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
        SilverError: it is neither one of raw audio nor one of features that transformers can make.
    """
    import torch
    from transformers import AutoModelForCTC

    labels, blank, pieces = vocabulary(folder)
    model = AutoModelForCTC.from_pretrained(folder, local_files_only=True).to(device).eval()
    masks_padding = model.config.model_type in _MASKS_PADDING
    spell = (lambda text: spelled(pieces, labels, text)) if pieces else None
    if (waves := waves_in(model)) is None:
        extractor = feature_extractor(folder)

        def hear(batch: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            own = [wave[:length] for wave, length in zip(batch.cpu().numpy(), lengths.tolist(), strict=True)]
            heard, inside = features(extractor, own)
            logits: torch.Tensor = model(input_features=heard.to(device), attention_mask=inside.to(device)).logits
            return logits

        return Network(hear, labels, blank, steps(model, extractor), None, masks_padding, device, spell)

    def forward(batch: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(batch.shape[1], device=batch.device)[None] < lengths[:, None]
        logits: torch.Tensor = model(batch, attention_mask=mask.long() if len(batch) > 1 else None).logits
        return logits

    return _network(forward, waves, labels, blank, variance_floor(folder), masks_padding, device, spell)


def vocabulary(folder: Path) -> tuple[list[str], int, Any]:
    """What each class of a CTC model in transformers' format writes, the class of the blank, and the `tokenizers.Tokenizer` of one that writes pieces of
    words (else None).

    Raises:
        SilverError: it has no vocabulary, or several.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if not (folder / "vocab.json").is_file():
        import tokenizers

        pieces = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        marks = {index for index, token in pieces.get_added_tokens_decoder().items() if token.special}
        names = ["" if index in marks else pieces.id_to_token(index) or "" for index in range(config.vocab_size)]
        names[config.pad_token_id] = ""
        return [name.replace(_PIECE_SPACE, " ") for name in names], config.pad_token_id, pieces
    labels: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
    if not all(isinstance(index, int) for index in labels.values()):
        raise SilverError(f"{folder / 'vocab.json'} holds more than one vocabulary: keep that of one language")
    blank = labels.get("<blank>", config.pad_token_id)
    return _written(labels, blank, config.vocab_size), blank, None


def spelled(pieces: Any, labels: Sequence[str], text: str) -> list[int]:
    """Classes of a text in pieces; what cannot be written is left out."""
    return [index for index in pieces.encode(text, add_special_tokens=False).ids if index < len(labels) and labels[index]]


def waves_in(model: Any) -> torch.nn.Module | None:
    """The convolutions of a model of transformers that takes waves; None of one that takes features."""
    found: torch.nn.Module | None = getattr(model.base_model, "feature_extractor", None)
    return found


def feature_extractor(folder: Path) -> Any:
    """What makes features of waves for a model of transformers.

    Raises:
        SilverError: the folder does not say.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SilverError(
            f"{folder} takes neither raw audio nor says which features: preprocessor_config.json is missing ({str(error).splitlines()[0]})"
        ) from error


def features(extractor: Any, waves: Sequence[Samples]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of 16 kHz waves, shape (batch, frames, channels), and which of the frames are no padding, shape (batch, frames)."""
    filled = [np.pad(wave, (0, max(0, SHORTEST - len(wave)))) for wave in waves]
    found = extractor(filled, sampling_rate=SAMPLE_RATE, padding=True, return_attention_mask=True, return_tensors="pt")
    return found["input_features"], found["attention_mask"]


def steps(model: Any, extractor: Any) -> list[tuple[int, int]]:
    """How many samples a model of features needs for a frame, and for one more: all of its layers as one (kernel, stride). Found out by trying, for
    each extractor has a way of its own.

    Raises:
        SilverError: the model does not say how many frames it makes of some features.
    """
    count = getattr(model, "_get_subsampling_output_length", None) or getattr(model, "_get_feat_extract_output_lengths", None)
    if count is None:
        raise SilverError(f"a {model.config.model_type} does not say how many frames it makes of its features, and cannot be used")

    def made(samples: int) -> int:
        _, inside = features(extractor, [np.zeros(samples, np.float32)])
        return int(count(inside.sum(1).long())[0])

    def least(wanted: int, low: int) -> int:
        """Samples that give so many frames, above `low`."""
        high = low + SAMPLE_RATE
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if made(middle) >= wanted else (middle, high)
        return high

    known = made(SAMPLE_RATE)
    first = least(known + 1, SAMPLE_RATE)
    stride = least(known + 2, first) - first
    return [(first - known * stride, stride)]


def convolutions(extractor: torch.nn.Module) -> list[tuple[int, int]]:
    """Kernel and stride of each, in order."""
    from torch import nn

    return [(layer.kernel_size[0], layer.stride[0]) for layer in extractor.modules() if isinstance(layer, nn.Conv1d)]


def variance_floor(folder: Path) -> float | None:
    """See `Network`, of a model in transformers' format."""
    settings: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text("utf-8"))
            settings |= found.get("feature_extractor", found)
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
    spell: Callable[[str], Sequence[int]] | None = None,
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
        spell=spell,
    )
