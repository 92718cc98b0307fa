"""What a CTC aligner makes of a label: could it spell it, and would it have written the same?

Both are of the `words` that align left (`manifests.schema.WORDS`): `spelled` is what it looked for, `heard` what it writes by itself. The share
of wildcards says how much of a label was not checked at all; agreement with a second network's greedy text is the filter of OWSM v4 (Peng et al.
2025: CTC score) and of the noisy student of GigaSpeech 2 (Yang et al. 2024: CER between the label and a model's own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

WILDCARD = "*"

Words = Sequence[Mapping[str, Any]]


def wildcard_share(words: Words) -> float | None:
    """Share of wildcards among the characters looked for, 0..1; None where the aligner spells nothing.

    >>> wildcard_share([{"spelled": "route"}, {"spelled": "*****"}]), wildcard_share([{"spelled": None}]), wildcard_share([])
    (0.5, None, None)
    """
    spelled = "".join(word.get("spelled") or "" for word in words)
    return spelled.count(WILDCARD) / len(spelled) if spelled else None


def ctc_agreement(words: Words) -> float | None:
    """1 - character error rate of what was heard against what was spelled, not below 0; None where either is missing.

    A word that is all wildcards says nothing, nor does what was heard there.

    >>> ctc_agreement([{"spelled": "hello", "heard": "helo"}, {"spelled": "**", "heard": ""}]), ctc_agreement([{"spelled": "a", "heard": None}])
    (0.8, None)
    """
    checked = [word for word in words if word.get("heard") is not None and (word.get("spelled") or "").strip(WILDCARD)]
    spelled = "".join(word["spelled"].replace(WILDCARD, "") for word in checked)
    if not spelled:
        return None
    return max(0.0, 1.0 - Levenshtein.distance(spelled, "".join(word["heard"] for word in checked)) / len(spelled))
