"""Student `hf-ctc`: a CTC model in transformers, trained on: of raw audio (wav2vec 2.0, XLS-R, MMS, HuBERT, WavLM) or of features (Parakeet, wav2vec 2.0 BERT)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from pipeline.contract import SilverError
from stages import models
from stages.align import network
from stages.align.network import Network
from stages.audio import SAMPLE_RATE, Samples
from stages.train.ctc import CtcOptions, CtcStudent
from stages.train.data import Utterance
from stages.train.student import write_record
from stages.train.vocabulary import BLANK, SPACE, Vocabulary

_PROCESSOR = (
    "vocab.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "special_tokens_map.json",
)  # fmt: skip


class HfCtc(CtcStudent):
    """Any `AutoModelForCTC`. It is written as a Hugging Face folder, with its processor."""

    kind = "hf-ctc"

    class Options(CtcOptions):
        """Of `train.options`."""

        model: models.ModelName = Field(description="the model to begin with: owner/repository of the hub, fetched before, or a folder")
        new_vocabulary: bool = Field(
            False,
            description="write with the characters of the labels, and learn the last layer anew; a model without a vocabulary always does",
        )
        convolutions: bool = Field(
            False, description="train the first convolutions of a model of raw audio too, which are usually left as they are"
        )
        dropout: float | None = Field(
            None, ge=0, lt=1, description="share of activations (and layers) that are left out in training; by default as the model says"
        )
        time_masks: int = Field(
            2,
            ge=0,
            description="SpecAugment: masks over time of up to 0.4 s on features (a model with masks of its own keeps those, unless both are 0)",
        )
        frequency_masks: int = Field(2, ge=0, description="SpecAugment: masks of up to a quarter of the channels, likewise")

    fix: ClassVar[str] = "set options.new_vocabulary, and it learns theirs"

    def identity(self) -> Mapping[str, str]:
        """The weights to begin with, and the language model."""
        return dict(models.identity(self.options.model)) | dict(self.options.decoding.identity())

    def vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        """The model's own, or that of the texts."""
        return self.given() or Vocabulary.of(texts, 0)

    def given(self) -> Vocabulary | None:
        """That of the model, unless the labels' own is wanted."""
        folder = models.find(self.options.model)
        return None if self._anew(folder) else self.known(folder)

    def check(self, texts: Sequence[str], languages: Sequence[str | None], start: Path | None) -> None:
        """As `CtcStudent`; and that the model is one of CTC."""
        from transformers import MODEL_FOR_CTC_MAPPING, AutoConfig

        folder = models.find(self.options.model)
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise SilverError(f"{folder} is no model of transformers ({str(error).splitlines()[0]})") from error
        if type(config) not in MODEL_FOR_CTC_MAPPING:
            raise SilverError(
                f"{folder} is a {config.model_type}, and hf-ctc trains models of CTC: wav2vec 2.0, HuBERT, WavLM, Parakeet (ctc)"
            )
        super().check(texts, languages, start)

    def known(self, start: Path) -> Vocabulary:
        """See `CtcStudent`."""
        labels, blank, pieces = network.vocabulary(start)
        return Vocabulary(tuple(labels), blank, pieces)

    def _anew(self, folder: Path) -> bool:
        return self.options.new_vocabulary or not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json"))

    def make(self, classes: int, start: Path | None) -> Any:
        """The model; its last layer is new where the vocabulary is."""
        import transformers

        from stages.train.waves import Features, Waves

        transformers.logging.set_verbosity_error()
        self._source = start or models.find(self.options.model)
        self._new = start is None and self._anew(self._source)
        config = transformers.AutoConfig.from_pretrained(self._source, local_files_only=True)
        self._quieten(config)
        if self._new:
            config.vocab_size, config.pad_token_id = classes, 0
        model = transformers.AutoModelForCTC.from_pretrained(
            self._source, config=config, local_files_only=True, ignore_mismatched_sizes=self._new
        )
        if (waves := network.waves_in(model)) is None:
            self._extractor, self._floor = network.feature_extractor(self._source), None
            return Features(model, network.steps(model, self._extractor), self.options.time_masks, self.options.frequency_masks)
        self._extractor, self._floor = None, network.variance_floor(self._source)
        if not self.options.convolutions:
            model.freeze_feature_encoder()
        return Waves(model, network.convolutions(waves))

    def _quieten(self, config: Any) -> None:
        """Set what the options say of dropout and masks in a configuration, and in that of the encoder inside it."""
        if not (self.options.time_masks or self.options.frequency_masks) and hasattr(config, "apply_spec_augment"):
            config.apply_spec_augment = False
        if self.options.dropout is None:
            return
        for own in (config, getattr(config, "encoder_config", None)):
            for name in vars(own) if own else ():
                if "dropout" in name or name == "layerdrop":
                    setattr(own, name, self.options.dropout)

    def batch(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """As `CtcStudent`; of a model of features these in place of the waves, and which of them are no padding in place of the lengths."""
        import torch

        if self._extractor is None:
            return super().batch(utterances)
        samples = [utterance.samples for utterance in utterances]
        heard, inside = network.features(self._extractor, samples)
        frames = [network.frames(self._convolutions, len(wave)) for wave in samples]
        return {"waves": heard, "lengths": inside, "frames": torch.tensor(frames)} | self._targets(utterances)

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """As `CtcStudent`. Masks of transformers' own are drawn by NumPy: they too are those of the batch, wherever a run before was killed."""
        import torch

        np.random.seed(int(torch.randint(1 << 31, ())))  # noqa: NPY002 - what transformers draws from
        return super().loss(network, batch)

    def heard(self, wave: Samples) -> Samples:
        """At zero mean and unit variance, if the model was trained so."""
        return network.normalised(wave, self._floor)

    def save(self, network: Any, folder: Path) -> None:
        """See the class."""
        import transformers

        folder.mkdir(parents=True, exist_ok=True)
        network.model.save_pretrained(folder)
        if self._new:
            self._vocabulary.save(folder)
            tokenizer = transformers.Wav2Vec2CTCTokenizer(
                str(folder / "vocab.json"), pad_token=BLANK, word_delimiter_token=SPACE, unk_token=BLANK
            )
            extractor = self._extractor or transformers.Wav2Vec2FeatureExtractor(
                sampling_rate=SAMPLE_RATE, do_normalize=self._floor is not None, return_attention_mask=True
            )
            transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
            self._vocabulary.save(folder)  # as it is: the tokenizer adds marks of its own
        else:
            for name in _PROCESSOR:
                if (self._source / name).is_file():
                    shutil.copyfile(self._source / name, folder / name)
        write_record(folder, self.kind, self.options)

    @classmethod
    def network(cls, folder: Path, device: str) -> Network:
        """See `Student`."""
        return network.from_hugging_face(folder, device)
