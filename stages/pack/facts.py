"""Sentences about a release, out of its `release.json`, that both the card and `croissant.json` say. Plain text, not escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.release import RELEASES, audio_format
from stages.audio import SAMPLE_RATE
from stages.pack.licences import UNKNOWN
from stages.pack.subsets import lacking

LABELS = "The labels were made or chosen by machines; no person checked them one by one."
UNMEASURED = "The labels were made by machines and their error has not been measured yet. `silver audit` draws a sample, lets a person correct it, and states it."
SIGNALS = {
    "confidence": "no calibrated confidence: nothing says how sure a label is",
    "agreement": "no agreement: how far a second labeller writes the same was not measured",
    "align_score": "no alignment score: nothing says how well text and audio fit",
    "snr_db": "no estimate of noise",
    "audio_language": "the language was not heard in the audio: it is the expected one",
    "text_language": "the language of the text was not checked",
    "speaker": "speakers are unknown",
    "channel": "channels are unknown",
    "published": "dates of publication are unknown",
    "text": "no text",
}
"""What it means that a column is not there, or has no value in any sample."""


def title(release: Mapping[str, Any]) -> str:
    """Name of the corpus, on one line."""
    return " ".join(str(release["recipe"].get("name") or "corpus").split())


def summary(release: Mapping[str, Any]) -> str:
    """What it is, and how much."""
    counts, about = release["counts"], " ".join(str(release["recipe"].get("description") or "").split())
    size = f"{counts['samples']} segments, {counts['hours']} hours of speech ({SAMPLE_RATE} Hz, mono) with machine-made labels."
    return f"{about.rstrip('.')}. {size}" if about else size


def error(release: Mapping[str, Any]) -> str:
    """What people said of a sample of the labels."""
    if not (audit := release.get("audit")):
        return UNMEASURED
    whole = audit["statement"][0]
    stated = "none of those kept was judged" if whole["value"] is None else f"WER {whole['value']} (95 % {whole['low']} to {whole['high']})"
    return (
        f"Stated error of the labels: {stated}. {audit['judged']} of {audit['drawn']} segments of a "
        f"stratified sample were judged by a person, read on {audit['read'][:10]}."
    )


def absent(release: Mapping[str, Any]) -> list[str]:
    """Signals that no sample has."""
    there = set(release["statistics"]["columns"]) - set(release["statistics"]["empty_columns"])
    return [meaning for column, meaning in SIGNALS.items() if column not in there]


def _splits(release: Mapping[str, Any]) -> list[str]:
    """What keeps the splits apart."""
    by = release.get("splits", {}).get("by", [])
    found = ["No recording is in two splits." + (f" Nor is {_and(by)}, as far as it is known." if by else "")]
    told_apart = "voice" in by or ("speaker" in by and "speaker" not in release["statistics"]["empty_columns"])
    if len(release["counts"]["split"]) > 1 and not told_apart:
        found.append("Speakers can be in two splits: they are not told apart across recordings.")
    if against := release.get("splits", {}).get("against"):
        found.append(f"It was compared with the test sets {', '.join(against)}; what was found there is said here, if anything was.")
    return [*found, *(_leak(leak) for leak in release.get("leaks") or ())]


def _leak(leak: Mapping[str, Any]) -> str:
    waived = "waived by whoever made this release" if leak.get("waived") else "too little to stop it"
    share = f" ({leak['share']:.1%} of the set)" if leak.get("share") is not None else ""
    what = f"{leak['count']} times the same {leak['kind']}"
    if leak["set"] == RELEASES:
        return f"Leak between splits: {what} in two splits that earlier releases published, {waived}."
    return f"Leak of the test set {' '.join(str(leak['set']).split())}: {what}{share}, {waived}."


def _and(kinds: Sequence[str]) -> str:
    names = {
        "channel": "a channel",
        "speaker": "a speaker's name",
        "voice": "a voice",
        "audio": "the same audio",
        "text": "a sentence of a held-out set",
    }
    return ", or ".join(names[kind] for kind in kinds)


def limits(release: Mapping[str, Any]) -> list[str]:
    """Known limits, one sentence each."""
    found = [LABELS]
    if (audio := audio_format(release)) != "flac":
        found.append(f"The audio is lossy: it was encoded anew as {audio.upper()}.")
    if not release.get("audit"):
        found.append("Their error has not been measured.")
    found += [f"{meaning[0].upper()}{meaning[1:]}." for meaning in absent(release)]
    if licences := release["counts"]["licence"].get(UNKNOWN):
        found.append(f"{licences['hours']} of {release['counts']['hours']} hours have no stated licence.")
    for name, rows in release["statistics"].get("gaps", {}).items():
        found.append(f"The {name} of {rows} of {release['counts']['samples']} segments is not known.")
    for name, told in (release.get("subsets") or {}).items():
        if lacking(told["asked"], told["hours"]):
            found.append(f"The subset {name} was asked for {told['asked']:g} hours; there were {told['hours']:g} for it.")
    return [*found, *_splits(release)]


def biases(release: Mapping[str, Any]) -> list[str]:
    """What there is much of, and that filters choose."""
    counts = release["counts"]
    found = []
    if release["dropped"]:
        found.append(
            "Segments were kept by rules over machine scores, so speech that is hard for the models (noise, accents, overlap, rare words) is rarer "
            "here than at the source."
        )
    for group in ("channel", "language"):
        largest, most = max(counts[group].items(), key=lambda item: (item[1]["hours"], item[0]))
        if len(counts[group]) == 1:
            found.append(f"All of it is of one {group} ({' '.join(largest.split())}).")
            continue
        share = most["hours"] / counts["hours"] if counts["hours"] else 0.0
        found.append(
            f"The largest {group} ({' '.join(largest.split())}) has {share:.0%} of the hours, of {len(counts[group])} {group}s in all."
        )
    return [*found, "Age, gender, region and accent of the speakers are unknown."]


def personal(release: Mapping[str, Any]) -> list[str]:
    """What may be told of persons."""
    return [
        "Voices of people, who can be recognised by them.",
        "What people said, names and opinions included; nothing was taken out.",
        "Channels and titles of the sources, as they were published.",
        removal(release),
    ]


def collection(release: Mapping[str, Any]) -> str:
    """How the audio came here."""
    kinds = {(release["recipe"].get(stage["stage"]) or {}).get("stage", stage["stage"]) for stage in release["stages"]}
    how = "acquired from the places that its recipe names" if "acquire" in kinds else "taken from a corpus that was there"
    return f"Recordings that others made and published, {how}; decoded to {SAMPLE_RATE} Hz mono, cut into segments, labelled and filtered by software."


def missing(release: Mapping[str, Any]) -> str:
    """Columns that have no value at all."""
    empty = release["statistics"]["empty_columns"]
    return f"No sample has a value of {', '.join(empty)}." if empty else "Every column has values."


def removal(release: Mapping[str, Any]) -> str:
    """How to ask that something be taken out."""
    contact = " ".join(str(release["recipe"].get("contact") or "").split())
    if not contact:
        return "No contact was given with this release: there is nobody named here to ask for the removal of a recording."
    return f"To have a recording removed, write to {contact}, with its source_uri or the key of a segment."


def maintenance(release: Mapping[str, Any]) -> str:
    """What becomes of a release."""
    return f"A finished release never changes: what is corrected, added or taken down makes a new version. This is {release['version']}. {removal(release)}"


def bibtex(release: Mapping[str, Any]) -> str:
    """A BibTeX entry: what is known, and no authors or year that are not.

    >>> print(bibtex({"recipe": {"name": "Greek {radio}"}, "version": "v1"}))
    @misc{greek-radio-v1,
      title = {Greek radio},
      version = {v1},
    }
    """
    label = re.sub(r"[^a-z0-9._]+", "-", f"{title(release)}-{release['version']}".lower()).strip("-")
    fields = {
        "title": title(release),
        "version": release["version"],
        "note": " ".join(str(release["recipe"].get("description") or "").split()),
    }
    lines = [f"  {field} = {{{re.sub(r'[{}%$&#_^~@`' + chr(92) * 2 + ']', '', value)}}}," for field, value in fields.items() if value]
    return "\n".join([f"@misc{{{label},", *lines, "}"])
