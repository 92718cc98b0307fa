"""How well the confidence knows right labels from wrong ones, on real recorded speech whose text is known.

    .venv/bin/python -m benchmarks.labels --work FOLDER

Asterisk's prompts in English, Spanish and French (one studio speaker each) and the Dutch dialogues of Fish Fillets (acted, two speakers) are
made into shows of some minutes (benchmarks/material.py), labelled by Whisper base (benchmarks/labels.yaml), aligned and scored. Each
corpus is judged by a confidence that was fitted on the other three: no speaker and no language of it was seen, nor were they by the aligner's network.

For each corpus: WER before any choice; WER of the best 60 % of the words by confidence, by the mean word probability that everybody has, and by a perfect ranking;
how much of what the perfect ranking wins each wins; the expected calibration error; and what `target_wer` promises against what is true.
With `--curves` the WER at every tenth of the words kept. `--write FILE` writes the calibration fitted on all of them, the one that ships.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.material import write
from manifests.corpus import Corpus
from stages.confidence.calibration import fit
from stages.confidence.features import FEATURES, features
from stages.filter import DEFAULT_RULES, lowest_confidence
from stages.measures import SegmentErrors, right_share, wer
from stages.rules import verdicts
from workflows.calibrate import counted, judged
from workflows.evaluate.measures import expected_calibration_error, kept_wer, oracle, recovered_gain, risk_coverage

JUDGED = ("en", "es", "fr", "nl")
FOLDED = ("es", "fr")
"""Corpora whose scripts were typed without (all) accents."""
SIGNALS = (
    "label_confidence",
    "label_confidence_min",
    "avg_logprob",
    "align_score",
    "ctc_agreement",
    "agreement",
    "perplexity",
    "snr_db",
    "letters_per_second",
)
"""Columns to rank by, each by itself; the first is the mean word probability."""


@dataclass
class Material:
    """Scored segments of one corpus and their errors."""

    rows: list[dict[str, Any]]
    errors: list[SegmentErrors]

    @cached_property
    def features(self) -> list[dict[str, float]]:
        """What the confidence is made of, by segment."""
        return [features(row) for row in self.rows]

    @property
    def words(self) -> np.ndarray:
        """Words said, by segment."""
        return np.array([item.words for item in self.errors])

    @property
    def wrong(self) -> np.ndarray:
        """Errors, by segment."""
        return np.array([item.errors for item in self.errors])

    @property
    def right(self) -> np.ndarray:
        """Share of right words, by segment."""
        return right_share(self.words, [item.label_words for item in self.errors], self.wrong)


def main() -> None:
    """Make, label, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="a folder for audio and corpora; what is there is not made again")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--write", help="fit on all corpora and write the calibration here")
    options = parser.parse_args()

    found = {name: load(Path(options.work), name) for name in JUDGED}
    table: dict[str, dict[str, float | None]] = {}
    for name in JUDGED:
        material = found[name]
        words, wrong = material.words, material.wrong
        others = [other for other in JUDGED if other != name]
        confidence = fitted(found, others)(material.features)
        column = [row.get("label_confidence") for row in material.rows]
        weights, _ = counted(material.errors)
        print(f"\n{name}: {len(material.rows)} segments, {wer(material.errors)}")
        table[name] = {
            "raw": wrong.sum() / words.sum(),
            "word probability": kept_wer(column, words, wrong),
            "confidence": kept_wer(confidence, words, wrong),
            "oracle": kept_wer(oracle(words, wrong), words, wrong),
            "won by word probability": recovered_gain(column, words, wrong),
            "won by confidence": recovered_gain(confidence, words, wrong),
            "ECE": expected_calibration_error(confidence, weights, material.right),
            "ECE of word probability": expected_calibration_error(column, weights, material.right),
        }
        print(
            "  won by each signal: "
            + ", ".join(f"{signal} {gain:.2f}" for signal in SIGNALS if (gain := _alone(material, signal)) is not None)
        )
        print(
            "  won by each feature: "
            + ", ".join(f"{feature} {gain:.2f}" for feature in FEATURES if (gain := _feature(material, feature)) is not None)
        )
        _promises(material, confidence, weights)
        _default_rules(material)
        if options.curves:
            _curves(material, confidence, column)
    print(f"\n{'':28}" + "".join(f"{name:>8}" for name in JUDGED))
    for line in table[JUDGED[0]]:
        print(f"{line:28}" + "".join(f"{value:8.3f}" if (value := table[name][line]) is not None else f"{'-':>8}" for name in JUDGED))
    if options.write:
        Path(options.write).write_text(fitted(found, list(JUDGED)).to_json(), encoding="utf-8")


