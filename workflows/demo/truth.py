"""The error of a corpus's labels against known transcripts.

The words of all segments of an episode, in order of time, are aligned with the words that were said in them (Levenshtein, jiwer). Each
error belongs to one segment: a substitution or insertion to that of the label's word, a deletion to the segment nearest to the time of the
missing word (interpolated within its prompt). So the error of a part of the segments, those that a filter kept, can be told. What was said
more than a second away from any segment is in no label and counts for none: it is lost to the corpus, not wrong in it.
"""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from stages.normalise.text import normalise

NEAR = 1.0
"""Seconds from a segment within which a word may have been meant to be in it: word times are interpolated, voice activity is not sharp."""


@dataclass(frozen=True)
class Errors:
    """Of one segment: words said, and errors of its label."""

    segment_id: str
    language: str
    words: int
    errors: int


@dataclass(frozen=True)
class WerResult:
    """Word error rate with its 95 % interval (bootstrap over segments)."""

    words: int
    errors: int
    low: float
    high: float

    @property
    def wer(self) -> float:
        """Errors a word."""
        return self.errors / self.words if self.words else float("inf") if self.errors else 0.0

    def __str__(self) -> str:
        return f"WER {self.wer:.3f} (95 % {self.low:.3f} to {self.high:.3f}, {self.errors} errors in {self.words} words)"


def segment_errors(segments: Iterable[dict[str, Any]], truth: Path) -> list[Errors]:
    """Errors of every segment (needs segment_id, source_uri, start, end, text, language); segments of unknown episodes have none.

    Accents count as nothing on both sides: the Spanish scripts were typed without them.
    """
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in truth.read_text(encoding="utf-8").splitlines():
        said[(entry := json.loads(line))["episode"]].append(entry)
    by_episode: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for segment in segments:
        if segment["text"]:
            by_episode[segment["source_uri"].rpartition("/")[2]].append(segment)
    found: list[Errors] = []
    for episode, group in sorted(by_episode.items()):
        if episode in said:
            found += _episode_errors(sorted(group, key=lambda segment: (segment["start"], segment["segment_id"])), said[episode])
    return found


def _episode_errors(segments: Sequence[dict[str, Any]], prompts: Sequence[dict[str, Any]]) -> list[Errors]:
    words, wrong = [0] * len(segments), [0] * len(segments)
    reference = _said(prompts, segments)
    hypothesis = [(word, index) for index, segment in enumerate(segments) for word in _fold(segment["text"]).split()]
    aligned = (
        jiwer.process_words(" ".join(word for word, _ in reference), " ".join(word for word, _ in hypothesis)).alignments[0]
        if reference
        else []
    )
    for chunk in aligned:
        if chunk.type == "delete":
            owners = [_nearest(segments, time) for _, time in reference[chunk.ref_start_idx : chunk.ref_end_idx]]
        else:
            owners = [index for _, index in hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]]
        for owner in owners:
            words[owner] += chunk.type != "insert"
            wrong[owner] += chunk.type != "equal"
    if not reference:  # nothing was said: every word is wrong
        for _, owner in hypothesis:
            wrong[owner] += 1
    return [Errors(segment["segment_id"], segment["language"], words[n], wrong[n]) for n, segment in enumerate(segments)]


def _said(prompts: Sequence[dict[str, Any]], segments: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """The words of the prompts in or near the segments, each with its time."""
    found = []
    for prompt in prompts:
        words = _fold(normalise(prompt["text"], prompt["language"])).split()
        for position, word in enumerate(words):
            time = prompt["start"] + (prompt["end"] - prompt["start"]) * (position + 0.5) / len(words)
            if min(_distance(segment, time) for segment in segments) <= NEAR:
                found.append((word, time))
    return found


def wer(errors: Sequence[Errors]) -> WerResult:
    """The word error rate of some segments."""
    words = np.array([item.words for item in errors])
    wrong = np.array([item.errors for item in errors])
    if not words.sum():
        return WerResult(0, int(wrong.sum()), 0.0, 0.0)
    draws = np.random.default_rng(0).integers(0, len(words), (1000, len(words)))
    rates = wrong[draws].sum(1) / np.maximum(1, words[draws].sum(1))
    low, high = np.percentile(rates, [2.5, 97.5])
    return WerResult(int(words.sum()), int(wrong.sum()), float(low), float(high))


def _nearest(segments: Sequence[dict[str, Any]], time: float) -> int:
    return min(range(len(segments)), key=lambda index: _distance(segments[index], time))


def _distance(segment: dict[str, Any], time: float) -> float:
    return float(max(segment["start"] - time, time - segment["end"], 0.0))


def _fold(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFD", text) if not unicodedata.combining(character))
