"""From judgements of a stratified sample to the error of the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from stages.measures import at_most, bootstrap
from stages.normalise.scoring import scoring_words
from workflows.audit.sheet import Judgement

Sample = Mapping[str, Any]
"""`sample.json`: `fingerprint`, and `strata`, each with `name`, `kept`, `size`, `hours`, and `segments` (id, language, text, duration)."""


def errors(label: str, judgement: Judgement, language: str | None) -> tuple[int, int]:
    """Words that should be there, and errors of the label. Of an unusable segment every word of the label is wrong."""
    written = scoring_words(label, language)
    if judgement.text is None:
        return max(1, len(written)), max(1, len(written))
    said = scoring_words(judgement.text, language)
    return len(said), Levenshtein.distance(written, said)


def state(sample: Sample, judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """The stated error: of all kept labels, by language, by stratum; and how much of what was dropped was right.

    Each judged segment stands for as many as its stratum has, divided by those of it that were judged (a stratified ratio estimate, Cochran 1977,
    "Sampling techniques", chapters 5 and 6); intervals by bootstrap inside the strata. Strata without a judged segment are
    left out of the sum, and counted in `segments` all the same, so that `covered` says what share the statement speaks for.
    """
    by_id = {judgement.segment_id: judgement for judgement in judgements}
    strata = [(stratum, *_judged(stratum, by_id)) for stratum in sample["strata"]]
    kept, dropped = [s for s in strata if s[0]["kept"]], [s for s in strata if not s[0]["kept"]]
    rows = [_rate("kept labels", kept)]
    languages = sorted({segment["language"] or "" for stratum, *_ in kept for segment in stratum["segments"]})
    rows += [
        _rate(f"kept, {language or 'no language'}", [s for s in kept if s[0]["segments"][0]["language"] == (language or None)])
        for language in languages
    ]
    rows += [_rate(f"kept: {stratum[0]['name']}", [stratum]) for stratum in kept]
    if dropped:
        rows.append(_wrongly_dropped(dropped))
    return rows


def _judged(stratum: Mapping[str, Any], by_id: Mapping[str, Judgement]) -> tuple[Any, Any, Any]:
    """Words, errors and whether wholly right, of the judged segments of a stratum; shape (n,) each."""
    found = [(segment, by_id[segment["id"]]) for segment in stratum["segments"] if segment["id"] in by_id]
    counts = [errors(segment["text"], judgement, segment["language"]) for segment, judgement in found]
    words = np.array([words for words, _ in counts], float)
    wrong = np.array([wrong for _, wrong in counts], float)
    return words, wrong, (wrong == 0).astype(float)


def _rate(name: str, strata: Sequence[tuple[Any, Any, Any, Any]]) -> dict[str, Any]:
    judged = [s for s in strata if len(s[1])]
    whole = sum(s[0]["size"] for s in strata)
    row = {
        "of": name,
        "measure": "wer",
        "value": None,
        "low": None,
        "high": None,
        "judged": sum(len(s[1]) for s in judged),
        "segments": whole,
        "hours": round(sum(s[0]["hours"] for s in strata), 3),
        "covered": round(sum(s[0]["size"] for s in judged) / whole, 3) if whole else 0.0,
    }
    scale = [s[0]["size"] / len(s[1]) for s in judged]
    words = sum(by * s[1].sum() for by, s in zip(scale, judged, strict=True))
    if not judged or not words:
        return row
    wrong = sum(by * s[2].sum() for by, s in zip(scale, judged, strict=True))
    low, high = bootstrap(
        [(s[1], s[2]) for s in judged],
        lambda sums: (
            sum(by * drawn[1] for by, drawn in zip(scale, sums, strict=True))
            / np.maximum(1e-9, sum(by * drawn[0] for by, drawn in zip(scale, sums, strict=True)))
        ),
    )
    if not wrong:
        high = at_most(np.concatenate([by * s[1] for by, s in zip(scale, judged, strict=True)]))
    return row | {"value": round(float(wrong / words), 4), "low": round(low, 4), "high": round(high, 4)}


def _wrongly_dropped(strata: Sequence[tuple[Any, Any, Any, Any]]) -> dict[str, Any]:
    """Share of the dropped segments whose label was wholly right."""
    row = _rate("dropped", strata) | {"of": "dropped: share that was right", "measure": "share", "value": None, "low": None, "high": None}
    judged = [s for s in strata if len(s[1])]
    if not judged:
        return row
    size = sum(s[0]["size"] for s in judged)
    scale = [s[0]["size"] / len(s[1]) / size for s in judged]
    low, high = bootstrap([(s[3],) for s in judged], lambda sums: sum(by * drawn[0] for by, drawn in zip(scale, sums, strict=True)))
    share = sum(by * s[3].sum() for by, s in zip(scale, judged, strict=True))
    unseen = at_most(np.concatenate([np.full(len(s[3]), by) for by, s in zip(scale, judged, strict=True)]))
    if not any(s[3].any() for s in judged):
        high = unseen
    elif all(s[3].all() for s in judged):
        low = 1 - unseen
    return row | {"value": round(float(share), 4), "low": round(low, 4), "high": round(high, 4)}
