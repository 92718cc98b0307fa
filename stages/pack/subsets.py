"""Nested subsets of train, as GigaSpeech has them: XS within S within M, each with its hours and a rule of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from stages.rules import When, columns, holds

SHORT = 0.95
"""A subset with less than this share of the hours that it was asked for is pointed out."""


class Subset(BaseModel):
    """One of them. What is in it is in every larger one, so the rules of the larger ones hold for it too."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,15}$", description="its name, such as XS")
    hours: float | None = Field(None, gt=0, description="hours at most; none: all that the rule lets in")
    when: When = Field(
        None, description="DuckDB expression over a row's columns, such as `confidence >= 0.96` (an expected WER of 4 % at most)"
    )


def lacking(asked: float | None, hours: float) -> bool:
    """Whether a subset that was asked for so many hours has clearly less.

    >>> lacking(10, 9.6), lacking(10, 4), lacking(None, 4)
    (False, True, False)
    """
    return asked is not None and hours < SHORT * asked


def rule_columns(subsets: Sequence[Subset]) -> list[str]:
    """What the rules read."""
    return list(dict.fromkeys(name for subset in subsets if subset.when for name in columns("when", subset.when)))


def eligible(subsets: Sequence[Subset], table: pa.Table) -> list[int]:
    """Of each row a number whose bit n says that the rule of subset n holds."""
    rows = table.select(rule_columns(subsets)).to_pylist() or [{}] * len(table)
    found = [0] * len(table)
    for number, subset in enumerate(subsets):
        for index, well in enumerate(holds(f"pack.subsets.{subset.name}", subset.when, rows, table.schema)):
            found[index] |= well << number
    return found


def levels(
    hours: Sequence[float | None],
    seconds: npt.NDArray[np.float64],
    group: npt.NDArray[np.int32],
    fit: npt.NDArray[np.uint32],
    train: npt.NDArray[np.bool_],
    earlier: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Of each sample the number of the smallest subset that it is in; `len(hours)` if none.

    Samples come in the order of the release, `hours` from the smallest subset on. Of every `group` the same time is taken as long as it has any (the
    group that has the least so far is next), so that a channel with much audio does not crowd out the others. What was in a
    subset of the release before (`earlier`) is taken first.

    >>> levels([2 / 3600, None], np.ones(6), np.array([0, 0, 0, 0, 1, 1]), np.full(6, 3), np.array([True] * 5 + [False]))
    array([0, 1, 1, 1, 0, 2])
    """
    count = len(hours)
    found = np.full(len(seconds), count)
    within = train.copy()
    allowed = []
    for number in reversed(range(count)):
        within = within & (fit >> number & 1).astype(bool)
        allowed.append(within)
    for number, limit in enumerate(hours):
        some = np.flatnonzero(allowed[count - 1 - number] & (found == count))
        inside = found < count
        had = np.bincount(group[inside], seconds[inside], minlength=int(group.max(initial=0)) + 1)
        new = np.full(len(some), True) if earlier is None else earlier[some] > number
        order = np.lexsort((np.arange(len(some)), new, group[some]))
        within_group = some[order]
        ends = np.cumsum(seconds[within_group])
        begins = np.searchsorted(group[within_group], np.arange(len(had)))
        before = ends - seconds[within_group] - np.concatenate([[0.0], ends])[begins][group[within_group]] + had[group[within_group]]
        by_need = within_group[np.lexsort((within_group, before, new[order]))]
        room = np.inf if limit is None else limit * 3600 - float(seconds[inside].sum())
        found[by_need[np.cumsum(seconds[by_need]) <= room + 1e-6]] = number
    return found