def load(work: Path, name: str) -> Material:
    """Make and label a corpus, unless it is there; its segments with their errors."""
    audio, root = work / "audio" / name, work / "root" / name
    if not (audio / "gold.jsonl").exists():
        write(name, audio)
    command = ["run", "benchmarks/labels.yaml", f"root={root}", f"language={name}", f"acquire.path={audio}", "--quiet"]
    subprocess.run([sys.executable, "-m", "workflows.cli", *command], cwd=Path(__file__).parents[1], check=True)
    return Material(*judged(Corpus(str(root)), str(audio / "gold.jsonl"), fold_accents=name in FOLDED))


def fitted(found: dict[str, Material], names: list[str]) -> Any:
    """A calibration on the corpora `names`."""
    errors = [item for name in names for item in found[name].errors]
    words, wrong = counted(errors)
    groups = [name for name in names for _ in found[name].errors]
    described = "; ".join(f"{name}: {len(found[name].rows)} segments, {found[name].words.sum()} words" for name in names)
    return fit(
        [values for name in names for values in found[name].features],
        words,
        wrong,
        groups,
        f"benchmarks/labels.py, Whisper base: {described}",
    )


def _alone(material: Material, signal: str) -> float | None:
    """What ranking by one column wins, in the better of the two directions."""
    values = np.array([np.nan if row.get(signal) is None else float(row[signal]) for row in material.rows])
    return _better(material, values)


def _feature(material: Material, feature: str) -> float | None:
    return _better(material, np.array([values[feature] for values in material.features]))


def _better(material: Material, values: np.ndarray) -> float | None:
    if np.isnan(values).all():
        return None
    values = np.where(np.isnan(values), np.nanmean(values), values)
    gains = [recovered_gain(sign * values, material.words, material.wrong) for sign in (1, -1)]
    return max(gain for gain in gains if gain is not None) if any(gain is not None for gain in gains) else None


def _promises(material: Material, confidence: np.ndarray, weights: np.ndarray) -> None:
    """For some targets: what is kept, and its true share of wrong words."""
    raw = material.wrong.sum() / material.words.sum()
    said = []
    for target in (0.02, 0.05, 0.1, 0.2, 0.3):
        least = lowest_confidence(confidence, weights, target)
        kept = confidence >= least
        if kept.any() and target < raw:
            said.append(
                f"{target:.2f} -> {material.wrong[kept].sum() / max(1, material.words[kept].sum()):.3f} (keeps {material.words[kept].sum() / material.words.sum():.0%})"
            )
    print(f"  target_wer promised -> true: {'; '.join(said) or 'every target is above the raw WER'}")


def _default_rules(material: Material) -> None:
    """How many of the wholly right segments the default rules drop."""
    rules = {name: rule for name, rule in DEFAULT_RULES.items() if name != "agreement"}
    found = verdicts(rules, material.rows, pa.Table.from_pylist(material.rows).schema)
    dropped = np.array([any(found[name][index] is not True for name in rules) for index in range(len(material.rows))])
    right = material.wrong == 0
    print(
        f"  default rules drop {dropped[right].sum()} of {right.sum()} right segments, {dropped[~right].sum()} of {(~right).sum()} with an error"
    )


def _curves(material: Material, confidence: np.ndarray, column: list[float | None]) -> None:
    for label, scores in (("confidence", confidence), ("word probability", column), ("oracle", oracle(material.words, material.wrong))):
        shares, rates = risk_coverage(scores, material.words, material.wrong)
        points = [float(np.interp(tenth / 10, shares, rates)) for tenth in range(1, 11)]
        print(f"  {label:17}" + " ".join(f"{point:.3f}" for point in points))


if __name__ == "__main__":
    main()
