"""Errors of labels against gold transcripts: which segment each error belongs to.

The words of all segments of a recording, in order of time, are aligned with the words that were said in it (Levenshtein over the scoring
form). Each error belongs to one segment: a substitution or insertion to that of the label's word, a deletion to the segment nearest to the
time of the missing word (interpolated within its utterance, or where the gold has no times between the words that were found). Characters
are counted along the same alignment, word by word, without the spaces between them: never less than an alignment of the characters
themselves would find. So the error of a part of the segments, those that a filter kept, can be told.
What was said more than a second away from any segment is in no label and counts for none: it is lost to the corpus, not wrong in it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
from rapidfuzz.distance import Levenshtein

from pipeline.contract import SilverError
from stages.gold import Utterance
from stages.measures import Array, SegmentErrors
from stages.normalise.scoring import scoring_words

NEAR = 1.0
"""Seconds from a segment within which a word may have been meant to be in it: word times are interpolated, voice activity is not sharp."""
PACE = 0.4
"""Seconds a word, for those before the first and after the last that was found in gold without times: 150 words a minute."""


def segment_errors(segments: Iterable[Mapping[str, Any]], gold: Sequence[Utterance], *, fold_accents: bool = False) -> list[SegmentErrors]:
    """Errors of every segment with text whose recording has gold, by recording and time.

    Segments need segment_id, source_uri, start, end, text, language. `fold_accents`: accents count as nothing, on both sides.
    """
    said: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in gold:
        said[utterance.recording].append(utterance)
    by_recording: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for segment in segments:
        if segment["text"]:
            by_recording[segment["source_uri"]].append(segment)
    found: list[SegmentErrors] = []
    of: dict[str, str] = {}
    for uri, group in sorted(by_recording.items()):
        name = next(
            (name for name in (uri, uri.rpartition("/")[2], unquote(uri.partition("?")[0].rpartition("/")[2])) if name in said), None
        )
        if name is not None:
            if other := of.get(name):
                raise SilverError(f"the gold of {name!r} may be that of {other} or of {uri}: give the whole source_uri")
            of[name] = uri
            utterances = said[name]
            ordered = sorted(group, key=lambda segment: (segment["start"], segment["segment_id"]))
            found += _recording_errors(uri, ordered, utterances, fold_accents=fold_accents)
    return found


def _recording_errors(
    uri: str, segments: Sequence[Mapping[str, Any]], utterances: Sequence[Utterance], *, fold_accents: bool
) -> list[SegmentErrors]:
    language = segments[0]["language"]
    labels = [scoring_words(segment["text"], segment["language"], fold_accents=fold_accents) for segment in segments]
    starts, ends = np.array([segment["start"] for segment in segments]), np.array([segment["end"] for segment in segments])
    reference, times = _said(utterances, starts, ends, language, fold_accents=fold_accents)
    hypothesis = [word for words in labels for word in words]
    owners = [index for index, words in enumerate(labels) for _ in words]
    words, wrong, characters, wrong_characters = ([0] * len(segments) for _ in range(4))
    steps = Levenshtein.opcodes(hypothesis, reference)
    heard = [
        segment["start"] + (segment["end"] - segment["start"]) * (place + 0.5) / len(words)
        for segment, words in zip(segments, labels, strict=True)
        for place in range(len(words))
    ]
    placed = _placed(times, steps, heard)
    for step in steps:
        if step.tag == "insert":  # in the reference only: words are missing
            for place in range(step.dest_start, step.dest_end):
                away = _away(starts, ends, placed[place])
                owner = int(away.argmin())
                if not away[owner] <= NEAR:
                    continue
                words[owner] += 1
                wrong[owner] += 1
                characters[owner] += len(reference[place])
                wrong_characters[owner] += len(reference[place])
            continue
        for position in range(step.src_start, step.src_end):
            owner, word = owners[position], hypothesis[position]
            true = "" if step.tag == "delete" else reference[step.dest_start + position - step.src_start]
            words[owner] += step.tag != "delete"
            wrong[owner] += step.tag != "equal"
            characters[owner] += len(true)
            wrong_characters[owner] += 0 if step.tag == "equal" else Levenshtein.distance(word, true)
    return [
        SegmentErrors(
            segment["segment_id"], uri, segment["language"] or "", words[n], len(labels[n]), wrong[n], characters[n], wrong_characters[n]
        )
        for n, segment in enumerate(segments)
    ]


def _said(
    utterances: Sequence[Utterance], starts: Array, ends: Array, language: str | None, *, fold_accents: bool
) -> tuple[list[str], list[float]]:
    """Words said in or near the segments, in order, each with its time (NaN where the gold has none)."""
    words: list[str] = []
    times: list[float] = []
    for utterance in utterances:
        said = scoring_words(utterance.text, language, fold_accents=fold_accents)
        for place, word in enumerate(said):
            time = math.nan
            if utterance.start is not None and utterance.end is not None:
                time = utterance.start + (utterance.end - utterance.start) * (place + 0.5) / len(said)
                if _away(starts, ends, time).min() > NEAR:
                    continue
            words.append(word)
            times.append(time)
    return words, times


def _placed(times: Sequence[float], steps: Iterable[Any], heard: Sequence[float]) -> Array:
    """Times of all words of the reference: of those that have none from the words of the labels (`heard`) that they are aligned with."""
    found: Array = np.array(times, np.float64)
    missing = np.isnan(found)
    for step in steps:
        if step.tag in ("equal", "replace"):
            for place in range(step.dest_start, step.dest_end):
                if missing[place]:
                    found[place] = heard[step.src_start + place - step.dest_start]
    known = np.flatnonzero(~np.isnan(found))
    if len(known):
        unknown = np.flatnonzero(np.isnan(found))
        beyond = np.minimum(unknown - known[0], 0) + np.maximum(unknown - known[-1], 0)
        found[unknown] = np.interp(unknown, known, found[known]) + PACE * beyond
    return found


def _away(starts: Array, ends: Array, time: float) -> Array:
    """Seconds between a time and each segment, shape (segments,)."""
    return np.asarray(np.maximum(np.maximum(starts - time, time - ends), 0.0))
