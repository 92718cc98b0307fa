"""What every alignment backend takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.contract import ItemError, PartContext


@dataclass(frozen=True)
class Character:
    """One spelled character (`*` for a wildcard): times and score as in `Word`."""

    character: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Word:
    """One written word: seconds in the recording; `score` is the mean frame probability, 0..1 (NaN: nothing to say).

    `spelled`, `heard` and `characters` are those of `manifests.schema.WORDS`; None of a backend that does not spell.
    """

    word: str
    start: float
    end: float
    score: float
    spelled: str | None = None
    heard: str | None = None
    characters: tuple[Character, ...] | None = None


@dataclass(frozen=True)
class Item:
    """One row to align, and the text to align it with, which is not empty."""

    row: Mapping[str, Any]
    text: str


class Backend(Protocol):
    """Built from the stage's parameters; `identity` runs on the driver before any work, `setup` once a worker."""

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""

    def setup(self, context: PartContext) -> None:
        """Load the model."""

    def align(self, items: Sequence[Item], context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item, in order, its words in order, or why it cannot be aligned. Never raises for one item."""
