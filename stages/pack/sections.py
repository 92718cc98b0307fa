"""Sections of the card that show what `release.json` holds: stated and expected error, how it was made, what was taken out and what changed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from manifests.release import RELEASE, RELEASES
from stages.pack import facts
from stages.pack.licences import models
from stages.pack.markdown import SHOWN, cell, table


def warnings(release: Mapping[str, Any]) -> list[str]:
    """What a reader must know before all else: test sets that may be in it, and what is in two splits."""
    if not (leaks := release.get("leaks")):
        return []
    waived = sum(1 for leak in leaks if leak.get("waived"))
    said = []
    if any(leak["set"] != RELEASES for leak in leaks):
        said.append("**Audio or text of public test sets is in this release.** A model trained on it must not be measured on these sets.")
    if any(leak["set"] == RELEASES for leak in leaks):
        said.append("**Splits that were published have something in common.** Errors on its dev and test sets may be too low.")
    said.append(f"{waived} of {len(leaks)} findings were waived by whoever made it.")
    columns = ("set", "kind", "count", "share", "waived", "examples")
    rows = [{name: leak.get(name) for name in columns} | {"examples": "; ".join(leak.get("examples") or ())} for leak in leaks]
    return [f"## Leaks\n\n{' '.join(said)}\n\n{_records(rows, columns)}"]


def caps(release: Mapping[str, Any]) -> str:
    """What each subset was asked to be."""
    if not (subsets := release.get("subsets")):
        return ""
    lines = [(name, told["when"] or "", "" if told["asked"] is None else told["asked"], told["hours"]) for name, told in subsets.items()]
    return "Each is within the next one, and the rules of the larger ones hold for it too:\n\n" + table(
        ("subset", "rule", "hours at most", "hours"), lines
    )


def unlabelled(counts: Mapping[str, Any] | None) -> str:
    """What is there without labels, if it was counted."""
    if not counts:
        return ""
    return (
        "## Without labels\n\nSpeech that no label was good enough for: "
        + cell(", ".join(f"{value} {name}" for name, value in counts.items()))
        + "."
    )


def error(audit: Mapping[str, Any] | None) -> str:
    """What people said of a sample of the labels."""
    said = facts.error({"audit": audit})
    if not audit:
        return said
    head = ("of", "measure", "value", "95 % from", "to", "judged", "of segments")
    columns = ("of", "measure", "value", "low", "high", "judged", "segments")
    lines = [tuple("" if row[name] is None else row[name] for name in columns) for row in audit["statement"]]
    return f"{said}\n\n{table(head, lines[:SHOWN])}"


def expected(told: Mapping[str, Any]) -> str:
    """What the calibrated confidence expects, by split."""
    if not (splits := told.get("expected_wer")):
        return ""
    said = "What the confidence of the segments expects (a calibrated estimate, no measurement): the mean of 1 - `confidence`, "
    said += f"weighted by {told['expected_wer_weighted_by']}, over the segments that have one."
    lines = [(name, row["wer"], row["segments"], row["hours"]) for name, row in splits.items()]
    return f"{said}\n\n{table(('split', 'expected WER', 'segments', 'hours'), lines)}"


def made(release: Mapping[str, Any]) -> list[str]:
    """Recipe, stages, models, software."""
    heard = [(model.stage, model.name, model.revision[:16], model.licence, model.stated) for model in models(release)]
    return [
        "## How it was made\n\nThe recipe:\n\n"
        + textwrap.indent(yaml.safe_dump(dict(release["recipe"]), sort_keys=False, allow_unicode=True), "    "),
        "The stages, each with the fingerprint of its parameters, its models and all that came before it:\n\n"
        + table(("stage", "version", "fingerprint", "models"), [_stage(stage) for stage in release["stages"]]),
        "The models, known by their names, with their licences and where these are stated. Whether a licence of weights reaches the labels that they made "
        "is not settled; one that forbids commercial use is a reason to ask.\n\n"
        + table(("stage", "model", "revision", "licence", "stated in"), heard)
        if heard
        else "",
        "The software:\n\n" + table(("package", "version"), list(release["software"].items())),
    ]


def history(release: Mapping[str, Any]) -> list[str]:
    """What was taken down, and what changed since the release before; as far as the release tells."""
    found = []
    if taken := release.get("takedowns"):
        said = "Taken out on request. A request is named by a part of a checksum, so that what was to be forgotten is not repeated:"
        found.append(f"## What was taken down\n\n{said}\n\n{_records(taken, ('request', 'reason', 'when', 'rows', 'hours'))}")
    if log := release.get("changes"):
        entries = [f"{cell(entry['release'])} after {cell(entry['after'])}:\n\n{_records(entry['table'])}" for entry in log]
        found.append("## What changed\n\n" + "\n\n".join(entries))
    return found


def _records(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Records as a table, with these columns first and whatever others they have."""
    names = tuple(dict.fromkeys([*(columns or ()), *(name for row in rows for name in row)]))
    lines = [tuple(_plain(row.get(name)) for name in names) for row in rows]
    left = f"\n\n{len(lines) - SHOWN} more are in `{RELEASE}`." if len(lines) > SHOWN else ""
    return table(tuple(cell(name) for name in names), lines[:SHOWN]) + left


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return ("no", "yes")[value] if isinstance(value, bool) else value


def _stage(stage: Mapping[str, Any]) -> tuple[str, ...]:
    used = ", ".join(f"{name} {revision}" for name, revision in sorted(stage["identity"].items()))
    return stage["stage"], stage["version"], stage["fingerprint"], used
