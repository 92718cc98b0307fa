"""relabel: what the student of the round before writes for every segment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from manifests.schema import LABELS, Row
from manifests.store import Store
from pipeline.contract import ItemError, PartContext, PartStage, StageParams, operational
from stages import whisper
from stages.train import student
from stages.transcribe.labeller import Hypothesis, compression_ratio


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
        results: list[Hypothesis | ItemError | None] = [whisper.too_long(row) for row in rows]
        order = sorted((i for i, result in enumerate(results) if result is None), key=lambda i: rows[i]["start"] - rows[i]["end"])
        for index, written in zip(order, labeller.label([rows[index] for index in order], context), strict=True):
            results[index] = written
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Hypothesis):
                yield self._written(row, name, result)
            elif result is not None:
                yield context.item_error(row, result)

    def _written(self, row: Row, name: str, hypothesis: Hypothesis) -> Row:
        text = " ".join(hypothesis.text.split())
        label = {
            "labeller": origin(name),
            "text": text,
            "scores": hypothesis.scores,
            "avg_logprob": hypothesis.avg_logprob,
            "no_speech_prob": hypothesis.no_speech_prob,
            "compression_ratio": compression_ratio(text),
        }
        return row | {"labels": [*row["labels"], label], "student_text": text, "student_avg_logprob": hypothesis.avg_logprob}


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
    folder = Path(store.path(name)) if store.local else Path(tempfile.mkdtemp(prefix="silver-student-"))
    if not store.local:
        store.fs.get(store.path(name), str(folder), recursive=True)
    found = student.labeller(folder, batch_size)
    found.setup(PartContext(store, device=device, threads=threads))
    return found
