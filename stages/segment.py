"""segment: a recording to windows of speech of at most 30 s, cut where nobody speaks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import soundfile
from pydantic import Field, model_validator

from manifests.schema import Row, segment_id
from pipeline.contract import ExpandingStage, PartContext, SilverError, StageParams, drop
from stages.audio import SAMPLE_RATE, Samples
from stages.voice import BLOCK, WINDOW_MS, Probabilities, Region, Vad, model_revision, speech_regions

_SMOOTH = 5  # windows (160 ms): a pause between words, not a dip inside a consonant


class Segment(ExpandingStage):
    """Find the speech, then Cut & Merge (WhisperX, Bain et al. 2023, arXiv:2303.00747, section 3.1).

    A stretch of speech longer than a window is cut where speech is least likely; neighbours are merged up to a whole window, because Whisper pays for
    30 s whatever it is given. Windows of one recording do not overlap. A recording without speech is dropped as `no_speech`.
    """

    name, version = "segment", "1"
    reads = ("audio_path", "recording_id", "start", "end")
    packages = ("silero-vad", "onnxruntime")
    adds = pa.schema([("speech_ratio", pa.float32())])  # share of the window that is speech

    class Params(StageParams):
        """The first three are Silero's own defaults."""

        threshold: float = Field(
            0.5, gt=0, lt=1, description="probability from which on a 32 ms window is speech; speech ends 0.15 under it"
        )
        min_speech: float = Field(0.25, ge=0.032, description="seconds; shorter speech is ignored, so no segment is shorter")
        min_silence: float = Field(0.1, ge=0, description="seconds; shorter silence does not end speech")
        pad: float = Field(0.1, ge=0, description="seconds kept before and after speech (Silero: 0.03), for soft first and last sounds")
        max_gap: float = Field(
            2.0,
            ge=0,
            description="seconds; speech this far apart is not merged: a longer pause seldom is within a turn, and Whisper invents text for it",
        )
        max_duration: float = Field(30.0, gt=1, le=30, description="seconds of the longest segment; Whisper takes 30")

        @model_validator(mode="after")
        def _padding_fits(self) -> Segment.Params:
            if self.max_duration < 4 * (self.pad + self.min_speech):
                msg = f"max_duration must be at least four times pad + min_speech ({4 * (self.pad + self.min_speech):g} s)"
                raise ValueError(msg)
            return self

    def identity(self) -> dict[str, str]:
        """Revision of the model."""
        return {"silero-vad": model_revision()}

    def setup(self, context: PartContext) -> None:
        """Load the model."""
        self._vad = Vad(context.threads)

    def expand_row(self, row: Row, context: PartContext) -> list[Row]:
        """The windows of one recording, or the recording dropped as `no_speech`."""
        start = round(row["start"] * 1000)
        length = int((row["end"] - row["start"]) * 1000 + 1e-6)  # milliseconds, rounded down: no window passes the end
        probabilities = self._vad.probabilities(_blocks(row, context))
        speech = self._speech(probabilities, length)
        windows = merge(speech, _ms(self.params.max_duration), _ms(self.params.max_gap), _ms(self.params.pad), length)
        if not windows:
            return [drop(row, "no_speech", f"no speech of {self.params.min_speech:g} s at a probability of {self.params.threshold:g}")]
        return [_child(row, start, window, speech) for window in windows]

    def _speech(self, probabilities: Probabilities, length: int) -> list[Region]:
        """Regions of speech without padding, none of them longer than a window with its padding."""
        params = self.params
        least, longest = _ms(params.min_speech), _ms(params.max_duration) - 2 * _ms(params.pad)
        found = speech_regions(probabilities, params.threshold, least, _ms(params.min_silence))
        found = [(start, min(end, length)) for start, end in found if min(end, length) - start >= least]
        if not found:
            return []
        smooth = np.convolve(probabilities, np.full(_SMOOTH, 1 / _SMOOTH), mode="same")
        return [piece for region in found for piece in cut(region, smooth, longest, least)]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _blocks(row: Row, context: PartContext) -> Iterator[Samples]:
    """The audio of a recording, a block at a time: never the whole of it.

    Raises:
        SilverError: the corpus lost it. Not a dropped row: that would outlive the repair.
    """
    path, first, left = row["audio_path"], round(row["start"] * SAMPLE_RATE), round((row["end"] - row["start"]) * SAMPLE_RATE)
    if not left:
        return
    try:
        with context.store.open(path) as handle, soundfile.SoundFile(handle) as audio:
            audio.seek(min(first, audio.frames))
            while left > 0:
                block: Samples = audio.read(min(BLOCK, left), dtype="float32")
                if not len(block):
                    raise _lost(context, path, f"ends {left / SAMPLE_RATE:.3f} s too early")
                left -= len(block)
                yield block
    except FileNotFoundError as error:
        raise _lost(context, path, "is not there any more") from error
    except soundfile.LibsndfileError as error:
        raise _lost(context, path, f"cannot be read: {error}") from error


def _lost(context: PartContext, path: str, what: str) -> SilverError:
    return SilverError(
        f"{context.store.uri(path)} {what}; put back a copy, or remove it and the folder manifests/decode of the corpus root: decode makes it anew"
    )


def cut(region: Region, smooth: Probabilities, longest: int, shortest: int) -> list[Region]:
    """Pieces of at most `longest` ms, cut where speech is least likely in the second half of what fits."""
    start, end = region
    pieces: list[Region] = []
    while end - start > longest:
        low, high = (start + longest // 2) // WINDOW_MS, min(start + longest, end - shortest) // WINDOW_MS
        middle = (low + int(np.argmin(smooth[low:high]))) * WINDOW_MS + WINDOW_MS // 2
        pieces.append((start, middle))
        start = middle
    return [*pieces, (start, end)]


def merge(speech: list[Region], longest: int, max_gap: int, pad: int, length: int) -> list[Region]:
    """Windows of at most `longest` ms over all of the speech, padded by at most half of the gap to the next, within 0 and `length`."""
    padded: list[Region] = []
    for index, (start, end) in enumerate(speech):
        before = start - speech[index - 1][1] if index else 2 * start
        after = speech[index + 1][0] - end if index + 1 < len(speech) else 2 * (length - end)
        padded.append((start - min(pad, before // 2), end + min(pad, after // 2)))
    windows: list[Region] = []
    for index, (start, end) in enumerate(padded):
        if windows and end - windows[-1][0] <= longest and speech[index][0] - speech[index - 1][1] < max_gap:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def _child(row: Row, offset: int, window: Region, speech: list[Region]) -> Row:
    start, end = (offset + window[0]) / 1000, (offset + window[1]) / 1000
    spoken = sum(max(0, min(window[1], right) - max(window[0], left)) for left, right in speech)
    return row | {
        "segment_id": segment_id(row["recording_id"], start, end),
        "start": start,
        "end": end,
        "duration": (window[1] - window[0]) / 1000,
        "speech_ratio": spoken / (window[1] - window[0]),
    }
