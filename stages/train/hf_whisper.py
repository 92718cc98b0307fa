"""Student `hf-whisper`: a Whisper in transformers, trained on; written in both its own format and CTranslate2's."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.contract import SilverError
from stages import models, whisper
from stages.align.network import Network
from stages.audio import SAMPLE_RATE
from stages.train.data import Utterance
from stages.train.specaugment import mask
from stages.train.student import write_record
from stages.transcribe.faster_whisper import FasterWhisper
from stages.transcribe.labeller import Labeller
from stages.words import word_spans

PUBLISHED = "transformers"
"""Folder of the student in transformers' format, inside the student's."""


class HfWhisper:
    """Fine-tuning of a Whisper, its encoder, its decoder or both; the packaged CTranslate2 models in float16 or float32 serve as well."""

    class Options(BaseModel):
        """Of `train.options`. There is no dropout: Whisper was trained without, and a tenth of its activations gone takes its loss from 1.2 to 11.7."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        model: models.ModelName = Field(
            "base", description="the Whisper to begin with: a name, or a folder in CTranslate2's or transformers' format"
        )
        part: Literal["all", "encoder", "decoder"] = Field(
            "encoder", description="what is trained; a decoder that stays cannot learn the mistakes that labels have in common"
        )
        label_smoothing: float = Field(
            0.1, ge=0, lt=1, description="of the cross-entropy (Szegedy et al. 2016); labels of machines are not certain"
        )
        doubt: float = Field(
            2.0,
            ge=0,
            description="a word weighs as much in the loss as it was probable to the one that wrote it, to this power (after STAR, Hu et al. 2024, "
            "arXiv 2405.14161, which weighs tokens); 0: all weigh the same",
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
        network.model.encoder.requires_grad_(self.options.part != "decoder")
        network.model.decoder.requires_grad_(self.options.part != "encoder")
        network.model.encoder.embed_positions.requires_grad_(False)  # sinusoids
        self._source = folder
        self._tokenizer = whisper.read_tokenizer(folder)
        self._end = self._tokenizer.token_to_id("<|endoftext|>")
        self._extractor = transformers.WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
        self._limit = network.config.max_target_positions
        return network

    def batch(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """Log-mel features, shape (batch, mels, 3000), and tokens, shape (batch, longest): those that are given, those to learn, and how much each weighs.

        Raises:
            SilverError: no token for a language.
        """
        import torch

        samples = [utterance.samples for utterance in utterances]
        features = self._extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        rows = [(self._prompt(utterance.language), *self._lesson(utterance)) for utterance in utterances]
        rows = [(prompt, tokens[: self._limit - len(prompt)], weights[: self._limit - len(prompt)]) for prompt, tokens, weights in rows]
        longest = max(len(prompt) + len(tokens) - 1 for prompt, tokens, _ in rows)
        inputs = torch.full((len(rows), longest), self._end)
        labels = torch.full((len(rows), longest), self._end)
        weights = torch.zeros((len(rows), longest))
        for index, (prompt, tokens, own) in enumerate(rows):
            # What is given is not learned; what stands at a place predicts the next one.
            learned = slice(len(prompt) - 1, len(prompt) + len(tokens) - 1)
            inputs[index, : learned.stop] = torch.tensor([*prompt, *tokens[:-1]])
            labels[index, learned] = torch.tensor(tokens)
            weights[index, learned] = torch.tensor(own)
        return {"features": features, "inputs": inputs, "labels": labels, "weights": weights}

    def _prompt(self, language: str | None) -> list[int]:
        """The tokens that are given: language, task, no times."""
        prompt = ["<|startoftranscript|>"]
        if (english := self._tokenizer.token_to_id("<|en|>")) is not None and language:
            code = whisper.language_code(language)
            if self._tokenizer.token_to_id(f"<|{code}|>") is None:
                raise SilverError(f"the model {self.options.model} does not write the language {code!r}")
            prompt += [f"<|{code}|>", "<|transcribe|>"]
        elif english is not None:
            raise SilverError("hf-whisper trains on rows of a known language: set `language` in the recipe")
        prompt.append("<|notimestamps|>")
        return list(map(self._tokenizer.token_to_id, prompt))

    def _lesson(self, utterance: Utterance) -> tuple[list[int], list[float]]:
        """The tokens of a text and of its end, and how much each weighs in the loss: as much as its word (the end: as the mean of them)."""
        text = " " + utterance.text.strip()
        written = self._tokenizer.encode(text, add_special_tokens=False)
        if not utterance.scores or not self.options.doubt:
            return [*written.ids, self._end], [1.0] * (len(written.ids) + 1)
        words = np.array([score**self.options.doubt for score in utterance.scores])
        ends = np.array([end for _, end in word_spans(text)])
        weights = words[np.minimum(np.searchsorted(ends, [end for _, end in written.offsets]), len(words) - 1)]
        return [*written.ids, self._end], [*weights.tolist(), float(weights.mean())]

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """Cross-entropy of the tokens of the text, the mean of them by their weights."""
        import torch

        options = self.options
        features = batch["features"]
        if network.training:
            features = mask(features.transpose(1, 2), options.time_masks, 100, options.frequency_masks, 15).transpose(1, 2)
        logits = network(input_features=features, decoder_input_ids=batch["inputs"]).logits
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), batch["labels"].flatten(), reduction="none",
            label_smoothing=options.label_smoothing if network.training else 0.0,
        )  # fmt: skip
        weights = batch["weights"].flatten()
        return (each * weights).sum() / weights.sum()

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
