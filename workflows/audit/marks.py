"""Marks of a listening desk: judged segments that no sample drew, so that they speak for themselves alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from manifests.corpus import Corpus
from workflows.audit.sheet import Judgement
from workflows.audit.state import errors


def labelled(corpus: Corpus, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Label, language and reasons of segments of a corpus, by their ids; those that it does not have are not there."""
    query = "SELECT segment_id, text, language, drop_reason, duration FROM segments WHERE list_contains(?, segment_id) AND text IS NOT NULL"
    return {row["segment_id"]: row for row in corpus.query(query, [sorted(ids)])} if "text" in corpus.columns("segments") else {}


def tally(rows: dict[str, dict[str, Any]], judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Of what was kept, and of each reason for which a segment was dropped: the WER of the judged labels, and the share that was wholly right."""
    groups: dict[str, list[tuple[int, int, float]]] = {}
    for judgement in judgements:
        row = rows[judgement.segment_id]
        words, wrong = errors(row["text"], judgement, row["language"])
        reasons = [f"dropped: {reason}" for reason in row["drop_reason"].split(";")] if row["drop_reason"] else ["kept"]
        for group in reasons:
            groups.setdefault(group, []).append((words, wrong, row["duration"]))
    table = []
    for group, found in sorted(groups.items(), key=lambda item: (item[0] != "kept", item[0])):
        words = sum(words for words, _, _ in found)
        common: dict[str, Any] = {
            "of": f"marked, {group}", "low": None, "high": None, "judged": len(found), "segments": None, "covered": None,
            "hours": round(sum(seconds for _, _, seconds in found) / 3600, 4),
        }  # fmt: skip
        right = sum(not wrong for _, wrong, _ in found)
        table.append(common | {"measure": "wer", "value": round(sum(wrong for _, wrong, _ in found) / words, 4) if words else None})
        table.append(common | {"measure": "share right", "value": round(right / len(found), 4)})
    return table
