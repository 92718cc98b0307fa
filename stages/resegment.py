"""Cut aligned windows at pauses and ends of sentences into the segments that are released."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from manifests.schema import Row, segment_id
from pipeline.contract import ExpandingStage, PartContext, StageParams, drop
from stages import cut
from stages.words import written_words

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "．", "।", "؟", "۔", "።")
_FAR = 60
"""Seconds: no longer segment is considered where there is a pause inside, unless `max_duration` is nearly that long. Windows are shorter."""
_CLOSING = "\"'”’»)]}」』）"


class Resegment(ExpandingStage):
    """Windows of up to 30 s become segments that begin and end in a pause.

    A cut may be where the gap between two words is at least `pause`, or at least `sentence_pause` after the end of a sentence.
    Among the sets of cuts, that with the least cost is taken: each segment costs the squared logarithm of its duration over the
    geometric mean of `min_duration` and `max_duration`, and much more outside of them. Where there is no pause a segment stays
    longer than `max_duration` (never longer than its window): a cut through speech would damage the label.

    Each segment keeps up to `pad` of the pause at its edges, at most half of it, so that segments never overlap. Times are whole
    milliseconds. A row without words is dropped as `no_words`. Every one of `labels` is cut where `text_raw` is (see `stages.cut`), with
    the scores of its words; its other figures stay those of the window. `window_id` is the `segment_id` of the window.
    """

    name, version = "resegment", "2"
    reads = ("segment_id", "words", "text_raw", "language")
    adds = pa.schema([("window_id", pa.string())])
    light = True

    class Params(StageParams):
        """Where to cut, in seconds."""

        pause: float = Field(0.5, ge=0.001, description="gap between two words at which a cut may be, seconds")
        sentence_pause: float = Field(0.2, ge=0.001, description="the same after the end of a sentence, seconds")
        min_duration: float = Field(2.0, gt=0, description="no segment should be shorter, seconds; a shorter window stays as it is")
        max_duration: float = Field(20.0, gt=0, description="no segment should be longer, seconds")
        pad: float = Field(0.15, ge=0, description="how much of the pause before and after a segment it keeps at most, seconds")

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.min_duration > self.max_duration:
                msg = f"min_duration ({self.min_duration}) is above max_duration ({self.max_duration})"
                raise ValueError(msg)
            return self

    def expand_row(self, row: Row, _context: PartContext) -> list[Row]:
        """The segments of one window."""
        window = (math.ceil(row["start"] * 1000 - 1e-6), math.floor(row["end"] * 1000 + 1e-6))
        words = _timed(row["words"] or [], window)
        if not words:
            return [drop(row, "no_words", "the aligner found no words in this window")]
        cuts = [0, *self._cuts(words), len(words)]
        texts = _texts(row["text_raw"] or "", [word.entry["word"] for word in words], cuts)
        labels = [_cut(label, row["text_raw"] or "", texts, row["language"]) for label in row.get("labels") or []]
        pad = round(self.params.pad * 1000)
        children = []
        for index, ((first, last), text) in enumerate(zip(pairwise(cuts), texts, strict=True)):
            # Times are whole, so the middle of a gap is never inside a word, and is the same from both sides.
            before = (words[first - 1].end + words[first].start) // 2 if first else window[0]
            after = (words[last - 1].end + words[last].start) // 2 if last < len(words) else window[1]
            start, end = max(before, words[first].start - pad), min(after, words[last - 1].end + pad)
            own = {"text_raw": text} | ({"labels": [label[index] for label in labels]} if labels else {})
            children.append(_child(row | own, words[first:last], start / 1000, end / 1000))
        return children

    def _cuts(self, words: Sequence[_Word]) -> list[int]:
        """Indices of words before which to cut: dynamic programming over the places where a cut may be."""
        p = self.params
        places = [0]
        for i in range(1, len(words)):
            ends_sentence = words[i - 1].entry["word"].strip().rstrip(_CLOSING).endswith(_SENTENCE_ENDS)
            if words[i].start - words[i - 1].end >= 1000 * (min(p.pause, p.sentence_pause) if ends_sentence else p.pause):
                places.append(i)
        places.append(len(words))
        cost = cache(self._cost)  # many stretches of a long row are equally long
        best = [(0.0, 0)]  # of each place: the least cost of the segments before it, and where the last of them begins
        for at in range(1, len(places)):
            end = words[places[at] - 1].end
            costs: list[tuple[float, int]] = []
            for since in range(at - 1, -1, -1):
                duration = end - words[places[since]].start
                if costs and duration > 1000 * max(_FAR, 2 * p.max_duration):
                    break  # so that an hour of words takes linear time
                costs.append((best[since][0] + cost(duration), since))
            best.append(min(costs))
        cuts = []
        at = best[-1][1]
        while at:
            cuts.append(places[at])
            at = best[at][1]
        return cuts[::-1]

    def _cost(self, milliseconds: int) -> float:
        p = self.params
        duration = max(1, milliseconds) / 1000
        outside = max(0.0, math.log(p.min_duration / duration), math.log(duration / p.max_duration))
        return math.log(duration / math.sqrt(p.min_duration * p.max_duration)) ** 2 + 100 * outside


@dataclass(frozen=True)
class _Word:
    start: int  # milliseconds in the recording
    end: int
    entry: dict[str, Any]


def _timed(entries: Sequence[dict[str, Any]], window: tuple[int, int]) -> list[_Word]:
    """The words, each in the window and after the one before: the order of the text is never changed.

    A time that is missing or not a number becomes that of the word before; a start before an earlier start moves up to it; an end
    goes no further than the next start.
    """
    words: list[_Word] = []
    low, high = window
    for entry in entries:
        start, end = (_milliseconds(entry[key]) for key in ("start", "end"))
        start = min(max(start if start is not None else (words[-1].end if words else low), low), high)
        low = start
        words.append(_Word(start, min(max(start, end if end is not None else start), high), entry))
    return [replace(word, end=min(word.end, following.start)) for word, following in pairwise(words)] + words[-1:]


def _milliseconds(seconds: float | None) -> int | None:
    return round(seconds * 1000) if seconds is not None and math.isfinite(seconds) else None


def _texts(text: str, words: Sequence[str], cuts: Sequence[int]) -> list[str]:
    """The text between cuts, exactly as it is written; the words joined where the text has others than these."""
    places, at, inner = [0], 0, set(cuts[1:])
    for i, word in enumerate(map(str.strip, words)):
        found = text.find(word, at)
        if found < 0 or any(character.isalnum() for character in text[at:found]):
            space = " " if any(map(str.isspace, text.strip())) else ""
            return [space.join(each.strip() for each in words[a:b]) for a, b in pairwise(cuts)]
        if i in inner:
            places.append(found)
        at = found + len(word)
    return [text[a:b].strip() for a, b in pairwise([*places, len(text)])]


def _cut(label: dict[str, Any], text: str, texts: Sequence[str], language: str | None) -> list[dict[str, Any]]:
    """A label of the window as one label for each segment."""
    written = label["text"] or ""
    same = written.strip() == text.strip()
    pieces = [label | {"text": piece} for piece in (texts if same else cut.apart(written, texts, language))]
    counts = [len(written_words(piece["text"])) for piece in pieces]
    scores = label.get("scores")
    ends = list(accumulate(counts, initial=0))
    for piece, (first, last) in zip(pieces, pairwise(ends), strict=True):
        # Scores that do not fit the words are worse than none.
        piece["scores"] = scores[first:last] if scores is not None and len(scores) == ends[-1] else None
    return pieces


def _child(row: Row, words: Sequence[_Word], start: float, end: float) -> Row:
    scores = [word.entry["score"] for word in words if word.entry["score"] is not None and math.isfinite(word.entry["score"])]
    return row | {
        "segment_id": segment_id(row["recording_id"], start, end),
        "start": start,
        "end": end,
        "duration": round(end - start, 3),
        "words": [word.entry | {"start": word.start / 1000, "end": word.end / 1000} for word in words],
        "align_score": statistics.fmean(scores) if scores else None,
        "window_id": row["segment_id"],
    }
