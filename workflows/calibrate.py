"""Fit the confidence on gold: how surely the signals of a segment tell its share of right words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from manifests.corpus import Corpus
from manifests.part import read_rows
from pipeline.contract import SilverError, is_live
from stages.confidence.calibration import Calibration, fit
from stages.confidence.features import features
from stages.gold import read_gold
from stages.measures import SegmentErrors
from workflows.evaluate.gold import segment_errors

NEEDED = ("words", "labels", "text")


def scored_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """The live rows of the last stage before the confidence: whatever a filter would say of them.

    Raises:
        SilverError: the corpus has not come so far.
    """
    names = [manifest.stage for manifest in corpus.manifests]
    until = names.index("confidence") if "confidence" in names else len(names)
    for manifest in reversed(corpus.manifests[:until]):
        if manifest.success and manifest.stage != "filter":
            rows = [row for ref in manifest.parts() for row in read_rows(corpus.store, ref) if is_live(row)]
            if rows and all(name in rows[0] for name in NEEDED):
                return rows
    raise SilverError(f"{corpus.store.root} has no segments with {', '.join(NEEDED)} yet: run its recipe up to `score` first")


def judged(corpus: Corpus, gold: str, *, fold_accents: bool = False) -> tuple[list[dict[str, Any]], list[SegmentErrors]]:
    """The scored rows for which there is gold, and their errors, in the same order."""
    rows = scored_rows(corpus)
    errors = {item.segment_id: item for item in segment_errors(rows, read_gold(gold), fold_accents=fold_accents)}
    chosen = [row for row in rows if row["segment_id"] in errors]
    if not chosen:
        raise SilverError(
            f"{gold} has no text for any recording of {corpus.store.root}: its source_uri (or file names) must be those of the corpus"
        )
    return chosen, [errors[row["segment_id"]] for row in chosen]


def calibrate(pairs: Iterable[tuple[str, str]], *, fold_accents: bool = False) -> tuple[Calibration, list[SegmentErrors]]:
    """A calibration fitted on corpora with gold, (root, gold file) each, and the errors that it was fitted on.

    Several corpora are the groups of the fit (see `stages.confidence.calibration.fit`); of a single one, its recordings are.

    Raises:
        SilverError: a corpus or gold file is missing, or there is too little to fit on.
    """
    values: list[dict[str, float]] = []
    errors: list[SegmentErrors] = []
    groups: list[str] = []
    names: list[str] = []
    listed = list(pairs)
    for root, gold in listed:
        try:
            corpus = Corpus(root)
        except FileNotFoundError as error:
            raise SilverError(str(error)) from error
        rows, found = judged(corpus, gold, fold_accents=fold_accents)
        values += [features(row) for row in rows]
        errors += found
        groups += [root if len(listed) > 1 else item.recording for item in found]
        names.append(f"{Path(root).name}: {len(found)} segments, {sum(item.words for item in found)} words")
    words, wrong = counted(errors)
    return fit(values, words, wrong, groups, "; ".join(names)), errors


def counted(errors: Iterable[SegmentErrors]) -> tuple[Any, Any]:
    """Words that count and wrong ones among them, as `measures.right_share` has them: by the longer of reference and label."""
    listed = list(errors)
    words = np.array([max(item.words, item.label_words, 1) for item in listed], float)
    return words, np.minimum(np.array([item.errors for item in listed], float), words)
