"""Runs the stages of a recipe over a root, from where the last run stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from manifests.corpus import CURRENT
from manifests.part import Counts, PartRef, read_part, write_part
from manifests.schema import Row
from manifests.store import Store
from pipeline import conservation
from pipeline.contract import CorpusContext, CorpusStage, RowStage, SilverError
from pipeline.executors import Executor
from pipeline.fingerprint import digest, inputs_digest, part_key, software
from pipeline.lock import RootLock
from pipeline.plan import Node, Todo, blocks, outstanding, resolve, select, survey
from pipeline.progress import Progress
from pipeline.recipe import Recipe
from pipeline.runlog import RunLog
from pipeline.worker import Failed, Made

FAILED_PARTS = 5
"""So many failed parts, and more than a fifth of those that were tried, end the run: it is not the data."""
ERROR_ROWS = 50
"""Item errors of a stage over the whole run are judged against its limit from this many on (small parts escape the limit of one part)."""


@dataclass
class Result:
    """What a run did."""

    nodes: list[Node]
    made: dict[str, int] = field(default_factory=dict)
    """Parts made, by stage; empty when there was nothing to do."""
    failed: list[Failed] = field(default_factory=list)


def run(
    recipe: Recipe,
    executor: Executor,
    progress: Progress,
    *,
    only: str | None = None,
    first: str | None = None,
    last: str | None = None,
    strict: bool = False,
) -> Result:
    """Bring the selected stages up to date. What is done already is not done again.

    Raises:
        SilverError: something ended the run; the message names the stage and the part. All committed parts stay.
    """
    store = Store(recipe.header.root)
    nodes = resolve(recipe, store, strict=strict)
    chosen = select(nodes, only, first, last)
    with RootLock(store):
        store.clean_temporary()
        job = _Job(recipe, store, executor, progress, RunLog(store), Result(nodes))
        job.log.text("recipe.yaml", recipe.to_yaml())
        current = [{"stage": node.name, "fingerprint": node.manifest.fingerprint} for node in nodes]
        store.write(
            CURRENT, json.dumps({"recipe": recipe.header.name, "language": recipe.header.language, "stages": current}, indent=1).encode()
        )
        try:
            job.run([nodes[index] for index in chosen], nodes[chosen.start - 1] if chosen.start else None)
        except BaseException as error:
            job.log.event("end", outcome="failed", message=str(error) or type(error).__name__)
            raise
        finally:
            job.figures()
        job.log.event("end", outcome="done")
        store.clean_temporary()
    return job.result


@dataclass
class _Job:
    recipe: Recipe
    store: Store
    executor: Executor
    progress: Progress
    log: RunLog
    result: Result

    def run(self, nodes: Sequence[Node], upstream: Node | None) -> None:
        self.log.event("start", stages=[node.name for node in nodes], recipe=self.recipe.source)
        if upstream is not None and not upstream.manifest.success:
            raise SilverError(
                f"{nodes[0].name} needs {upstream.name}, which has not finished with these parameters; run with --from {upstream.name}"
            )
        for node in nodes:
            node.stage.check(self.store, partial(self.progress.note, node.name), self.executor.map)
        inputs = upstream.manifest.listed if upstream else []
        for block in blocks(nodes):
            first = survey(block[0], inputs, partial(self.executor.map, light=block[0].stage.light))
            inputs = self._corpus(first, inputs) if isinstance(first.stage, CorpusStage) else self._parts([first, *block[1:]], inputs)
        conservation.check(self.result.nodes[: self.result.nodes.index(nodes[-1]) + 1])

    def _begin(self, node: Node, parts: int) -> None:
        self.progress.start(node.name, parts)
        found = node.stage.surveyed if isinstance(node.stage, RowStage) else None
        info = node.manifest.info()
        if not info:
            created = datetime.now(UTC).isoformat(timespec="seconds")
            info = {**node.made_of, "created": created, "software": software(node.stage), "recipe": self.recipe.source}
        elif info.get("surveyed") == found:
            return
        node.manifest.write_info(info if found is None else {**info, "surveyed": found})

    def _made(self, made: Made) -> None:
        self.progress.made(made)
        if made.fresh:
            counts = made.ref.counts
            self.log.event(
                "part", stage=made.stage, part=made.ref.key, rows=counts.rows, live=counts.live, seconds=round(counts.seconds, 3),
                took=round(made.seconds_taken, 3), errors=made.errors, worker=made.worker,
            )  # fmt: skip

    # -- part stages ------------------------------------------------------------------------------------------------

    def _parts(self, block: Sequence[Node], inputs: list[PartRef]) -> list[PartRef]:
        todo, done = outstanding(block, inputs)
        todo = self._adopt(block, todo, done)
        for position, node in enumerate(block):
            self._begin(node, sum(1 for item in todo if item.start <= position))
        if todo:
            names = {node.name: position for position, node in enumerate(block)}
            outcomes = self.executor.run_parts(self.store, block, todo, self._made)
            for tried, (made, failed) in enumerate(outcomes, 1):
                for result in made:
                    done[names[result.stage]][result.index] = result.ref
                    if result.fresh:
                        self.result.made[result.stage] = self.result.made.get(result.stage, 0) + 1
                if failed:
                    self.result.failed.append(failed)
                    self.log.event("failed", **vars(failed))
                    self.progress.line(f"{failed.stage} failed on {failed.path}: {failed.message}")
                    if len(self.result.failed) >= FAILED_PARTS and len(self.result.failed) > tried / 5:
                        self._raise_failed(" of the first " + str(tried))
                self._check_errors(block)
        for node, refs in zip(block, done, strict=True):
            if all(ref is not None for ref in refs):
                finished = [ref for ref in refs if ref is not None]
                if not node.manifest.success or [ref.key for ref in node.manifest.listed] != [ref.key for ref in finished]:
                    node.manifest.finish(finished, inputs_digest(inputs))
        if self.result.failed:
            self._raise_failed("")
        return [ref for ref in done[-1] if ref is not None]

    def _adopt(self, block: Sequence[Node], todo: list[Todo], done: list[list[PartRef | None]]) -> list[Todo]:
        """Take over parts that an older manifest of the stage holds under the same key."""
        left = []
        for item in todo:
            ref, position = item.ref, item.start
            while position < len(block):
                node = block[position]
                key = part_key(node.own, ref.digest)
                if key not in node.existing:
                    if key not in node.elsewhere:
                        break
                    self.store.copy(node.elsewhere[key], f"{node.manifest.folder}/part-{key}.parquet")
                    node.__dict__.pop("existing")
                ref = node.existing[key]
                done[position][item.index] = ref
                position += 1
            if position < len(block):
                left.append(Todo(item.index, ref, position))
        return left

    def _check_errors(self, block: Sequence[Node]) -> None:
        for node in block:
            stage = self.progress.stages[node.name]
            limit = getattr(node.stage, "error_limit", 1.0)
            if stage.errors >= ERROR_ROWS and stage.errors > limit * (stage.live + stage.dropped):
                raise SilverError(
                    f"{stage.errors} of {stage.live + stage.dropped} rows failed in {node.name} so far (limit {limit:.0%}): stopping before a broken "
                    f"model or setting drops the corpus. See the reasons: silver rows {self.store.root} --where \"drop_stage = '{node.name}'\""
                )

    def _raise_failed(self, which: str) -> None:
        failed = self.result.failed
        lines = [f"  {item.stage} on {item.path}: {item.message}" for item in failed[:5]]
        more = f"\n  and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise SilverError(
            f"{len(failed)} part(s){which} failed; all others are committed, and the next run goes on from there.\n"
            + "\n".join(lines) + more + f"\nTracebacks: {self.store.uri(self.log.folder)}/events.jsonl"
        )  # fmt: skip

    # -- corpus stages ----------------------------------------------------------------------------------------------

    def _corpus(self, node: Node, inputs: list[PartRef]) -> list[PartRef]:
        stage = node.stage
        if not isinstance(stage, CorpusStage):
            raise TypeError(node.name)
        listed = node.manifest.listed
        context = CorpusContext(
            store=self.store,
            previous=self._previous(node),
            part_seconds=self.recipe.header.part_minutes * 60,
            fingerprint=node.manifest.fingerprint,
            recipe=self.recipe.plain,
            map=self.executor.map,
            together=self.executor.together,
            report=lambda text: self.progress.note(node.name, text),
        )
        given = inputs_digest(inputs)
        if inputs and node.manifest.success.get("inputs") == given and stage.is_complete(context):
            self._begin(node, 0)
            return listed
        self._begin(node, len(inputs))
        parts: list[PartRef] = []
        known = {ref.key for ref in context.previous}
        with _timed() as clock:
            for position, item in enumerate(stage.run(inputs, context)):
                if isinstance(item, PartRef):
                    parts.append(item)
                    continue
                before = inputs[position].counts if inputs else None
                ref = self._commit(node, item, digest([given, position]) if inputs else "", before)
                parts.append(ref)
                if ref.key not in known:
                    self.result.made[node.name] = self.result.made.get(node.name, 0) + 1
                    self._made(Made(node.name, position, ref, clock(), 0, fresh=True))
        if not node.manifest.success or parts != listed or node.manifest.success["inputs"] != given:
            node.manifest.finish(parts, given)
        kept = {ref.path for ref in parts}
        for name in self.store.names(node.manifest.folder):
            path = f"{node.manifest.folder}/{name}"
            if name.startswith("part-") and path not in kept:
                self.store.remove(path)  # replaced by the parts just listed
        return parts

    def _previous(self, node: Node) -> list[PartRef]:
        """Parts of the finished manifest, and those that a killed run committed after it (unless they repeat rows of the list)."""
        listed = list(node.manifest.listed)
        unlisted = [ref for key, ref in sorted(node.existing.items()) if key not in {ref.key for ref in listed}]
        if not unlisted:
            return listed
        known = {source for ref in listed for source in _sources(self.store, ref)}
        for ref in unlisted:
            if not known.intersection(sources := _sources(self.store, ref)):
                listed.append(ref)
                known.update(sources)
        return listed

    def _commit(self, node: Node, table: pa.Table, key_of: str, before: Counts | None) -> PartRef:
        rows: list[Row] = table.to_pylist()
        for row in rows:
            if row["drop_reason"] is not None and row["drop_stage"] is None:
                row["drop_stage"] = node.name
        table = pa.table([pa.array([row[column.name] for row in rows], type=column.type) for column in table.schema], schema=table.schema)
        counts = Counts.of(rows, before)
        key = part_key(node.own, key_of or digest(rows))
        existing = node.existing.get(key)
        return existing if existing and not key_of else write_part(self.store, node.manifest.folder, key, table, counts)

    def figures(self) -> None:
        """Write what this run measured; `silver plan` estimates from it."""
        stages = {
            name: {
                "parts": s.parts_done,
                "rows": s.rows,
                "audio_seconds": s.audio_seconds,
                "worker_seconds": s.worker_seconds,
                "errors": s.errors,
            }
            for name, s in self.progress.stages.items()
        }
        self.log.text("figures.json", json.dumps({"stages": stages}, indent=1))


def _sources(store: Store, ref: PartRef) -> list[str]:
    values: list[str] = read_part(store, ref, ["source_id"]).column(0).to_pylist()
    return values


@contextmanager
def _timed() -> Iterator[Any]:
    import time

    last = time.monotonic()

    def lap() -> float:
        nonlocal last
        now = time.monotonic()
        taken, last = now - last, now
        return taken

    yield lap
