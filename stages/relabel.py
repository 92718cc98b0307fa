"""relabel: what the student of the round before writes for every segment."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa

from manifests.schema import LABELS, Row
from manifests.store import Store
from pipeline.contract import ItemError, PartContext, PartStage, StageParams, operational
from stages.train import student
from stages.transcribe.labeller import as_label, labelled


class Relabel(PartStage):
    """The text of each segment by the student that `train` named in its row, decoded without noise; one more of its `labels`."""

    name, version = "relabel", "1"
    reads: ClassVar[tuple[str, ...]] = ("audio_path", "start", "end", "language", "labels", "student")
    adds = pa.schema([("labels", LABELS), ("student_text", pa.string()), ("student_avg_logprob", pa.float32())])
    accelerated = True
    packages = ("torch", "ctranslate2", "faster-whisper")

    class Params(StageParams):
        """How fast."""

        batch_size: int = operational(8, "segments that are decoded together", ge=1)

    params: Params

    def process(self, rows: list[Row], context: PartContext) -> Iterable[Row]:
        """Decode the part, the longest first."""
        if not rows:
            return
        name = rows[0]["student"]  # the same in all rows of a manifest
        labeller = _labeller(context.store.root, name, context.device, context.threads, self.params.batch_size)
        for row, result in zip(rows, labelled(labeller, rows, context), strict=True):
            if isinstance(result, ItemError):
                yield context.item_error(row, result)
            else:
                label = as_label(origin(name), result)
                told = {"student_text": label["text"], "student_avg_logprob": label["avg_logprob"]}
                yield row | {"labels": [*row["labels"], label]} | told


def origin(name: str) -> str:
    """What a student is called among the labellers.

    >>> origin("models/train_1/0123456789abcdef")
    'student/train_1/01234567'
    """
    _, section, key = name.split("/")
    return f"student/{section}/{key[:8]}"


@lru_cache(maxsize=1)
def _labeller(root: str, name: str, device: str, threads: int, batch_size: int) -> Any:
    """Loaded once a worker, though the rows only tell which it is."""
    store = Store(root)
    folder = student.on_this_machine(store, name)
    found = student.labeller(folder, batch_size)
    with student.whole(folder):
        found.setup(PartContext(store, device=device, threads=threads))
    return found
