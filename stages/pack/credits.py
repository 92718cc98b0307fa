"""Sections of the card about the licences of the sources: what they allow by hours, what is not allowed or not known, and whom to credit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manifests.release import RELEASE
from stages.pack.licences import UNKNOWN, Terms, terms
from stages.pack.markdown import SHOWN, cell, table

_WORDS = {True: "yes", False: "no", None: "not known"}


def licence_sections(release: Mapping[str, Any]) -> list[str]:
    """The sections, in order; that of credit only where a licence asks for it."""
    hours = {text: float(group["hours"]) for text, group in release["counts"]["licence"].items()}
    found = {text: terms(text) for text in hours}
    own = " ".join(str(release["recipe"].get("licence") or "").split())
    head = ("licence of the source", "hours", "passing on", "commercial use", "changing", "share alike", "credit", "terms")
    said = f"What whoever made this release adds (labels, selection) is offered under: {cell(own)}. " if own else ""
    said += "The audio keeps the licence of its source, as the source states it; nobody checked that the source had the right to. This is no legal advice."
    lines = [_line(text, hours[text], found[text]) for text in sorted(hours, key=lambda text: (-hours[text], text))]
    more = f"\n\n{len(lines) - SHOWN} more are in `{RELEASE}`." if len(lines) > SHOWN else ""
    plain = "\n".join(f"- {line}" for line in _statements(hours, found))
    sections = [f"## Licences of the sources\n\n{said}\n\n{table(head, lines[:SHOWN])}{more}", plain]
    return [*sections, *_credit(release["statistics"]["credits"])]


def _line(text: str, hours: float, found: Terms | None) -> tuple[Any, ...]:
    if found is None:
        return (text, hours, *(["not known"] * 5), "")
    said = (found.redistribution, found.commercial, found.derivatives, found.share_alike, found.attribution)
    return (text, hours, *(_WORDS[value] for value in said), found.url)


def _statements(hours: Mapping[str, float], found: Mapping[str, Terms | None]) -> list[str]:
    """What is not allowed or not known, one sentence each, in Markdown."""

    def sum_of(chosen: Any) -> float:
        return round(sum(hours[text] for text, known in found.items() if known is not None and chosen(known)), 4)

    said = []
    if unstated := hours.get(UNKNOWN):
        said.append(f"**{unstated} hours have no stated licence: nothing allows passing them on.**")
    if others := {text: hours[text] for text, known in found.items() if known is None and text != UNKNOWN}:
        names = ", ".join(cell(text) for text in sorted(others)[:10]) + (", ..." if len(others) > 10 else "")
        said.append(
            f"**{round(sum(others.values()), 4)} hours are under terms that are not known here ({names}): read them before passing anything on.**"
        )
    if cut := sum_of(lambda known: not known.derivatives):
        said.append(
            f"**{cut} hours are under a licence that forbids passing on changed copies (ND). Segments are cuts of recordings, resampled and with text added: "
            "do not pass them on without asking.**"
        )
    if bought := sum_of(lambda known: not known.commercial):
        said.append(f"{bought} hours are for non-commercial use only (NC).")
    if alike := sum_of(lambda known: known.share_alike):
        said.append(f"{alike} hours ask that what is made of them is passed on under the same licence (share alike).")
    if credit := sum_of(lambda known: known.attribution):
        said.append(f"{credit} hours ask for credit: the list is below.")
    return said


def _credit(asked: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Whom to credit: channels by hours, under each licence that asks for it."""
    if not asked:
        return []
    largest = sorted(
        ((channel, licence, hours) for licence, channels in asked.items() for channel, hours in channels.items()),
        key=lambda row: (-row[2], row[0], row[1]),
    )
    more = f" {len(largest) - SHOWN} more are in `{RELEASE}` (statistics, credits)." if len(largest) > SHOWN else ""
    said = (
        "Channels under licences that ask for credit, by hours. Each sample has its title and `source_uri` in the index, which is what to name."
        + more
    )
    return [f"## Credit\n\n{said}\n\n{table(('channel', 'licence', 'hours'), largest[:SHOWN])}"]
