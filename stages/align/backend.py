"""What every alignment backend takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.contract import ItemError, PartContext
from stages.audio import Samples


@dataclass(frozen=True)
class Word:
    """One written word: seconds in the recording; `score` is the mean frame probability, 0..1."""

    word: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Item:
    """One segment to align. `row` is its whole row; `samples` are its audio, 16 kHz, shape (n,); `row["text_raw"]` its label."""

    row: Mapping[str, Any]
    samples: Samples


class Backend(Protocol):
    """Built from the stage's parameters; `identity` runs on the driver before any work, `setup` once a worker."""

    def identity(self) -> Mapping[str, str]:
        """Revision of the model. Raises SilverError when it is missing."""

    def setup(self, context: PartContext) -> None:
        """Load the model."""

    def align(self, items: Sequence[Item], context: PartContext) -> Iterator[list[Word] | ItemError]:
        """For each item, in order, its words in order, or why it cannot be aligned. Never raises for one item."""
