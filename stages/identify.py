"""Identify: which language is spoken, heard by Whisper's language head on several windows of each recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext, PartStage, StageParams, drop, operational
from stages import models, whisper


class Identify(PartStage):
    """Language of the audio, against the expected one. All rows of a recording in the part share one verdict.

    `audio_language_probability` is that of the detected language, the mean over the windows that were heard. A row is dropped when
    the mean probability of its *expected* language is too low; a row without an expected language stays, whatever was heard.
    """

    name, version = "identify", "1"
    reads = ("recording_id", "audio_path", "start", "end", "language")
    adds = pa.schema([("audio_language", pa.string()), ("audio_language_probability", pa.float32())])
    accelerated = True
    packages = ("faster-whisper", "ctranslate2")

    class Params(StageParams):
        """See the fields."""

        model: models.ModelName = operational(
            "large-v3",
            "multilingual CTranslate2 Whisper: a name, or its folder; take that of transcribe, so that each window is heard once",
        )
        compute_type: whisper.ComputeType = Field("auto", description=whisper.COMPUTE_TYPE)
        windows: int = Field(
            3, ge=1, description="windows of a recording (in one part) that are heard, spread over it, the longest of each stretch"
        )
        minimum_probability: float = Field(0.5, ge=0, le=1, description="mean probability that the expected language needs")

    params: Params
    _model: Any

    def identity(self) -> Mapping[str, str]:
        """The model's weights; a model that knows English only is refused."""
        return whisper.identity(self.params.model, multilingual=True)

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._model = whisper.load(self.params.model, self.params.compute_type, context)

    def process(self, rows: list[Row], context: PartContext) -> Iterable[Row]:
        """Listen to some windows of each recording, then judge all its rows."""
        recordings: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            recordings[row["recording_id"]].append(index)
        result = list(rows)
        for indices in recordings.values():
            heard, errors = self._listen([rows[index] for index in indices], context)
            for index in indices:
                if heard:
                    result[index] = self._judge(rows[index], heard, context)
                else:
                    result[index] = context.item_error(rows[index], errors[0])
        return result

    def _listen(self, rows: list[Row], context: PartContext) -> tuple[dict[str, float], list[ItemError]]:
        """Mean probability of each language over some windows of one recording, the most probable first."""
        stretches = np.array_split(np.arange(len(rows)), min(self.params.windows, len(rows)))
        ordered = sorted(rows, key=lambda row: row["start"])
        chosen = [max((ordered[index] for index in stretch), key=lambda row: row["end"] - row["start"]) for stretch in stretches]
        outputs = whisper.encode(context, self._model, chosen)
        windows = whisper.languages(self._model, [output for output in outputs if not isinstance(output, ItemError)])
        codes = windows[0] if windows else {}
        heard = {code: float(np.mean([window[code] for window in windows])) for code in codes}
        return dict(sorted(heard.items(), key=lambda item: -item[1])), [output for output in outputs if isinstance(output, ItemError)]

    def _judge(self, row: Row, heard: dict[str, float], context: PartContext) -> Row:
        detected, probability = next(iter(heard.items()))
        row = row | {"audio_language": detected, "audio_language_probability": probability}
        if row["language"] is None:
            return row
        expected = whisper.language_code(row["language"])
        if expected not in heard:
            return context.item_error(
                row, ItemError("language_unknown", f"the model {models.title(self.params.model)} knows no {row['language']!r}")
            )
        if heard[expected] < self.params.minimum_probability:
            return drop(row, "audio_language", f"heard {detected} {probability:.2f}, expected {expected} {heard[expected]:.2f}")
        return row
