"""From features to the expected share of right words: logistic regression, then isotonic regression, kept as plain numbers.

Each segment counts as its words: right ones as successes, wrong ones as failures. Logistic regression has few parameters and so carries
over to languages that it never saw; what is wrong with its shape, isotonic regression mends (Zadrozny and Elkan 2002; Niculescu-Mizil and Caruana
2005). The isotonic part is fitted on predictions for groups (corpora, languages, speakers) that were left out, so that it tells what happens
with a new one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.contract import SilverError
from stages.confidence.features import FEATURES

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """`confidence = isotonic(1 / (1 + exp(-(intercept + coefficients . (x - means) / scales))))`, NaN in x being the mean."""

    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    isotonic_x: tuple[float, ...]
    isotonic_y: tuple[float, ...]
    fitted_on: str
    """What gold it was fitted on, in words."""

    def __call__(self, values: Sequence[Mapping[str, float]]) -> Floats:
        """Confidence of each segment, 0..1, from its features; NaN for one of which nothing is known."""
        matrix = _matrix(values, self.features)
        raw = _logistic(self._standard(matrix) @ np.array(self.coefficients) + self.intercept)
        confidence: Floats = np.interp(raw, self.isotonic_x, self.isotonic_y)
        confidence[np.isnan(matrix).all(axis=1)] = math.nan
        return confidence

    def _standard(self, matrix: Floats) -> Floats:
        standard: Floats = (matrix - np.array(self.means)) / np.array(self.scales)
        return np.nan_to_num(standard, nan=0.0)

    def to_json(self) -> str:
        """The inverse of `from_json`."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """Read a calibration; `name` is for the message.

        Raises:
            SilverError: it is none, or one of features that this version does not know.
        """
        try:
            plain = json.loads(text)
            found = cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})
            lengths = {len(found.features), len(found.means), len(found.scales), len(found.coefficients)}
            numbers = [*found.means, *found.scales, *found.coefficients, found.intercept, *found.isotonic_x, *found.isotonic_y]
            whole = len(lengths) == 1 and len(found.isotonic_x) == len(found.isotonic_y) > 0 and bool(np.isfinite(numbers).all())
        except (ValueError, TypeError) as error:
            raise SilverError(f"{name} is no calibration ({error}); make one with `silver calibrate`") from error
        if not whole or (unknown := set(found.features) - FEATURES.keys()):
            what = f"it uses {', '.join(sorted(unknown))}" if whole else "its lists do not fit together"
            raise SilverError(f"{name} is no calibration of this version ({what}); make one with `silver calibrate`")
        return found


def fit(values: Sequence[Mapping[str, float]], words: Floats, errors: Floats, groups: Sequence[str], fitted_on: str) -> Calibration:
    """A calibration from segments whose errors are known.

    Args:
        values: features of each segment.
        words: words of each that count, shape (n,).
        errors: wrong ones among them, shape (n,), at most `words`.
        groups: what each belongs to (corpus, speaker, language): a group is left out when its predictions are made for the isotonic part.
        fitted_on: see `Calibration`.

    Raises:
        SilverError: too little, or nothing right, or nothing wrong.
    """
    from sklearn.isotonic import IsotonicRegression

    right = words - errors
    if len(words) < 20 or not right.sum() or not errors.sum():
        raise SilverError(
            f"{len(words)} segments with {errors.sum():.0f} wrong of {words.sum():.0f} words are too little to fit a confidence on"
        )
    names = tuple(name for name in FEATURES if any(math.isfinite(value[name]) for value in values))
    matrix = _matrix(values, names)
    folds = sorted(set(groups)) if len(set(groups)) > 1 else []
    of = np.array(groups) if folds else np.arange(len(words)) % 5
    held_out = np.zeros(len(words))
    for fold in folds or range(5):
        inside, outside = of != fold, of == fold
        held_out[outside] = _logit(matrix[inside], right[inside], errors[inside]).predict(matrix[outside])
    # A little of both answers at both ends, so that a handful of segments never makes certainty.
    x, share, weight = (
        np.concatenate([held_out, [0.0, 1.0]]),
        np.concatenate([right / words, [0.0, 1.0]]),
        np.concatenate([words, [1.0, 1.0]]),
    )
    steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, share, sample_weight=weight)
    model = _logit(matrix, right, errors)
    return Calibration(
        names, _plain(model.means), _plain(model.scales), _plain(model.coefficients), float(model.intercept),
        _plain(steps.X_thresholds_), _plain(steps.y_thresholds_), fitted_on,
    )  # fmt: skip


@dataclass(frozen=True)
class _Logit:
    means: Floats
    scales: Floats
    coefficients: Floats
    intercept: float

    def predict(self, matrix: Floats) -> Floats:
        standard = np.nan_to_num((matrix - self.means) / self.scales, nan=0.0)
        return _logistic(standard @ self.coefficients + self.intercept)


def _logit(matrix: Floats, right: Floats, wrong: Floats) -> _Logit:
    from sklearn.linear_model import LogisticRegression

    means, scales = np.nanmean(matrix, axis=0), np.nanstd(matrix, axis=0)
    scales[~(scales > 0)] = 1.0
    standard = np.nan_to_num((matrix - means) / scales, nan=0.0)
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(
        np.concatenate([standard, standard]),
        np.concatenate([np.ones(len(right)), np.zeros(len(wrong))]),
        sample_weight=np.concatenate([right, wrong]),
    )
    return _Logit(means, scales, model.coef_[0], float(model.intercept_[0]))


def _matrix(values: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    return np.array([[value[name] for name in names] for value in values], float).reshape(len(values), len(names))


def _logistic(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def _plain(values: npt.ArrayLike) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.asarray(values, float))
