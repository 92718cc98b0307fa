"""Named rules over the columns of a row; the verdict and every reason, without recomputing anything.

A rule is a DuckDB expression that must be TRUE for a row to stay. FALSE drops it and so does NULL: what could not be measured does not
pass unseen (a rule that lets it pass says so, `agreement IS NULL OR ...`). Rules see one row at a time and give the same answer every
time, so aggregates, subqueries, clocks and files are refused, before any work starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from manifests.part import PartRef, read_part
from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext, PartStage, StageParams, drop, is_live
from stages.rules import columns, verdicts
from stages.words import written_words

_CODE = "regexp_extract(lower(language), '^[a-z]+')"
_SAME = "('nb', 'no'), ('nn', 'no'), ('fil', 'tl'), ('jv', 'jw'), ('cmn', 'zh'), ('zh', 'yue'), ('iw', 'he'), ('in', 'id')"
"""Expected codes that Whisper calls otherwise."""

DEFAULT_RULES = {
    "duration": "duration BETWEEN 1 AND 30",
    "audio_language": f"language IS NULL OR audio_language = {_CODE} OR ({_CODE}, audio_language) IN ({_SAME})",
    "audio_language_probability": "audio_language_probability >= 0.7",
    "text_language": "length(text) < 30 OR coalesce(greatest(text_language_expected, text_language_langid_expected), 1) >= 0.3",
    "charset": "charset IS NULL OR charset >= 0.8",
    "letters_per_second": "letters_per_second BETWEEN 1 AND 40",
    "repetition": "repetition <= 0.5",
    "text_compression_ratio": "text_compression_ratio IS NULL OR text_compression_ratio <= 3.5",
    "hallucination": "NOT hallucination",
    "text_on_silence": "text_on_silence IS NULL OR text_on_silence <= 0.5",
    "avg_logprob": "avg_logprob IS NULL OR avg_logprob >= -1",
    "agreement": "agreement IS NULL OR agreement >= 0.9",
}
"""Duration and letters a second as OLMoASR and Granary have them; probability of the heard language and agreement as YODAS-Granary and
OWSM v4 (WER of at most 10 %); log-probability as Whisper (Radford et al. 2022, section 4.5). A text is in another
language if fastText and langid both say so; shorter than 30 characters it is too little to tell. Loan words and names fit into 0.8 of the
letters. A compression ratio of 3.5 is beyond what people say (`stages.score.compression`). Of 694 voice prompts of 30 characters or more, in
five languages, no rule about text alone loses one."""


class Filter(PartStage):
    """Drops the rows for which a rule is not true; `drop_reason` names all such rules, `drop_detail` the values they saw.

    The rules are DuckDB expressions, each by itself over the columns of one row. With `target_wer` the corpus asks for an outcome: of
    the rows that every rule lets pass, those with the highest `confidence` stay, as many as keep the expected WER of all of them within
    the target; the others are dropped as `target_wer`. The threshold that follows from this is in every such row's `drop_detail`.
    """

    name, version = "filter", "1"
    packages = ("duckdb",)
    light = True

    class Params(StageParams):
        """See `rules`."""

        rules: dict[str, str] = Field(
            default=DEFAULT_RULES,
            validate_default=True,
            description="name: DuckDB expression over the row's columns that must be true; those given here are added to the default rules, "
            "replace them by name, or switch one off (null)",
        )

        target_wer: float | None = Field(
            None,
            gt=0,
            lt=1,
            description="expected WER of what is kept, over the whole corpus: 0.1 keeps all that is possible at one wrong word in ten",
        )

        @field_validator("rules", mode="before")
        @classmethod
        def _with_defaults(cls, given: object) -> object:
            if not isinstance(given, Mapping):
                return given
            return {name: rule for name, rule in (DEFAULT_RULES | dict(given)).items() if rule is not None and str(rule).strip()}

        @field_validator("rules")
        @classmethod
        def _checked(cls, rules: dict[str, str]) -> dict[str, str]:
            for name, rule in rules.items():
                if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                    raise ValueError(f"{name!r} is not a name for a rule: letters, digits and _, not a digit first")
                columns(name, rule)
            return rules

    def __init__(self, params: StageParams) -> None:
        super().__init__(params)
        # What a filter reads is in its rules: so a rule about a column that no stage adds fails when the recipe is read.
        used = {column: None for name, rule in self.params.rules.items() for column in columns(name, rule)}
        self.surveys = self.params.target_wer is not None
        self.reads = tuple(used | dict.fromkeys(("confidence", "text") if self.surveys else ()))  # type: ignore[misc]

    def survey(self, parts: Sequence[PartRef], store: Store, each: Callable[..., Iterable[Any]] = map) -> float:
        """The least confidence at which the expected WER of all rows from there on is within `target_wer`; above 1 where there is none."""
        passing = np.concatenate([np.zeros((2, 0)), *each(partial(self._passing, store), parts)], axis=1)
        return lowest_confidence(passing[0], passing[1], self.params.target_wer)

    def _passing(self, store: Store, ref: PartRef) -> npt.NDArray[np.float64]:
        """Confidence and number of words of each segment of a part that the rules let pass, shape (2, segments)."""
        table = read_part(store, ref, [*dict.fromkeys([*self.reads, "drop_reason"])])
        rows = [row for row in table.to_pylist() if is_live(row)]
        found = verdicts(self.params.rules, rows, table.schema)
        passing = [row for index, row in enumerate(rows) if all(found[name][index] is True for name in found)]
        known = [(row["confidence"], len(written_words(row["text"] or ""))) for row in passing if row["confidence"] is not None]
        return np.array(known, np.float64).reshape(-1, 2).T

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """The rows in order, each kept or dropped.

        Raises:
            SilverError: a rule names a column that is not there, is no boolean, or cannot be computed for these values.
        """
        rules: dict[str, str] = self.params.rules
        found = verdicts(rules, rows, context.schema, context.threads)
        for index, row in enumerate(rows):
            failing = [name for name in rules if found[name][index] is not True]
            if failing:
                yield drop(
                    row, ";".join(failing), "; ".join(_detail(name, rules[name], columns(name, rules[name]), row) for name in failing)
                )
            elif self.surveys and not (row["confidence"] is not None and np.float32(row["confidence"]) >= np.float32(self.surveyed)):
                yield drop(row, "target_wer", _too_unsure(row["confidence"], self.surveyed, self.params.target_wer))
            else:
                yield row


def lowest_confidence(confidences: npt.NDArray[np.float64], words: npt.NDArray[np.float64], target: float) -> float:
    """The least of `confidences` (0..1, shape (n,)) from which on the mean of 1 - confidence, weighted by `words`, is at most `target`.

    Above 1 if even the most confident segment expects more errors than that.

    >>> lowest_confidence(np.array([0.9, 0.8, 0.5]), np.array([10.0, 10.0, 10.0]), 0.16)
    0.8
    """
    order = np.argsort(-confidences, kind="stable")
    expected = np.cumsum(words[order] * (1 - confidences[order])) / np.maximum(np.cumsum(words[order]), 1)
    ends = np.append(np.diff(confidences[order]) != 0, [True])[: len(order)]  # equal ones stay or leave together
    within = np.flatnonzero((expected <= target + 1e-9) & ends)
    return float(confidences[order][within[-1]]) if len(within) else 2.0


def _too_unsure(confidence: float | None, least: float, target: float) -> str:
    if confidence is None:
        return "target_wer: no confidence (NULL)"
    if least > 1:
        return f"target_wer: no segment is confident enough for an expected WER of {target:g} (confidence={confidence:.6g})"
    return f"target_wer: an expected WER of {target:g} takes a confidence of {least:.6g} (confidence={confidence:.6g})"


def _detail(name: str, rule: str, used: Iterable[str], row: Row) -> str:
    values = ", ".join(f"{column}={_shown(row.get(column))}" for column in used)
    return f"{name}: {_short(' '.join(rule.split()), 40)} ({values})"  # a row that breaks many rules must find room for all values


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(value: Any) -> str:
    """A value in the words of SQL, short."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"{len(value)} entries"
    return repr(_short(value, 40)) if isinstance(value, str) else str(value)
