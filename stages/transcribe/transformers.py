"""Labels by Whisper in transformers: from a folder in its own format, or from a CTranslate2 folder, whose weights are read over."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext, SilverError
from stages import models, whisper
from stages.audio import SAMPLE_RATE
from stages.transcribe.labeller import Hypothesis, language_of, unknown_language

if TYPE_CHECKING:
    from stages.transcribe import Transcribe


class Transformers:
    """PyTorch's Whisper, in float32 on a CPU and float16 on a GPU (or what `compute_type` says). A second opinion on the arithmetic."""

    def __init__(self, params: Transcribe.Params) -> None:
        self.params = params
        self._model: Any = None
        self._extractor: Any = None
        self._tokenizer: Any = None

    def identity(self) -> Mapping[str, str]:
        """The model's weights.

        Raises:
            SilverError: the model is missing, or is no Whisper; or PyTorch does not calculate in `compute_type`.
        """
        if self.params.compute_type not in ("auto", "float32", "float16", "bfloat16"):
            msg = f"labeller=transformers does not run in compute_type={self.params.compute_type}: take auto, float32, float16 or bfloat16"
            raise SilverError(msg)
        found, folder = models.identity(self.params.model), models.find(self.params.model)
        if (folder / "model.bin").is_file():
            return whisper.identity(self.params.model)
        for needed in ("config.json", "tokenizer.json"):
            if not (folder / needed).is_file():
                msg = f"{folder} has no {needed}: name a folder that transformers saved a Whisper and its processor in"
                raise SilverError(msg)
        if json.loads((folder / "config.json").read_text()).get("model_type") != "whisper":
            msg = f"{folder / 'config.json'} does not say that this is a Whisper (model_type)"
            raise SilverError(msg)
        return found

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        import torch
        import transformers

        from stages.transcribe.convert import read_whisper

        transformers.logging.set_verbosity_error()  # `generate` warns about its own defaults, for each batch
        torch.set_num_threads(context.threads)
        folder = models.find(self.params.model)
        model = read_whisper(folder)
        name = self.params.compute_type if self.params.compute_type != "auto" else "float32" if context.device == "cpu" else "float16"
        self._model = model.to(context.device, getattr(torch, name))
        self._extractor = transformers.WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
        self._tokenizer = whisper.read_tokenizer(folder)

    def label(self, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
        """See `Labeller`. Batches are of one language, because the words of a prompt are the same for all of a batch."""
        results: list[Hypothesis | ItemError | None] = [None] * len(rows)
        groups: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for index, row in enumerate(rows):
            try:
                features = self._features(whisper.read_window(context, row))
            except ItemError as error:
                results[index] = error
                continue
            code = language_of(row) or self._detect(features)
            if self._knows(code):
                groups[code].append((index, features))
            else:
                results[index] = unknown_language(code, models.title(self.params.model))
        for code, windows in sorted(groups.items()):
            for at in range(0, len(windows), self.params.batch_size):
                batch = windows[at : at + self.params.batch_size]
                for (index, _), hypothesis in zip(batch, self._generate([features for _, features in batch], code), strict=True):
                    results[index] = hypothesis
        return [result for result in results if result is not None]

    def _features(self, samples: Any) -> Any:
        features = self._extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return features.to(self._model.device, self._model.dtype)

    def _knows(self, code: str) -> bool:
        settings = self._model.generation_config
        return f"<|{code}|>" in settings.lang_to_id if getattr(settings, "is_multilingual", True) else code == "en"

    def _detect(self, features: Any) -> str:
        if not getattr(self._model.generation_config, "is_multilingual", True):
            return "en"
        return str(self._tokenizer.id_to_token(int(self._model.detect_language(features)[0]))).strip("<|>")

    def _generate(self, features: list[Any], code: str) -> list[Hypothesis]:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        settings = self._model.generation_config
        options: dict[str, Any] = {"language": code, "task": "transcribe"} if getattr(settings, "is_multilingual", True) else {}
        if self.params.initial_prompt:
            before = self._tokenizer.encode(" " + self.params.initial_prompt.strip(), add_special_tokens=False).ids
            options["prompt_ids"] = torch.tensor([self._tokenizer.token_to_id("<|startofprev|>"), *before], device=self._model.device)
        with torch.inference_mode():
            encoded = self._model.model.encoder(torch.cat(features)).last_hidden_state
            outputs = BaseModelOutput(last_hidden_state=encoded)  # which the search overwrites
            search = self._model.generate(encoder_outputs=outputs, num_beams=self.params.beam_size, return_dict_in_generate=True, **options)
            return [self._scored(sequence, encoded[index : index + 1]) for index, sequence in enumerate(search["sequences"])]

    def _scored(self, sequence: Any, encoded: Any) -> Hypothesis:
        """Text and probabilities of a sequence of tokens: one pass over all of them, which a beam search does not keep."""
        import torch

        settings = self._model.generation_config
        end = settings.eos_token_id if isinstance(settings.eos_token_id, int) else settings.eos_token_id[0]
        tokens = sequence.tolist()
        start = tokens.index(settings.decoder_start_token_id)
        first = next(index for index in range(start, len(tokens)) if tokens[index] <= end)  # past language, task and "no timestamps"
        stop = tokens.index(end, first) if end in tokens[first:] else len(tokens)
        logits = self._model(encoder_outputs=(encoded,), decoder_input_ids=sequence[None, :stop]).logits[0].float()
        no_speech = self._tokenizer.token_to_id("<|nospeech|>") or self._tokenizer.token_to_id("<|nocaptions|>")
        no_speech_prob = logits[start].softmax(-1)[no_speech].item()
        logits[:, list(settings.suppress_tokens)] = -torch.inf  # as in the search
        logprobs = logits[first - 1 : stop].log_softmax(-1)
        written = torch.tensor([*tokens[first:stop], end], device=logprobs.device)
        return Hypothesis(self._tokenizer.decode(tokens[first:stop]), logprobs.gather(1, written[:, None]).mean().item(), no_speech_prob)
