"""Transcribe: the text of each window, with what the labeller thinks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from manifests.schema import LABELS, Row
from pipeline.contract import PartContext, PartStage, StageParams, drop, operational
from stages import models, whisper
from stages.rules import When, columns, holds
from stages.transcribe.ctc import Ctc, Decoding
from stages.transcribe.labeller import Hypothesis, Labeller, as_label, labelled


class Transcribe(PartStage):
    """The text of each window, Whisper's or a CTC network's, in batches across recordings, sorted by length.

    The language is the row's expected one; where there is none, the one that `identify` heard, or else the one of the window.

    A recipe may have several, each under a name of its own (`second: {stage: transcribe, model: small}`). One that finds labels in a row
    adds its own to them, and leaves the text and what drops a row to the first: its text may be empty, and a row whose language its model
    does not write gets none. With `when`, only rows for which that is true are heard: the cheap labeller first, the dear one where the
    cheap one is unsure (`when: avg_logprob < -0.5`). A label is named after its labeller and model, and the section if it is not
    `transcribe`: `faster-whisper/small (second)`.
    """

    name, version = "transcribe", "2"
    reads: ClassVar[tuple[str, ...]] = ("audio_path", "start", "end", "language")
    adds = pa.schema(
        [
            ("labels", LABELS),
            ("text_raw", pa.string()),  # as the model wrote it, but for runs of white space
            ("avg_logprob", pa.float32()),
            ("no_speech_prob", pa.float32()),
            ("compression_ratio", pa.float32()),
            ("round", pa.int32()),
            ("label_origin", pa.string()),
        ]
    )
    accelerated = True
    packages = ("faster-whisper", "ctranslate2", "whisperx", "transformers", "torch")

    class Params(StageParams):
        """See the fields."""

        labeller: Literal["faster-whisper", "whisperx", "transformers", "ctc"] = Field(
            "faster-whisper", description="who transcribes; only faster-whisper shares the encoder's work with identify and align"
        )
        model: models.ModelName = operational(
            "large-v3",
            "Whisper: a name, or its folder (CTranslate2; transformers also takes its own format); ctc: the folder of a student, or a Hugging Face CTC model of raw audio",
        )
        decoding: Decoding = Field(Decoding(), description="of ctc: beam_size, lm (an ARPA file of words), lm_weight, word_score")
        beam_size: int = Field(5, ge=1, description="hypotheses that a Whisper's beam search keeps")
        initial_prompt: str | None = Field(None, description="text that the model takes for what was said before: names, spelling, style")
        compute_type: whisper.ComputeType = Field("auto", description=whisper.COMPUTE_TYPE)
        when: When = Field(
            None, description="DuckDB expression over the row's columns, as a rule of filter: only rows for which it is true are heard"
        )
        batch_size: int = operational(8, "windows that are decoded together", ge=1)

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.labeller = _labeller(params)
        if params.when:
            self.reads = tuple(dict.fromkeys((*type(self).reads, *columns("when", params.when))))  # type: ignore[misc]

    def identity(self) -> Mapping[str, str]:
        """The model's weights."""
        return self.labeller.identity()

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self.labeller.setup(context)

    def process(self, rows: list[Row], context: PartContext) -> Iterable[Row]:
        """Transcribe the windows of the part, the longest first: windows of a batch then end at about the same time."""
        heard = holds(f"{self.name}.when", self.params.when, rows, context.schema, context.threads)
        written = iter(labelled(self.labeller, [row for row, chosen in zip(rows, heard, strict=True) if chosen], context))
        for row, chosen in zip(rows, heard, strict=True):
            result = next(written) if chosen else None
            if isinstance(result, Hypothesis):
                yield self._written(row, result)
            elif result is None or (result.reason == "language_unknown" and row.get("labels")):
                yield row
            else:
                yield context.item_error(row, result)

    def _written(self, row: Row, hypothesis: Hypothesis) -> Row:
        origin = f"{self.params.labeller}/{models.title(self.params.model)}"
        if self.name != type(self).name:
            origin += f" ({self.name})"
        label = as_label(origin, hypothesis)
        if row.get("labels"):
            return row | {"labels": [*row["labels"], label]}
        signals = {name: label[name] for name in ("avg_logprob", "no_speech_prob", "compression_ratio")}
        row = row | signals | {"labels": [label], "text_raw": label["text"], "round": 0, "label_origin": origin}
        return row if label["text"] else drop(row, "no_text", "the model heard nothing to write")


def _labeller(params: Transcribe.Params) -> Labeller:
    if params.labeller == "whisperx":
        from stages.transcribe.whisperx import WhisperX

        return WhisperX(params)
    if params.labeller == "ctc":
        return Ctc(params.model, params.decoding, params.batch_size)
    if params.labeller == "transformers":
        from stages.transcribe.transformers import Transformers

        return Transformers(params)
    from stages.transcribe.faster_whisper import FasterWhisper

    return FasterWhisper(params)
