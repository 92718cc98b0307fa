"""`silver plan`: what a run would do, why, and how long it may take at the rates of earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.corpus import total
from manifests.part import PartRef
from manifests.store import Store
from pipeline.contract import CorpusStage
from pipeline.fingerprint import part_key
from pipeline.plan import Node, upgraded, why
from pipeline.progress import duration
from pipeline.runlog import rates


def forecast(nodes: Sequence[Node], store: Store) -> list[dict[str, Any]]:
    """One row a stage: state (`up to date`, `stale`, `new`), why, parts done and in all, hours left, time left for one worker."""
    known = rates(store)
    table = []
    inputs: list[PartRef | None] = []
    for position, node in enumerate(nodes):
        made = _made(node, inputs, first=position == 0)
        left = [given for given, part in zip(inputs, made, strict=False) if part is None] if position else []
        finished = bool(node.manifest.success) and not left
        seconds = sum(given.counts.seconds for given in left if given) + _unknown(left, inputs)
        rate = known.get(node.name)
        note = upgraded(node)
        table.append(
            {
                "stage": node.name,
                "state": "up to date" if finished else "stale" if node.older else "new",
                "why": _why(node, position, finished=finished, left=len(left), note=note),
                "parts": f"{sum(part is not None for part in made)}/{max(len(inputs), len(made))}",
                "hours_left": round(seconds / 3600, 3) if left else 0.0,
                "time_left": "" if not left else duration(seconds * rate) if rate is not None else "no rate yet",
            }
        )
        inputs = made
    return table


def _made(node: Node, inputs: Sequence[PartRef | None], *, first: bool) -> list[PartRef | None]:
    if first:
        return list(node.manifest.parts())
    if isinstance(node.stage, CorpusStage):
        from pipeline.run import inputs_digest

        known = [ref for ref in inputs if ref is not None]
        same = len(known) == len(inputs) and node.manifest.success.get("inputs") == inputs_digest(known)
        return list(node.manifest.listed) if same else [None] * len(inputs)
    return [None if ref is None else node.existing.get(part_key(node.own, ref.digest)) for ref in inputs]


def _unknown(left: Sequence[PartRef | None], inputs: Sequence[PartRef | None]) -> float:
    """Seconds in parts that are not made yet, taken as long as the ones that are."""
    known = [ref for ref in inputs if ref is not None]
    each = total(known).seconds / len(known) if known else 0.0
    return each * sum(1 for ref in left if ref is None)


def _why(node: Node, position: int, *, finished: bool, left: int, note: str) -> str:
    if finished:
        reason = "looks for new sources at each run" if position == 0 else ""
    elif node.manifest.info():
        reason = f"{left} part(s) not made yet" if left else "not finished"
    else:
        reason = why(node)
    return "; ".join(part for part in (reason, f"made with other versions: {note}" if note else "") if part)
