"""Confidence: what it is estimated from, how it is fitted, and what a recipe may ask of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.schema import Row
from pipeline.contract import PartContext, SilverError
from stages.confidence import Confidence
from stages.confidence.calibration import Calibration, fit
from stages.confidence.features import FEATURES, features


def row(probability: float, heard: str = "hello", words: int = 8) -> Row:
    """A segment whose labeller gave every word this probability."""
    said = [{"word": "hello", "start": 0.0, "end": 0.4, "score": probability, "spelled": "hello", "heard": heard} for _ in range(words)]
    label = {"labeller": "faster-whisper/base", "text": "hello " * words, "scores": [probability] * words, "avg_logprob": -0.2}
    return {
        "words": said,
        "labels": [label],
        "text": "hello " * words,
        "avg_logprob": math.log(probability),
        "perplexity": 8.0,
        "agreement": None,
    }


def confidence(rows: list[Row], **params: Any) -> list[float | None]:
    stage = Confidence(Confidence.Params(**params))
    stage.identity()
    stage.setup(PartContext(store=None))  # type: ignore[arg-type]
    return [out["confidence"] for out in stage.process(rows, PartContext(store=None))]  # type: ignore[arg-type]


def gold(groups: int = 4, each: int = 60, seed: int = 0) -> tuple[list[dict[str, float]], np.ndarray, np.ndarray, list[str]]:
    """Segments whose share of right words is the probability that their labeller gave them."""
    chance = np.random.default_rng(seed)
    probabilities = chance.uniform(0.3, 0.99, groups * each)
    words = chance.integers(5, 25, groups * each).astype(float)
    errors = chance.binomial(words.astype(int), 1 - probabilities).astype(float)
    return [features(row(p)) for p in probabilities], words, errors, [str(n % groups) for n in range(groups * each)]


def test_the_shipped_calibration_knows_a_good_segment_from_a_bad_one() -> None:
    good, bad, worse = confidence([row(0.97), row(0.6), row(0.3, heard="kazoo")])
    assert good is not None
    assert bad is not None
    assert worse is not None
    assert 1 >= good > 0.85 > bad > worse >= 0


def test_a_segment_of_which_nothing_is_known_has_no_confidence() -> None:
    empty = {"words": [], "labels": [], "text": "", "avg_logprob": None}
    assert confidence([empty, row(0.9)])[0] is None


def test_what_cannot_be_had_counts_as_average() -> None:
    one = row(0.9)
    by_attention = one | {"words": [word | {"spelled": None, "heard": None} for word in one["words"]]}
    found = features(by_attention)
    assert math.isnan(found["ctc_probability"])
    assert math.isnan(found["unwritten"])
    assert 0 < (confidence([by_attention])[0] or 0) < 1


def test_scores_that_are_not_numbers_do_no_harm() -> None:
    bad = row(0.9)
    bad["words"][0]["score"] = math.nan
    bad["labels"][0]["scores"][0] = None
    assert 0 < (confidence([bad])[0] or 0) < 1


def test_what_is_fitted_tells_the_share_of_right_words_of_a_group_it_never_saw() -> None:
    values, words, errors, groups = gold()
    inside = [n for n, group in enumerate(groups) if group != "0"]
    outside = [n for n, group in enumerate(groups) if group == "0"]
    found = fit([values[n] for n in inside], words[inside], errors[inside], [groups[n] for n in inside], "made-up segments")
    expected = found([values[n] for n in outside])
    right = 1 - errors[outside] / words[outside]
    assert abs(np.average(expected, weights=words[outside]) - np.average(right, weights=words[outside])) < 0.03
    assert np.corrcoef(expected, right)[0, 1] > 0.7


def test_a_fit_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    values, words, errors, groups = gold()
    path = tmp_path / "mine.json"
    path.write_text(fit(values, words, errors, groups, "made-up segments").to_json())
    read = Calibration.from_json(path.read_text(), "mine.json")
    assert read.fitted_on == "made-up segments"
    assert confidence([row(0.95)], calibration=str(path))[0] == pytest.approx(read([features(row(0.95))])[0])
    stage = Confidence(Confidence.Params(calibration=str(path)))
    assert stage.identity() != Confidence(Confidence.Params()).identity(), "another calibration is another result"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda plain: plain | {"features": ["aura", *plain["features"][1:]]},
            r"mine\.json is no calibration of this version .*knows no feature aura.*silver calibrate",
        ),
        (lambda plain: plain | {"means": plain["means"][1:]}, "its lists do not fit together"),
        (lambda plain: plain | {"intercept": math.nan}, "intercept Input should be a finite number"),
        (lambda plain: [plain], "is no calibration"),
    ],
)
def test_a_damaged_calibration_is_refused_before_any_work(tmp_path: Path, change: Any, message: str) -> None:
    values, words, errors, groups = gold()
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(change(json.loads(fit(values, words, errors, groups, "x").to_json()))))
    with pytest.raises(SilverError, match=message):
        Confidence(Confidence.Params(calibration=str(path))).identity()


def test_a_missing_calibration_is_named() -> None:
    with pytest.raises(SilverError, match=r"/nowhere/mine\.json cannot be read.*silver calibrate"):
        Confidence(Confidence.Params(calibration="/nowhere/mine.json")).identity()


def test_too_little_gold_is_refused() -> None:
    values, words, errors, groups = gold(groups=1, each=10)
    with pytest.raises(SilverError, match=r"10 segments .* are too little"):
        fit(values, words, errors, groups, "x")
    values, words, errors, groups = gold(groups=1, each=40)
    with pytest.raises(SilverError, match="are too little"):
        fit(values, words, errors * 0, groups, "x")


def test_every_feature_has_a_name_and_means_the_same_for_a_long_and_a_short_segment() -> None:
    short, long = features(row(0.8, words=4)), features(row(0.8, words=40))
    assert short.keys() == FEATURES.keys()
    assert {name: value for name, value in short.items() if not math.isnan(value)} == pytest.approx(
        {name: value for name, value in long.items() if not math.isnan(value)}
    )
