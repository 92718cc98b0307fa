"""Labels by faster-whisper's model, on the encoder outputs that the stages of a part share.

The decoding is that of faster-whisper's batched pipeline (no timestamps, no temperature fallback, no text of the window before),
so the text is the same; see `BatchedInferencePipeline` in https://github.com/SYSTRAN/faster-whisper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext
from stages import models, whisper
from stages.transcribe.labeller import Hypothesis, language_of, unknown_language

if TYPE_CHECKING:
    from stages.transcribe import Transcribe


class FasterWhisper:
    """A CTranslate2 Whisper."""

    def __init__(self, params: Transcribe.Params) -> None:
        self.params = params
        self._model: Any = None

    def identity(self) -> Mapping[str, str]:
        """The model's weights."""
        return whisper.identity(self.params.model)

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._model = whisper.load(self.params.model, self.params.compute_type, context)

    def label(self, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
        """See `Labeller`. Rows of several languages share a batch: only one token of their prompts differs."""
        results: list[Hypothesis | ItemError | None] = [None] * len(rows)
        todo: list[tuple[int, whisper.Encoded, str]] = []
        for index, (row, output) in enumerate(zip(rows, whisper.encode(context, self._model, rows), strict=True)):
            if isinstance(output, ItemError):
                results[index] = output
            elif not whisper.knows(self._model, code := language_of(row) or whisper.detect(self._model, output)):
                results[index] = unknown_language(code, models.title(self.params.model))
            else:
                todo.append((index, output, code))
        for at in range(0, len(todo), self.params.batch_size):
            batch = todo[at : at + self.params.batch_size]
            hypotheses = self._generate([output for _, output, _ in batch], [code for _, _, code in batch])
            for (index, _, _), hypothesis in zip(batch, hypotheses, strict=True):
                results[index] = hypothesis
        return [result for result in results if result is not None]

    def _generate(self, outputs: list[whisper.Encoded], codes: list[str]) -> list[Hypothesis]:
        from faster_whisper.transcribe import get_suppressed_tokens

        tokenizers = [whisper.tokenizer(self._model, code) for code in codes]
        before = tokenizers[0].encode(" " + self.params.initial_prompt.strip()) if self.params.initial_prompt else []
        results = self._model.model.generate(
            whisper.storage(outputs),
            [self._model.get_prompt(tokenizer, before, without_timestamps=True) for tokenizer in tokenizers],
            beam_size=self.params.beam_size,
            max_length=self._model.max_length,
            suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
            return_scores=True,
            return_no_speech_prob=True,
        )
        hypotheses = []
        for result, tokenizer, output in zip(results, tokenizers, outputs, strict=True):
            tokens = result.sequences_ids[0]
            # The score is the mean over the tokens that were written; the end of text counts as one more.
            logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
            written = [token for token in tokens if token < tokenizer.eot]
            scores = whisper.word_scores(tokenizer, written, self._probabilities(output, tokenizer, written))
            hypotheses.append(Hypothesis(tokenizer.decode(tokens), logprob, result.no_speech_prob, scores))
        return hypotheses

    def _probabilities(self, output: whisper.Encoded, tokenizer: Any, tokens: list[int]) -> list[float]:
        """Of each token, given those before it. The decoder reads the text once more: a beam search keeps no more than its sum."""
        if not tokens:
            return []
        # Two frames: the times that `align` also gives are not wanted here.
        aligned = self._model.model.align(whisper.storage([output]), tokenizer.sot_sequence, [tokens], [2])[0]
        probabilities: list[float] = aligned.text_token_probs
        return probabilities
