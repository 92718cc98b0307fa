"""Labels by whisperx's own pipeline, handed our windows: no voice activity detection of its own, no files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext, SilverError
from stages import models, whisper
from stages.transcribe.labeller import Hypothesis, language_of, unknown_language

if TYPE_CHECKING:
    from stages.transcribe import Transcribe


class WhisperX:
    """A CTranslate2 Whisper in whisperx, which computes features and decodes in its own way. No no-speech probability."""

    def __init__(self, params: Transcribe.Params) -> None:
        self.params = params
        self._pipeline: Any = None

    def identity(self) -> Mapping[str, str]:
        """The model's weights."""
        return whisper.identity(self.params.model)

    def setup(self, context: PartContext) -> None:
        """Load the model.

        Raises:
            SilverError: whisperx is not installed.
        """
        try:
            with warnings.catch_warnings(action="ignore"):  # pages about a decoder of files that is not used
                from whisperx.asr import load_model
        except ModuleNotFoundError as error:
            msg = f"labeller=whisperx needs a package that is not installed: {error.name}. `make setup` installs all of them"
            raise SilverError(msg) from error
        compute_type = whisper.resolve(self.params.compute_type, context.device)
        options = {"beam_size": self.params.beam_size, "initial_prompt": self.params.initial_prompt}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that the windows are not its own; the language is set for each batch
            self._pipeline = load_model(
                str(models.find(self.params.model)), context.device, compute_type=compute_type, asr_options=options, language="en",
                vad_model=_our_windows, threads=context.threads, local_files_only=True,
            )  # fmt: skip

    def label(self, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
        """See `Labeller`. One language at a time, because the pipeline has one prompt for all."""
        model = self._pipeline.model
        results: list[Hypothesis | ItemError | None] = [None] * len(rows)
        groups: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for index, row in enumerate(rows):
            try:
                samples = whisper.read_window(context, row)
            except ItemError as error:
                results[index] = error
                continue
            code = language_of(row) or (self._pipeline.detect_language(samples) if model.model.is_multilingual else "en")
            if whisper.knows(model, code):
                groups[code].append((index, samples))
            else:
                results[index] = unknown_language(code, models.title(self.params.model))
        for code, windows in sorted(groups.items()):
            self._pipeline.tokenizer = whisper.tokenizer(model, code)
            written = self._pipeline([{"inputs": samples} for _, samples in windows], batch_size=self.params.batch_size, num_workers=0)
            for (index, _), output in zip(windows, written, strict=True):
                results[index] = Hypothesis(output["text"], output["avg_logprob"])
        return [result for result in results if result is not None]


def _our_windows(_audio: Any) -> Any:
    msg = "windows come from the segment stage"
    raise NotImplementedError(msg)
