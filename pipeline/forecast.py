"""`silver plan`: what a run would do, why, and how long it may take at the rates of earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.part import PartRef
from manifests.store import Store
from pipeline.contract import CorpusStage
from pipeline.fingerprint import inputs_digest, part_key
from pipeline.plan import Node, survey, upgraded, why
from pipeline.progress import duration
from pipeline.runlog import rates


def forecast(nodes: Sequence[Node], store: Store) -> list[dict[str, Any]]:
    """One row a stage: state (`up to date`, `stale`, `new`), why, parts done and in all, hours left, time left for one worker."""
    known = rates(store)
    table = []
    inputs: list[PartRef | None] = []
    seconds: list[float] = []  # of audio that go into each part's next stage; what is not made yet counts as long as what it is made of
    for position, node in enumerate(nodes):
        made = _made(node, inputs, first=position == 0)
        left = [length for length, part in zip(seconds, made, strict=False) if part is None]
        finished = bool(node.manifest.success) and not left
        rate = known.get(node.name)
        table.append(
            {
                "stage": node.name,
                "state": "up to date" if finished else "stale" if node.older else "new",
                "why": _why(node, position, finished=finished, left=len(left), note=upgraded(node)),
                "parts": f"{sum(part is not None for part in made)}/{max(len(inputs), len(made))}",
                "hours_left": round(sum(left) / 3600, 3),
                "time_left": "" if not left else duration(sum(left) * rate) if rate is not None else "no rate yet",
            }
        )
        seconds = [part.counts.seconds if part else before for part, before in zip(made, seconds or [0.0] * len(made), strict=True)]
        inputs = made
    return table


def _made(node: Node, inputs: Sequence[PartRef | None], *, first: bool) -> list[PartRef | None]:
    if first:
        return list(node.manifest.parts())
    if isinstance(node.stage, CorpusStage):
        known = [ref for ref in inputs if ref is not None]
        same = len(known) == len(inputs) and node.manifest.success.get("inputs") == inputs_digest(known)
        return list(node.manifest.listed) if same else [None] * len(inputs)
    if all(ref is not None for ref in inputs):
        node = survey(node, [ref for ref in inputs if ref is not None])
    return [None if ref is None else node.existing.get(part_key(node.own, ref.digest)) for ref in inputs]


def _why(node: Node, position: int, *, finished: bool, left: int, note: str) -> str:
    if finished:
        reason = "looks for new sources at each run" if position == 0 else ""
    elif node.manifest.info():
        reason = f"{left} part(s) not made yet" if left else "not finished"
    else:
        reason = why(node)
    return "; ".join(part for part in (reason, f"made with other versions: {note}" if note else "") if part)
