"""What the labeller thinks of its own words: the probabilities of the first label's words.

The mean is the best single signal of the words' error that was measured here; the least one tells that some word is in doubt, and falls
with the length of the segment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def label_confidence(labels: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Mean and least of the `scores` of the first label (`manifests.schema.LABELS`), 0..1; None where it has none.

    >>> label_confidence([{"scores": [0.5, 1.0]}]), label_confidence([{"scores": None}]), label_confidence([])
    ((0.75, 0.5), (None, None), (None, None))
    """
    scores = [score for score in (labels[0].get("scores") or [] if labels else []) if score is not None and math.isfinite(score)]
    return (sum(scores) / len(scores), min(scores)) if scores else (None, None)
