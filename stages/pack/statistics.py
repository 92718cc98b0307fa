"""What the card says beyond counts, read from the finished index: how long segments are, how sure their labels, what is missing.

Only the few columns that it takes are read, batch by batch: memory does not grow with the release, except by its channels.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.store import Store
from stages.pack.licences import UNKNOWN, terms

SECONDS, LONGEST = 1.0, 30
"""Width of a bin of durations, and how many; the last one holds all that is longer."""
CONFIDENCES = 20
_BATCH = 65536
GAPS = ("channel", "speaker")
"""Columns that splits are made by: a sample without one may be in any of them."""
_READ = ("duration", "confidence", "letters_per_second", "split", "language", "audio_language", "licence", "channel")


def statistics(store: Store, index_path: str) -> dict[str, Any]:
    """Of the index of a release, plain values, for `release.json`: histograms in hours, expected WER by split, hours by language and split, hours by channel
    where a licence asks for credit, names of all columns and of those without a value, and in how many samples one of `GAPS` has none.

    The expected WER is the mean of 1 - `confidence` over the segments that have one, weighted by letters (`letters_per_second` times duration) where
    they were counted, else by seconds: as `silver what-if` does it.
    """
    tally = _Tally()
    with store.open(index_path) as handle:
        index = pq.ParquetFile(handle)
        for batch in index.iter_batches(batch_size=_BATCH, columns=[name for name in _READ if name in index.schema_arrow.names]):
            tally.add(batch)
        nulls, rows = _nulls(index), index.metadata.num_rows
        told = {
            "columns": index.schema_arrow.names,
            "empty_columns": sorted(name for name, count in nulls.items() if count == rows),
            "gaps": {name: nulls[name] for name in GAPS if 0 < nulls[name] < rows},
        }
    return tally.values() | told


class _Tally:
    def __init__(self) -> None:
        self.durations = np.zeros(LONGEST + 1)
        self.confidences = np.zeros(CONFIDENCES)
        self.sure: dict[str, npt.NDArray[np.float64]] = {}  # split to segments, seconds, weight, weight of the errors
        self.by_letters = False
        self.languages: Counter[tuple[str, str]] = Counter()
        self.credits: Counter[tuple[str, str]] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the samples of a batch of the index."""
        seconds = _numbers(batch, "duration")
        self.durations += np.bincount(np.minimum(seconds // SECONDS, LONGEST).astype(np.int64), seconds, LONGEST + 1)
        split = batch.column("split")
        spoken = _text(batch, "language", "audio_language")
        _sum(self.languages, spoken, split, batch)
        licences = _text(batch, "licence")
        credited = [text for text in pc.unique(licences).to_pylist() if (found := terms(text)) and found.attribution]
        if credited:
            chosen = pc.is_in(licences, pa.array(credited))
            _sum(self.credits, licences.filter(chosen), _text(batch, "channel").filter(chosen), batch.filter(chosen))
        if "confidence" in batch.schema.names:
            self._add_confidence(batch, seconds, split)

    def _add_confidence(self, batch: pa.RecordBatch, seconds: npt.NDArray[np.float64], split: pa.Array) -> None:
        confidence, weight = _numbers(batch, "confidence"), seconds
        if "letters_per_second" in batch.schema.names:
            self.by_letters = True
            weight = np.nan_to_num(_numbers(batch, "letters_per_second")) * seconds
        known = np.isfinite(confidence)
        place = np.clip(confidence[known] * CONFIDENCES, 0, CONFIDENCES - 1).astype(np.int64)
        self.confidences += np.bincount(place, seconds[known], CONFIDENCES)
        for name in pc.unique(split).to_pylist():
            own = known & pc.equal(split, name).to_numpy(zero_copy_only=False)
            sums = [own.sum(), seconds[own].sum(), weight[own].sum(), (weight[own] * (1 - confidence[own])).sum()]
            self.sure[name] = self.sure.get(name, np.zeros(4)) + np.array(sums)

    def values(self) -> dict[str, Any]:
        """What was counted."""
        found: dict[str, Any] = {
            "duration": {"bin_seconds": SECONDS, "hours": _hours(self.durations)},
            "language_split": _nested(self.languages),
            "credits": _nested(self.credits),
        }
        if self.confidences.any():
            found["confidence"] = {"bin": 1 / CONFIDENCES, "hours": _hours(self.confidences)}
            found["expected_wer"] = {
                name: {"segments": int(count), "hours": round(seconds / 3600, 4), "wer": round(errors / weight, 4)}
                for name, (count, seconds, weight, errors) in sorted((name, sums.tolist()) for name, sums in self.sure.items())
                if weight
            }
            found["expected_wer_weighted_by"] = "letters" if self.by_letters else "seconds"
        return found


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    """A column as float64, null as NaN."""
    return np.asarray(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _text(batch: pa.RecordBatch, *names: str) -> pa.Array:
    """The first of some columns that says something, else `UNKNOWN`; an empty text says nothing."""
    there = [batch.column(name) for name in names if name in batch.schema.names]
    return pc.coalesce(*(pc.if_else(pc.equal(column, ""), None, column) for column in there), UNKNOWN)


def _sum(into: Counter[tuple[str, str]], first: pa.Array, second: pa.Array, batch: pa.RecordBatch) -> None:
    """Add the seconds of each pair of values."""
    table = pa.table({"first": first, "second": second, "seconds": batch.column("duration")})
    for row in table.group_by(["first", "second"], use_threads=False).aggregate([("seconds", "sum")]).to_pylist():
        into[row["first"], row["second"]] += row["seconds_sum"]


def _nested(seconds: Counter[tuple[str, str]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (first, second), value in sorted(seconds.items()):
        found.setdefault(first, {})[second] = round(value / 3600, 4)
    return found


def _hours(seconds: npt.NDArray[np.float64]) -> list[float]:
    return [round(value / 3600, 4) for value in seconds.tolist()]


def _nulls(index: pq.ParquetFile) -> Counter[str]:
    """Samples without a value, by flat column, from the footer alone."""
    footer, nulls = index.metadata, Counter[str]()
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            column = footer.row_group(group).column(place)
            if "." not in column.path_in_schema and column.statistics is not None and column.statistics.has_null_count:
                nulls[column.path_in_schema] += column.statistics.null_count
    return nulls
