"""Student `encoder-ctc`: the encoder of a Whisper, frozen or trained too, with a small CTC network on top. It begins with what Whisper hears, and writes
without its slow decoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages import models
from stages.audio import Samples
from stages.train.ctc import CtcOptions, CtcStudent, load_weights
from stages.train.data import Utterance
from stages.train.precision import mixed
from stages.train.vocabulary import Vocabulary


class EncoderCtc(CtcStudent):
    """Audio is not padded to 30 s, as Whisper's own is: what is short costs little."""

    kind = "encoder-ctc"
    batchable = True

    class Options(CtcOptions):
        """Of `train.options`. With a frozen encoder a learning rate of about 1e-3, else 5e-5."""

        pieces: int = Field(0, ge=0, description="pieces of words (BPE) that it writes with; 0: characters, with which it also aligns")
        model: models.ModelName = Field(
            "base", description="the Whisper whose encoder it is: a name, or a folder in CTranslate2's or transformers' format"
        )
        layers: int | None = Field(
            None,
            ge=1,
            description="first layers of the encoder that are kept: a smaller student, whose encoder must be trained too; all by default",
        )
        encoder: bool = Field(False, description="train the encoder too")
        keep: bool = Field(
            False,
            description="keep what the frozen encoder heard for the epochs that follow (of Whisper base 50 kB a second of audio, in the folder for temporary files): "
            "for training without noise, since with it nothing is heard twice",
        )
        width: int = Field(256, ge=8, description="channels of the network on top")
        blocks: int = Field(4, ge=1, description="of the network on top")
        kernel: int = Field(15, ge=3, description="frames that a block sees; odd")
        dropout: float = Field(0.1, ge=0, lt=1, description="share of activations of the network on top that are left out in training")
        time_masks: int = Field(2, ge=0, description="SpecAugment on what the encoder heard: masks over time of up to 0.4 s")
        channel_masks: int = Field(2, ge=0, description="SpecAugment: masks of up to 64 channels")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._network: Any = None
        self._kept = tempfile.TemporaryDirectory(prefix="silver-heard-") if options.keep and not options.encoder else None

    def identity(self) -> Mapping[str, str]:
        """The Whisper's weights, and the language model."""
        return dict(models.identity(self.options.model)) | dict(self.options.decoding.identity())

    def vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        """That of the texts."""
        return Vocabulary.of(texts, self.options.pieces)

    def make(self, classes: int, start: Path | None) -> Any:
        """See `stages.train.encoder`."""
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        from stages.train.encoder import Encoder
        from stages.transcribe.convert import read_whisper

        if start:
            encoder = WhisperEncoder(WhisperConfig.from_pretrained(start, local_files_only=True))
        else:
            encoder = read_whisper(models.find(self.options.model)).model.encoder.float()
        self._network = Encoder(encoder, self.options, classes)
        return load_weights(self._network, start) if start else self._network

    def save(self, network: Any, folder: Path) -> None:
        """As `CtcStudent`; with the shape of the encoder, so that the student needs no Whisper any more."""
        folder.mkdir(parents=True, exist_ok=True)
        network.encoder.config.save_pretrained(folder)
        super().save(network, folder)

    def batch(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """As `CtcStudent`; of a frozen encoder `heard`, shape (batch, frames, channels), in place of the waves."""
        import torch

        if self.options.encoder:
            return super().batch(utterances)
        heard = [self._heard(utterance.samples) for utterance in utterances]
        frames = [len(own) for own in heard]
        joined = torch.zeros((len(heard), max(frames), heard[0].shape[1]))
        for line, own in zip(joined, heard, strict=True):
            line[: len(own)] = torch.from_numpy(own)
        return {"heard": joined, "frames": torch.tensor(frames)} | self._targets(utterances)

    def _heard(self, wave: Samples) -> Any:
        """What the frozen encoder makes of a wave, shape (frames, channels)."""
        import torch

        path = Path(self._kept.name, blake2b(wave.tobytes(), digest_size=16).hexdigest() + ".npy") if self._kept else None
        if path and path.is_file():
            return np.load(path).astype(np.float32)
        device = next(self._network.parameters()).device
        with torch.no_grad(), mixed(device.type):
            found, _ = self._network.hear(torch.from_numpy(wave)[None].to(device), torch.tensor([len(wave)], device=device))
        heard = found[0].float().cpu().numpy()
        if path:
            np.save(path, heard.astype(np.float16))
        return heard

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """The CTC loss."""
        if self.options.encoder:
            return super().loss(network, batch)
        return self._loss(network(batch["heard"], batch["frames"], heard=True), batch)
