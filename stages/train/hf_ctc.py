"""Student `hf-ctc`: a CTC model of raw audio in transformers, trained on: wav2vec 2.0, XLS-R, MMS, HuBERT, WavLM."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages import models
from stages.align import network
from stages.align.network import Network
from stages.audio import SAMPLE_RATE, Samples
from stages.train.ctc import CtcOptions, CtcStudent
from stages.train.student import write_record
from stages.train.vocabulary import BLANK, SPACE, Vocabulary

_PROCESSOR = ("vocab.json", "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json")


class HfCtc(CtcStudent):
    """Any `AutoModelForCTC` that takes waves. It is written as a Hugging Face folder, with its processor."""

    kind = "hf-ctc"

    class Options(CtcOptions):
        """Of `train.options`."""

        model: models.ModelName = Field(description="the model to begin with: owner/repository of the hub, fetched before, or a folder")
        new_vocabulary: bool = Field(
            False,
            description="write with the characters of the labels, and learn the last layer anew; a model without a vocabulary always does",
        )
        convolutions: bool = Field(False, description="train the first convolutions too, which are usually left as they are")

    fix: ClassVar[str] = "set options.new_vocabulary, and it learns theirs"

    def identity(self) -> Mapping[str, str]:
        """The weights to begin with, and the language model."""
        return dict(models.identity(self.options.model)) | dict(self.options.decoding.identity())

    def vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        """The model's own, or that of the texts."""
        folder = models.find(self.options.model)
        return Vocabulary.of(texts, 0) if self._anew(folder) else self.known(folder)

    def known(self, start: Path) -> Vocabulary:
        """See `CtcStudent`."""
        labels, blank = network.vocabulary(start)
        return Vocabulary(tuple(labels), blank)

    def _anew(self, folder: Path) -> bool:
        return self.options.new_vocabulary or not (folder / "vocab.json").is_file()

    def make(self, classes: int, start: Path | None) -> Any:
        """The model; its last layer is new where the vocabulary is."""
        import transformers

        from stages.train.waves import Waves

        transformers.logging.set_verbosity_error()
        self._source = start or models.find(self.options.model)
        self._new = start is None and self._anew(self._source)
        changed = {"vocab_size": classes, "pad_token_id": 0, "ignore_mismatched_sizes": True} if self._new else {}
        model = transformers.AutoModelForCTC.from_pretrained(self._source, local_files_only=True, **changed)
        convolutions = network.convolutions(network.waves_in(model, self._source))
        if not self.options.convolutions:
            model.freeze_feature_encoder()
        self._floor = network.variance_floor(self._source)
        return Waves(model, convolutions)

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
            extractor = transformers.Wav2Vec2FeatureExtractor(
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
