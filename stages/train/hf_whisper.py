"""Student `hf-whisper`: a Whisper in transformers, trained on; written in both its own format and CTranslate2's."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.contract import SilverError
from stages import models, whisper
from stages.align.network import Network
from stages.audio import SAMPLE_RATE, Samples
from stages.train.specaugment import mask
from stages.train.student import write_record
from stages.transcribe.faster_whisper import FasterWhisper
from stages.transcribe.labeller import Labeller

PUBLISHED = "transformers"
"""Folder of the student in transformers' format, inside the student's."""
_IGNORED = -100


class HfWhisper:
    """Fine-tuning of a Whisper, all of it or its decoder alone; the packaged CTranslate2 models in float16 or float32 serve as well."""

    class Options(BaseModel):
        """Of `train.options`. There is no dropout: Whisper was trained without, and a tenth of its activations gone takes its loss from 1.2 to 11.7."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        model: models.ModelName = Field(
            "base", description="the Whisper to begin with: a name, or a folder in CTranslate2's or transformers' format"
        )
        encoder: bool = Field(True, description="train the encoder too, not the decoder alone")
        label_smoothing: float = Field(
            0.1, ge=0, lt=1, description="of the cross-entropy (Szegedy et al. 2016); labels of machines are not certain"
        )
        time_masks: int = Field(2, ge=0, description="SpecAugment: masks over time of up to a second")
        frequency_masks: int = Field(2, ge=0, description="SpecAugment: masks of up to 15 mel channels")

    window = whisper.WINDOW
    padded = True

    def __init__(self, options: Options) -> None:
        self.options = options
        self._tokenizer: Any = None
        self._extractor: Any = None

    def identity(self) -> Mapping[str, str]:
        """The weights to begin with."""
        return models.identity(self.options.model)

    def check(self, texts: Sequence[str], languages: Sequence[str | None], start: Path | None) -> None:
        """That the model has a token for each language; it writes every script."""
        del texts
        tokenizer = whisper.read_tokenizer(start / PUBLISHED if start else models.find(self.options.model))
        for code in {whisper.language_code(language) for language in languages if language}:
            if tokenizer.token_to_id("<|en|>") is not None and tokenizer.token_to_id(f"<|{code}|>") is None:
                raise SilverError(f"the model {self.options.model} does not write the language {code!r}")

    def build(self, texts: Iterable[str], start: Path | None) -> Any:
        """The Whisper, in float32."""
        del texts  # its vocabulary writes everything
        import transformers

        from stages.transcribe.convert import read_whisper

        transformers.logging.set_verbosity_error()
        folder = start / PUBLISHED if start else models.find(self.options.model)
        network = read_whisper(folder).float()
        network.config.use_cache = False
        network.model.encoder.requires_grad_(self.options.encoder)
        network.model.encoder.embed_positions.requires_grad_(False)  # sinusoids
        self._source = folder
        self._tokenizer = whisper.read_tokenizer(folder)
        self._extractor = transformers.WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
        self._limit = network.config.max_target_positions
        return network

    def batch(self, samples: Sequence[Samples], texts: Sequence[str], languages: Sequence[str | None]) -> dict[str, Any]:
        """Log-mel features, shape (batch, mels, 3000), and tokens, shape (batch, longest), -100 where there is nothing to learn.

        Raises:
            SilverError: no token for a language.
        """
        import torch

        features = self._extractor(list(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        rows = [self._tokens(text, language) for text, language in zip(texts, languages, strict=True)]
        longest = max(len(tokens) for tokens, _ in rows)
        inputs = torch.full((len(rows), longest), self._tokenizer.token_to_id("<|endoftext|>"))
        labels = torch.full((len(rows), longest), _IGNORED)
        for index, (tokens, prompt) in enumerate(rows):
            inputs[index, : len(tokens)] = torch.tensor(tokens)
            # What is given is not learned; what stands at a place predicts the next one.
            labels[index, prompt - 1 : len(tokens) - 1] = torch.tensor(tokens[prompt:])
        return {"features": features, "inputs": inputs, "labels": labels}

    def _tokens(self, text: str, language: str | None) -> tuple[list[int], int]:
        """Prompt, text and end as tokens, and how many of them are the prompt."""
        prompt = ["<|startoftranscript|>"]
        if (english := self._tokenizer.token_to_id("<|en|>")) is not None and language:
            code = whisper.language_code(language)
            if self._tokenizer.token_to_id(f"<|{code}|>") is None:
                raise SilverError(f"the model {self.options.model} does not write the language {code!r}")
            prompt += [f"<|{code}|>", "<|transcribe|>"]
        elif english is not None:
            raise SilverError("hf-whisper trains on rows of a known language: set `language` in the recipe")
        prompt.append("<|notimestamps|>")
        written = self._tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        tokens = [*map(self._tokenizer.token_to_id, prompt), *written][: self._limit - 1]
        return [*tokens, self._tokenizer.token_to_id("<|endoftext|>")], len(prompt)

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """Cross-entropy of the tokens of the text."""
        import torch

        options = self.options
        features = batch["features"]
        if network.training:
            features = mask(features.transpose(1, 2), options.time_masks, 100, options.frequency_masks, 15).transpose(1, 2)
        logits = network(input_features=features, decoder_input_ids=batch["inputs"]).logits
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=_IGNORED,
            label_smoothing=options.label_smoothing if network.training else 0.0,
        )  # fmt: skip

    def save(self, network: Any, folder: Path) -> None:
        """CTranslate2's format in the folder itself (float16), transformers' in `PUBLISHED`."""
        import torch
        import transformers
        from ctranslate2.converters import TransformersConverter

        published = folder / PUBLISHED
        logging.getLogger("transformers").setLevel(logging.ERROR)
        transformers.utils.logging.disable_progress_bar()
        network.config.use_cache = True
        state = {name: value.to(torch.float16) for name, value in network.state_dict().items()}
        network.save_pretrained(published, state_dict=state)
        network.config.use_cache = False
        shutil.copyfile(self._source / "tokenizer.json", published / "tokenizer.json")
        self._extractor.save_pretrained(published)
        TransformersConverter(str(published), copy_files=["tokenizer.json"]).convert(
            str(folder / "ct2"), quantization="float16", force=True
        )
        for path in (folder / "ct2").iterdir():
            path.replace(folder / path.name)
        (folder / "ct2").rmdir()
        write_record(folder, "hf-whisper", self.options)

    @staticmethod
    def labeller(folder: Path, batch_size: int) -> Labeller:
        """faster-whisper, beam of five."""
        from stages.transcribe import Transcribe

        return FasterWhisper(Transcribe.Params(model=str(folder), batch_size=batch_size))

    @staticmethod
    def network(folder: Path, device: str) -> Network:
        """None: a Whisper aligns by its attention."""
        del device
        raise SilverError(f"{folder} is a Whisper and no CTC network: align with backend=attention and model={folder}")
