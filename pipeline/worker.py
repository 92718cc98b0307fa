"""Takes one part through the stages of a worker, committing after each.

The engine hands a stage live rows only and carries the dropped ones past it. Whatever happens, `rows in + made = rows out` is checked here
for every part before it is committed, row by row.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from manifests.part import Counts, PartRef, part_path, read_part, read_ref, to_table, write_part
from manifests.schema import Row, extend
from manifests.store import Store
from pipeline.contract import ExpandingStage, PartContext, RowStage, SilverError
from pipeline.fingerprint import part_key

RETRIES = 3
FINAL_ERRNO = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EDQUOT}
"""I/O errors that trying again does not mend."""
MINIMUM_ERRORS = 5
"""A part must have this many item errors before their share can fail it: one bad segment of two says nothing of a model."""


@dataclass(frozen=True)
class Step:
    """One stage as a worker needs it."""

    stage: RowStage
    own: str
    folder: str
    older: tuple[str, ...]
    """Folders of the stage's older manifests: a part with the same key there is the same part."""


@dataclass(frozen=True)
class Made:
    """What became of one part in one stage."""

    stage: str
    index: int
    ref: PartRef
    seconds_taken: float
    errors: int
    fresh: bool  # False: it was there already, or taken over from an older manifest
    worker: str = ""  # host:process

    @property
    def audio_seconds(self) -> float:
        """Audio that came in. Until a recording is decoded its length is not known: then what came out."""
        return self.ref.counts.seconds_in or self.ref.counts.seconds


@dataclass(frozen=True)
class Failed:
    """A part that could not be made, and all that came after it."""

    stage: str
    index: int
    path: str
    message: str
    trace: str


class Chain:
    """The stages of one worker. Built once, then called for part after part; models load before the first part that needs them."""

    def __init__(self, store: Store, steps: Sequence[Step], device: str, threads: int) -> None:
        self.store, self.steps, self.device, self.threads = store, steps, device, threads
        self._ready: set[str] = set()
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, index: int, ref: PartRef, start: int, report: Callable[[Made], None]) -> tuple[list[Made], Failed | None]:
        """Take part `index` through `steps[start:]`. An error ends it at that stage; what was committed before stays."""
        made: list[Made] = []
        context = PartContext(self.store, device=self.device, threads=self.threads)
        table: pa.Table | None = None
        for step in self.steps[start:]:
            began = time.monotonic()
            try:
                done, table = self._step(step, ref, table, context)
            except Exception as error:  # noqa: BLE001 - whatever a stage raises fails this part, is reported, and leaves the others alone
                message = str(error) if isinstance(error, SilverError) else f"{type(error).__name__}: {error}"
                return made, Failed(step.stage.name, index, ref.path, message, traceback.format_exc())
            made.append(Made(step.stage.name, index, done, time.monotonic() - began, context.errors, table is not None, self._worker))
            report(made[-1])
            ref = done
        return made, None

    def _step(self, step: Step, ref: PartRef, table: pa.Table | None, context: PartContext) -> tuple[PartRef, pa.Table | None]:
        key = part_key(step.own, ref.digest)
        path = part_path(step.folder, key)
        for folder in (step.folder, *step.older):
            if self.store.exists(part_path(folder, key)):
                if folder != step.folder:
                    self.store.copy(part_path(folder, key), path)
                return read_ref(self.store, path), None
        for attempt in range(1, RETRIES + 1):
            try:
                if step.stage.name not in self._ready:
                    step.stage.setup(context)
                    self._ready.add(step.stage.name)
                before = read_part(self.store, ref) if table is None else table
                after, counts = apply(step.stage, before, ref.counts, context)
                return write_part(self.store, step.folder, key, after, counts), after
            except OSError as error:
                if attempt == RETRIES or error.errno in FINAL_ERRNO:
                    raise
                time.sleep(2.0**attempt)
        raise AssertionError("unreachable")


def apply(stage: RowStage, before: pa.Table, counts: Counts, context: PartContext) -> tuple[pa.Table, Counts]:
    """One stage over one part: live rows through the stage, dropped rows past it, every row accounted for.

    Raises:
        SilverError: the stage broke its contract, or too many of its rows failed.
    """
    rows: list[Row] = before.to_pylist()
    live = [row for row in rows if row["drop_reason"] is None]
    context.errors, context.schema = 0, before.schema
    results = stage.apply(live, context) if live else []
    if context.errors >= MINIMUM_ERRORS and context.errors > stage.error_limit * len(live):
        example = next(row for children in results for row in children if row.get("drop_reason"))
        raise SilverError(
            f"{context.errors} of {len(live)} rows failed in {stage.name} (limit {stage.error_limit:.0%}), for instance "
            f"{example.get('segment_id') or example['source_uri']}: {example['drop_reason']}: {example.get('drop_detail')}"
        )
    _check(stage, live, results)
    following = iter(results)
    after: list[Row] = []
    for row in rows:
        if row["drop_reason"] is not None:
            after.append(row)
        else:
            after += [child | {"drop_stage": stage.name} if child.get("drop_reason") is not None else child for child in next(following)]
    keys = [(row["source_id"], row["segment_id"]) for row in after]
    if len(set(keys)) != len(keys):
        double = next(key for key in keys if keys.count(key) > 1)
        raise SilverError(f"{stage.name} made two rows with the identity {double}")
    table = to_table(after, extend(before.schema, stage.adds))
    after_counts = Counts.of(after, counts)
    return table, after_counts


def _check(stage: RowStage, live: list[Row], results: list[list[Row]]) -> None:
    if len(results) != len(live):
        raise SilverError(f"{stage.name} was given {len(live)} rows and answered for {len(results)}")
    expands = isinstance(stage, ExpandingStage)
    for row, children in zip(live, results, strict=True):
        name = row["segment_id"] or row["source_uri"]
        if not children or (len(children) > 1 and not expands):
            raise SilverError(f"{stage.name} answered with {len(children)} rows for {name}")
        for child in children:
            if child["source_id"] != row["source_id"] or (not expands and child["segment_id"] != row["segment_id"]):
                raise SilverError(f"{stage.name} answered for {name} with another row, {child['segment_id'] or child['source_uri']}")


def to_wire(value: Made | Failed) -> dict[str, Any]:
    """Plain values, to travel through Ray."""
    return {**vars(value), "ref": value.ref.to_json()} if isinstance(value, Made) else dict(vars(value))


def from_wire(value: dict[str, Any]) -> Made | Failed:
    """The inverse of `to_wire`."""
    return Made(**(value | {"ref": PartRef.from_json(value["ref"])})) if "ref" in value else Failed(**value)
