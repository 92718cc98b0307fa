"""What a system writes for a held-out set, and how wrong it is. What was written once is kept, and not written again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rapidfuzz.distance import Levenshtein

from pipeline.contract import ItemError, PartContext, SilverError
from stages.heldout.sets import FOLDER, LONGEST, HeldOut, Window, short_digest
from stages.measures import ErrorRate, SegmentErrors, Units, error_rate, units
from stages.normalise.scoring import scoring_words
from stages.transcribe.labeller import Labeller

AT_ONCE = 64
"""Windows whose encoder outputs are in memory together."""


@dataclass(frozen=True)
class Written:
    """A window of the set, and what a system wrote for it."""

    window: Window
    text: str


@dataclass(frozen=True)
class Transcripts:
    """What one system wrote for one set. `seconds` it took, with its model loaded."""

    heldout: str
    """Name of the set."""
    digest: str
    """Of the set."""
    written: tuple[Written, ...]
    seconds: float

    @property
    def audio_seconds(self) -> float:
        """Of all windows."""
        return sum(item.window.end - item.window.start for item in self.written)

    def errors(self, *, fold_accents: bool = False) -> list[SegmentErrors]:
        """Errors of each window, in the scoring form; `segment_id` is the line of the gold, characters count with the spaces between words."""
        return [_errors(item, fold_accents=fold_accents) for item in self.written]

    def units(self) -> Units:
        """What a bootstrap draws: speakers, if all are known and there are enough, else recordings, else windows; and which each window is of."""
        return units(
            {"speakers": [w.window.speaker for w in self.written], "recordings": [w.window.recording_id for w in self.written]}, "windows"
        )

    def wer(self, *, fold_accents: bool = False) -> ErrorRate:
        """Word error rate with its interval."""
        found = self.errors(fold_accents=fold_accents)
        return error_rate([item.words for item in found], [item.errors for item in found], self.units())

    def cer(self, *, fold_accents: bool = False) -> ErrorRate:
        """Character error rate with its interval."""
        found = self.errors(fold_accents=fold_accents)
        return error_rate([item.characters for item in found], [item.character_errors for item in found], self.units())


def transcribe(labeller: Labeller, held: HeldOut, context: PartContext, longest: float | None = LONGEST) -> Transcripts:
    """Decode every window of the set with a labeller that has been set up; `context.store` is the corpus that the set is kept in.

    Raises:
        SilverError: a window that the labeller cannot transcribe. To leave it out would make the error rate look better than it is.
    """
    windows = held.windows(context.store, longest)
    texts: dict[int, str] = {}
    order = sorted(
        range(len(windows)), key=lambda index: windows[index].start - windows[index].end
    )  # batches then end at about the same time
    began = time.perf_counter()
    for at in range(0, len(order), AT_ONCE):
        chosen = order[at : at + AT_ONCE]
        results = labeller.label([windows[index].row for index in chosen], replace(context, memory={}))
        for index, result in zip(chosen, results, strict=True):
            if isinstance(result, ItemError):
                raise SilverError(f"{windows[index].where} cannot be transcribed, so the set {held.name} gives no error rate: {result}")
            texts[index] = " ".join(result.text.split())
    took = time.perf_counter() - began
    return Transcripts(held.name, held.digest, tuple(Written(window, texts[index]) for index, window in enumerate(windows)), took)


def evaluate(
    labeller: Labeller, settings: Mapping[str, Any], held: HeldOut, context: PartContext, longest: float | None = LONGEST
) -> Transcripts:
    """As `transcribe`, but what this system wrote for this set before is read again. The labeller is set up only if it has to work.

    A system is what `labeller.identity()` says of its weights, and the `settings` that change what it writes (beam, prompt), plain values. Kept in
    `heldout/<digest of the set>/` of the corpus root.
    """
    system = {"identity": dict(labeller.identity()), "settings": dict(settings), "device": context.device, "longest": longest}
    key = short_digest(system)
    path = f"{FOLDER}/{held.digest}/transcripts-{key}.json"
    if context.store.exists(path):
        return replace(_read(context.store.read(path)), heldout=held.name)
    labeller.setup(context)
    found = transcribe(labeller, held, context, longest)
    record = {"system": system} | asdict(found)
    context.store.write(path, json.dumps(record, ensure_ascii=False, indent=1).encode())
    return found


def _read(data: bytes) -> Transcripts:
    record = json.loads(data)
    written = tuple(_written(item) for item in record["written"])
    return Transcripts(record["heldout"], record["digest"], written, record["seconds"])


def _written(item: Mapping[str, Any]) -> Written:
    return Written(Window(**(item["window"] | {"texts": tuple(item["window"]["texts"])})), item["text"])


def _errors(item: Written, *, fold_accents: bool) -> SegmentErrors:
    window = item.window
    said = scoring_words(window.text, window.language, fold_accents=fold_accents)
    wrote = scoring_words(item.text, window.language, fold_accents=fold_accents)
    said_line, wrote_line = " ".join(said), " ".join(wrote)
    return SegmentErrors(
        window.where, window.recording_id, window.language or "", len(said), len(wrote), Levenshtein.distance(wrote, said),
        len(said_line), Levenshtein.distance(wrote_line, said_line),
    )  # fmt: skip


def shown(transcripts: Transcripts, *, fold_accents: bool = False) -> Iterator[dict[str, Any]]:
    """One plain row a window, the most errors first: what was said, what was written, and errors."""
    both = zip(transcripts.written, transcripts.errors(fold_accents=fold_accents), strict=True)
    for item, errors in sorted(both, key=lambda pair: -pair[1].errors):
        yield {
            "where": item.window.where,
            "speaker": item.window.speaker,
            "words": errors.words,
            "errors": errors.errors,
            "characters": errors.characters,
            "character_errors": errors.character_errors,
            "said": item.window.text,
            "written": item.text,
        }


def paired(first: Sequence[Written], second: Sequence[Written]) -> bool:
    """True if both are of the same windows, in the same order."""
    return [(item.window.audio_path, item.window.start, item.window.end, item.window.texts) for item in first] == [
        (item.window.audio_path, item.window.start, item.window.end, item.window.texts) for item in second
    ]
