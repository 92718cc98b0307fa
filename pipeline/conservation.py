"""The check that never goes away: every row that was ever made is there, alive or dropped with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.corpus import total
from manifests.part import PartRef
from pipeline.contract import ExpandingStage, SilverError
from pipeline.plan import Node


def check(nodes: Sequence[Node]) -> None:
    """Compare every finished manifest with the one before it, part by part.

    Raises:
        SilverError: rows are missing or were made out of nothing; the message names stage and part.
    """
    before: list[PartRef] | None = None
    for node in nodes:
        if not node.manifest.success:
            return  # a stage that has not finished; what comes after it was made from older input, if at all
        parts = node.manifest.listed
        present = set(node.manifest.store.names(node.manifest.folder))
        for position, ref in enumerate(parts):
            _check_part(node, ref, before[position] if before is not None and position < len(before) else None)
            if ref.path.rpartition("/")[2] not in present:
                raise SilverError(f"{ref.path} is listed in {node.manifest.folder}/_SUCCESS but is not there; run {node.name} again")
        if before is not None and len(parts) != len(before):
            raise SilverError(f"{node.name} has {len(parts)} parts for the {len(before)} of the stage before it")
        counts = total(parts)
        if before is not None and total(before).rows + counts.made != counts.rows:
            raise SilverError(f"{node.name}: {total(before).rows} rows in + {counts.made} made, but {counts.rows} out")
        before = parts


def _check_part(node: Node, ref: PartRef, before: PartRef | None) -> None:
    counts = ref.counts
    if counts.rows != counts.live + sum(rows for rows, _ in counts.dropped.values()):
        raise SilverError(f"{ref.path}: {counts.rows} rows, but {counts.live} live and {counts.dropped} dropped")
    if before is None:
        return
    if counts.rows_in != before.counts.rows:
        raise SilverError(f"{ref.path}: made from {counts.rows_in} rows, but {before.path} has {before.counts.rows}")
    if counts.rows != counts.rows_in + counts.made or (counts.made and not isinstance(node.stage, ExpandingStage)):
        raise SilverError(f"{ref.path}: {counts.rows_in} rows in, {counts.made} made, {counts.rows} out")
    for reason, (rows, _) in before.counts.dropped.items():
        if counts.dropped.get(reason, (0, 0.0))[0] < rows:
            raise SilverError(f"{ref.path}: {rows} rows dropped for {reason} before, {counts.dropped.get(reason, (0, 0.0))[0]} now")
