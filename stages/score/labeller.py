"""What the labeller thinks of its own words: the probabilities of the chosen label's words (of the first label's, where the text is a vote).

The mean is the best single signal of the words' error that was measured here; the least one tells that some word is in doubt, and falls
with the length of the segment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def label_confidence(labels: Sequence[Mapping[str, Any]], origin: str | None = None) -> tuple[float | None, float | None]:
    """Mean and least of the `scores` of the label of `origin` (`manifests.schema.LABELS`), 0..1; None where it has none.

    >>> label_confidence([{"scores": [0.5, 1.0]}]), label_confidence([{"scores": None}]), label_confidence([])
    ((0.75, 0.5), (None, None), (None, None))
    """
    chosen = next((label for label in labels if label.get("labeller") == origin), labels[0] if labels else {})
    scores = [score for score in (chosen.get("scores") or []) if score is not None and math.isfinite(score)]
    return (sum(scores) / len(scores), min(scores)) if scores else (None, None)
