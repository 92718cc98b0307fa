"""What every labeller takes and gives."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from manifests.schema import Row
from pipeline.contract import ItemError, PartContext
from stages.whisper import language_code, too_long


@dataclass(frozen=True)
class Hypothesis:
    """What a labeller wrote for one window. Probabilities that it does not give are None."""

    text: str
    avg_logprob: float | None = None  # mean natural log-probability of a token, the end of text among them
    no_speech_prob: float | None = None
    scores: tuple[float, ...] | None = None  # probability of each of the `written_words` of the text


class Labeller(Protocol):
    """Built from the stage's parameters; `identity` runs on the driver before any work, `setup` once a worker."""

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""

    def setup(self, context: PartContext) -> None:
        """Load the model."""

    def label(self, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
        """For each row (a window of at most 30 s), in order, its text, or why there is none. Never raises for one row."""


def labelled(labeller: Labeller, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
    """What the labeller writes for each row, in order. It gets the longest first: those of a batch then end at about the same time."""
    refused = [too_long(row) for row in rows]
    order = sorted((i for i, reason in enumerate(refused) if reason is None), key=lambda i: rows[i]["start"] - rows[i]["end"])
    written = dict(zip(order, labeller.label([rows[index] for index in order], context), strict=True))
    return [written[index] if reason is None else reason for index, reason in enumerate(refused)]


def as_label(origin: str, hypothesis: Hypothesis) -> dict[str, Any]:
    """An entry of the column `labels`, white space in its text reduced to single spaces."""
    text = " ".join(hypothesis.text.split())
    return {
        "labeller": origin,
        "text": text,
        "scores": hypothesis.scores,
        "avg_logprob": hypothesis.avg_logprob,
        "no_speech_prob": hypothesis.no_speech_prob,
        "compression_ratio": compression_ratio(text),
    }


def language_of(row: Mapping[str, Any]) -> str | None:
    """Whisper's code of the language to write a row in: the expected one, else the one that was heard, else None (to be detected)."""
    return language_code(row["language"]) if row["language"] else row.get("audio_language")


def unknown_language(code: str, model: str) -> ItemError:
    """Why a row is not transcribed: the model does not write its language, and must not write another in its place."""
    return ItemError("language_unknown", f"the model {model} does not write the language {code!r}")


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of the deflated text: above 2.4 it goes round in circles (the threshold of OpenAI's Whisper).

    >>> compression_ratio("no, " * 50) > 2.4 > compression_ratio("He read the letter twice before he put it away.")
    True
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data))
