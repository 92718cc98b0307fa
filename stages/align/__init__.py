"""Word times and scores: which audio each written word was heard in, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from manifests.schema import WORDS, Row
from pipeline.contract import ItemError, PartContext, PartStage, StageParams, operational
from stages.align.backend import Backend, Character, Item, Word
from stages.models import ModelName
from stages.whisper import COMPUTE_TYPE, ComputeType


class Align(PartStage):
    """Word times (seconds in the recording) and scores (0..1) of a text, by forced alignment.

    `attention` reads them off the cross-attention of the Whisper that wrote the text, in rows of at most 30 s; the others off a CTC model
    (see stages/align/ctc.py), in rows of any length. A row that cannot be aligned is dropped as `alignment`; one without text has no words.
    """

    name, version = "align", "2"
    adds = pa.schema([("text_raw", pa.string()), ("words", WORDS), ("align_score", pa.float32())])
    accelerated = True

    class Params(StageParams):
        """Which model aligns."""

        backend: Literal["attention", "embedded", "torchaudio", "ctc-forced-aligner", "whisperx"] = Field(
            "embedded",
            description="embedded (a romanised CTC network that comes with Silver, on Whisper base's encoder); attention (of a Whisper); or another "
            "CTC model, its path searched by torchaudio, ctc-forced-aligner or whisperx",
        )
        model: ModelName | None = operational(
            None,
            "attention: a Whisper (name, owner/repository or folder), by default large-v3; best that of transcribe, so that each window is heard "
            "once; embedded: none, its Whisper is always base; the others: a torchaudio bundle, by default MMS_FA "
            "(romanised, 1,100 languages), or a folder with a Hugging Face CTC model (config.json, vocab.json, weights)",
        )
        compute_type: ComputeType = Field("auto", description=f"embedded and attention: {COMPUTE_TYPE}")
        text: Literal["text_raw", "text_source"] = Field(
            "text_raw",
            description="which text: that of transcribe, or the transcript that came with the audio, which then becomes `text_raw`; so a long "
            "recording with its transcript needs no Whisper: align it whole, and let resegment cut it",
        )
        characters: bool = Field(False, description="keep the times of every character in `words` too")
        batch_size: int = operational(8, "windows that go through the model at once", ge=1)

        @model_validator(mode="after")
        def _characters_are_known(self) -> Self:
            if self.characters and self.backend in ("attention", "whisperx"):
                msg = f"{self.backend} gives no times of characters: take another backend, or characters=false"
                raise ValueError(msg)
            return self

        @model_validator(mode="after")
        def _model_is_a_choice(self) -> Self:
            if self.backend == "embedded" and self.model is not None:
                msg = f"embedded always aligns with Whisper base: leave out model={self.model}, or choose another backend"
                raise ValueError(msg)
            return self

    def __init__(self, params: StageParams) -> None:
        super().__init__(params)
        self._backend = _backend(self.params)
        self.reads = ("audio_path", self.params.text)  # type: ignore[misc]

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""
        return self._backend.identity()

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._backend.setup(context)

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """Align the rows that have text, all in one call so that batches go across recordings."""
        texts = [row[self.params.text] or "" for row in rows]
        aligned = self._backend.align([Item(row, text) for row, text in zip(rows, texts, strict=True) if text.strip()], context)
        for before, text in zip(rows, texts, strict=True):
            row = before | {"text_raw": before[self.params.text]}
            if not text.strip():
                yield row | {"words": [], "align_score": None}
            elif isinstance(words := next(aligned), ItemError):
                yield context.item_error(row, words)
            else:
                scores = [word.score for word in words if math.isfinite(word.score)]
                yield row | {"words": [_word(word) for word in words], "align_score": sum(scores) / len(scores) if scores else None}


def _word(word: Word) -> dict[str, Any]:
    """A word as it is stored."""
    characters = None
    if word.characters is not None:
        characters = [{"character": each.character} | _times(each) for each in word.characters]
    return {"word": word.word} | _times(word) | {"spelled": word.spelled, "heard": word.heard, "characters": characters}


def _times(timed: Word | Character) -> dict[str, float | None]:
    """Times to the millisecond; no score rather than NaN."""
    score = timed.score if math.isfinite(timed.score) else None
    return {"start": round(timed.start, 3), "end": round(timed.end, 3), "score": score}


def _backend(params: Align.Params) -> Backend:
    """Only the chosen backend is imported: each brings its own heavy packages."""
    if params.backend == "attention":
        from stages.align.attention import Attention

        return Attention(params)
    if params.backend == "embedded":
        from stages.align.embedded import Embedded

        return Embedded(params)
    if params.backend == "torchaudio":
        from stages.align.torchaudio import Torchaudio

        return Torchaudio(params)
    if params.backend == "ctc-forced-aligner":
        from stages.align.ctc_forced_aligner import CtcForcedAligner

        return CtcForcedAligner(params)
    from stages.align.whisperx import WhisperX

    return WhisperX(params)
