"""What a student has learned, and the student that it began with, and so on: the gold must be held out from all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.corpus import CURRENT
from manifests.store import Store
from stages.heldout.leaks import check
from stages.heldout.sets import HeldOut
from stages.train.loop import TEXTS
from stages.train.student import RECORD

TRAINING = "training.json"
"""File of a student's folder that says how it was trained, and which student its round goes on with; written last."""
Place = tuple[Store, str]
"""A corpus, and the folder of a student in it."""


def place(folder: Path) -> Place:
    """A student's folder, `<root>/models/<section>/<key>`, as it lies in its corpus."""
    root = folder.parents[2] if len(folder.parts) > 3 else folder.parent
    return Store(str(root)), folder.relative_to(root).as_posix()


def student_in(model: str | None) -> Path | None:
    """The folder of the student that a model to begin with is (itself, or the one that is published in it); None if it is none."""
    if not model or "/" not in model or not Path(model).is_dir():  # else it is a name
        return None
    return next((folder for folder in (Path(model), Path(model).parent) if (folder / RECORD).is_file()), None)


def hold_out(
    begun: Place | None,
    sets: Sequence[HeldOut],
    report: Callable[[str], None],
    each: Callable[..., Iterable[Any]] = map,
) -> None:
    """Compare some sets with all that a student has learned; see `learned`. Small leaks are reported.

    Raises:
        SilverError: something of a set was learned.
    """
    for store, rows in learned(begun, report):
        for path, small in check(rows.to_pylist(), sets, store, each).items():
            for leak in small:
                report(f"{path}: {leak}")


def learned(begun: Place | None, report: Callable[[str], None]) -> Iterator[tuple[Store, pa.Table]]:
    """What a student and those before it have learned, by corpus, as far back as their folders can be reached; `report` is told where that ended."""
    while begun is not None:
        store, folder = begun
        training = json.loads(store.read(f"{folder}/{TRAINING}")) if store.exists(f"{folder}/{TRAINING}") else {}
        if "source" in training:  # a copy that `start` brought into this corpus
            begun = place(Path(training["source"]))
            continue
        if not store.exists(CURRENT) or not store.exists(f"{folder}/{TEXTS}"):
            report(
                f"{store.uri(folder)} does not lie in its corpus, so it cannot be told whether the gold is held out from what it, and any student before it, has learned"
            )
            return
        with store.open(f"{folder}/{TEXTS}") as handle:
            table = pq.read_table(handle)
        for root in table.column("corpus").unique().to_pylist():
            where = Store(root) if root else store
            if where.exists(CURRENT):
                yield where, table.filter(pc.equal(table.column("corpus"), root))
            else:
                report(
                    f"{store.uri(folder)} has learned of {root}, which is gone, so it cannot be told whether the gold is held out from that"
                )
        if "start" not in training:
            report(
                f"{store.uri(folder)} does not say what it began with (it was trained by an older version): what lies before it is not known"
            )
            return
        begun = (store, training["start"]) if training["start"] else _model(store, folder, report)


def _model(store: Store, folder: str, report: Callable[[str], None]) -> Place | None:
    """The student whose weights were the model to begin with, if it was one."""
    model = json.loads(store.read(f"{folder}/{RECORD}")).get("model")
    if before := student_in(model):
        return place(before)
    report(f"the gold was compared with all that was learned back to {store.uri(folder)}, which began with {model or 'nothing'}")
    return None
