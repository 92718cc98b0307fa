"""From features to the expected share of right words: a logistic regression, kept as plain numbers.

Each segment counts as its words: right ones as successes, wrong ones as failures; every group (corpus, speaker, language) of the gold counts
the same. A logistic regression has few parameters, is strictly monotone in what it weighs, and so carries over to languages that it never
saw. It is sure of itself on what it was fitted on; so its slope and intercept are fitted again on predictions for groups that were left out
(Platt 1999; Niculescu-Mizil and Caruana 2005), and tell what to expect of a new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.contract import SilverError
from stages.confidence.features import FEATURES

Floats = npt.NDArray[np.float64]


class Calibration(BaseModel):
    """`confidence = 1 / (1 + exp(-(intercept + coefficients . (x - means) / scales)))`; what is not known of x counts as its mean."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    features: tuple[str, ...] = Field(min_length=1)
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    fitted_on: str
    """What gold it was fitted on, in words."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if unknown := sorted(set(self.features) - FEATURES.keys()):
            raise ValueError(f"this version knows no feature {', '.join(unknown)}")
        if {len(self.means), len(self.scales), len(self.coefficients)} != {len(self.features)} or min(self.scales) <= 0:
            raise ValueError("its lists do not fit together")
        return self

    def __call__(self, values: Sequence[Mapping[str, float]]) -> Floats:
        """Confidence of each segment, 0..1, from its features; NaN for one of which nothing is known."""
        matrix = _matrix(values, self.features)
        standard = np.nan_to_num((matrix - np.array(self.means)) / np.array(self.scales), nan=0.0)
        confidence = _logistic(standard @ np.array(self.coefficients) + self.intercept)
        confidence[np.isnan(matrix).all(axis=1)] = math.nan
        return confidence

    def to_json(self) -> str:
        """The inverse of `from_json`."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """Read a calibration; `name` is for the message.

        Raises:
            SilverError: it is none, or one of features that this version does not know.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, problem['loc']))} {problem['msg']}".strip() for problem in error.errors()[:3])
            raise SilverError(f"{name} is no calibration of this version ({what}); make one with `silver calibrate`") from error


def fit(values: Sequence[Mapping[str, float]], words: Floats, errors: Floats, groups: Sequence[str], fitted_on: str) -> Calibration:
    """A calibration from segments whose errors are known.

    Args:
        values: features of each segment.
        words: words of each that count, shape (n,).
        errors: wrong ones among them, shape (n,), at most `words`.
        groups: what each belongs to (corpus, speaker, language); each is left out once.
        fitted_on: see `Calibration`.

    Raises:
        SilverError: too little, or nothing right, or nothing wrong.
    """
    right = words - errors
    if len(words) < 20 or not right.sum() or not errors.sum():
        raise SilverError(
            f"{len(words)} segments with {errors.sum():.0f} wrong of {words.sum():.0f} words are too little to fit a confidence on"
        )
    names = tuple(name for name in FEATURES if any(math.isfinite(value[name]) for value in values))
    matrix = _matrix(values, names)
    of = np.unique(np.asarray(groups), return_inverse=True)[1]
    weights = (1 / np.bincount(of, words))[of] * words.sum() / (of.max() + 1)
    if not of.max():
        of = np.arange(len(words)) % 5  # a single group: its segments
    means, scales = np.nanmean(matrix, axis=0), np.nanstd(matrix, axis=0)
    scales[~(scales > 0)] = 1.0
    standard = np.nan_to_num((matrix - means) / scales, nan=0.0)
    held_out = np.zeros(len(words))
    for fold in range(of.max() + 1):
        coefficients, intercept = _logit(standard[of != fold], right[of != fold], errors[of != fold], weights[of != fold])
        held_out[of == fold] = standard[of == fold] @ coefficients + intercept
    slope, shift = _logit(held_out[:, None], right, errors, weights)
    coefficients, intercept = _logit(standard, right, errors, weights)
    factor = max(float(slope[0]), 0.0)  # a negative one would turn the order round: then nothing is known
    return Calibration(
        features=names, means=_plain(means), scales=_plain(scales), coefficients=_plain(coefficients * factor),
        intercept=intercept * factor + shift, fitted_on=fitted_on,
    )  # fmt: skip


def _logit(matrix: Floats, right: Floats, wrong: Floats, weights: Floats) -> tuple[Floats, float]:
    """Coefficients and intercept of the logistic regression."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(
        np.concatenate([matrix, matrix]),
        np.concatenate([np.ones(len(right)), np.zeros(len(wrong))]),
        sample_weight=np.concatenate([right * weights, wrong * weights]),
    )
    return model.coef_[0], float(model.intercept_[0])


def _matrix(values: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    return np.array([[value[name] for name in names] for value in values], float).reshape(len(values), len(names))


def _logistic(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def _plain(values: npt.ArrayLike) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.asarray(values, float))
