"""Word times and scores: which audio each written word was heard in, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import pyarrow as pa
from pydantic import Field

from manifests.schema import WORDS, Row
from pipeline.contract import ItemError, PartContext, PartStage, StageParams, operational
from stages.align.backend import Backend, Item, Word
from stages.audio import read_audio
from stages.models import ModelName
from stages.whisper import COMPUTE_TYPE, ComputeType


class Align(PartStage):
    """Word times (seconds in the recording) and scores (0..1) of `text_raw`, by forced alignment.

    `attention` reads them off the cross-attention of the Whisper that wrote the text; the others off a CTC model (see
    stages/align/ctc.py). A row that cannot be aligned is dropped as `alignment`; one without text has no words.
    """

    name, version = "align", "1"
    reads = ("audio_path", "text_raw")
    adds = pa.schema([("words", WORDS), ("align_score", pa.float32())])
    accelerated = True

    class Params(StageParams):
        """Which model aligns."""

        backend: Literal["attention", "torchaudio", "ctc-forced-aligner", "whisperx"] = Field(
            "attention",
            description="attention (of a Whisper), or the Viterbi search over a CTC model: torchaudio, ctc-forced-aligner, whisperx",
        )
        model: ModelName | None = operational(
            None,
            "attention: a Whisper (name, owner/repository or folder), by default large-v3; best that of transcribe, so that each window is heard "
            "once; the others: a torchaudio bundle, by default MMS_FA "
            "(romanised, 1,100 languages), or a folder with a Hugging Face CTC model (config.json, vocab.json, weights)",
        )
        compute_type: ComputeType = Field("auto", description=f"attention: {COMPUTE_TYPE}")
        batch_size: int = operational(8, "segments that go through the model at once", ge=1)

    def __init__(self, params: StageParams) -> None:
        super().__init__(params)
        self._backend = _backend(self.params)

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""
        return self._backend.identity()

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._backend.setup(context)

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """Align the rows that have text, all in one call so that batches go across recordings."""
        items = [Item(row, read_audio(context.store, row)) for row in rows if (row["text_raw"] or "").strip()]
        aligned = self._backend.align(items, context)
        for row in rows:
            if not (row["text_raw"] or "").strip():
                yield row | {"words": [], "align_score": None}
            elif isinstance(words := next(aligned), ItemError):
                yield context.item_error(row, words)
            else:
                scores = [word.score for word in words if math.isfinite(word.score)]
                yield row | {"words": [_record(word) for word in words], "align_score": sum(scores) / len(scores) if scores else None}


def _record(word: Word) -> dict[str, str | float | None]:
    """A word as it is stored: times to the millisecond, no score rather than NaN."""
    score = word.score if math.isfinite(word.score) else None
    return {"word": word.word, "start": round(word.start, 3), "end": round(word.end, 3), "score": score}


def _backend(params: Align.Params) -> Backend:
    """Only the chosen backend is imported: each brings its own heavy packages."""
    if params.backend == "attention":
        from stages.align.attention import Attention

        return Attention(params)
    if params.backend == "torchaudio":
        from stages.align.torchaudio import Torchaudio

        return Torchaudio(params)
    if params.backend == "ctc-forced-aligner":
        from stages.align.ctc_forced_aligner import CtcForcedAligner

        return CtcForcedAligner(params)
    from stages.align.whisperx import WhisperX

    return WhisperX(params)
