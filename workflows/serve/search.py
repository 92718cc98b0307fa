"""Which segments somebody wants to see: values of a form, as SQL with nothing of theirs in it but parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from manifests.histogram import finite, is_number
from manifests.schema import KEY

PAGE = 50
"""Segments of a page."""
_TEXTS = ("text", "text_pnc", "text_raw", "title")
_NAMES = ("segment_id", "recording_id", "source_id", "source_uri", "channel", "speaker")
_FIELDS = ("reason", "language", "channel", "words", "signal", "low", "high", "order", "page")


@dataclass(frozen=True)
class Search:
    """A condition with its parameters, an order, and a page of what is found.

    >>> Search.of({"reason": "snr", "language": "nl", "page": "3"}, {})
    Search(condition="list_contains(string_split(drop_reason, ';'), ?) AND language = ?", parameters=('snr', 'nl'), order='', page=3)
    """

    condition: str = "true"
    parameters: tuple[Any, ...] = ()
    order: str = ""
    page: int = 0

    @classmethod
    def of(cls, form: Mapping[str, str], there: Mapping[str, str]) -> Self:
        """What a form asks for. `there`: columns and their types.

        Fields, all optional: `reason` (`kept`, or a reason), `language`, `channel`, `words` (found in the text or the title, or the name of a segment,
        recording, source, channel or speaker), `signal` with `low`, `high` and `order` (`up`, `down`), `page` from 0.

        Raises:
            ValueError: a field that there is not, or a value that it cannot have.
        """
        if unknown := [name for name in form if name not in _FIELDS]:
            raise ValueError(f"no such field: {unknown[0]}; there are {', '.join(_FIELDS)}")
        conditions: list[str] = []
        parameters: list[Any] = []
        given = {name: value for name, value in form.items() if value}
        if (reason := given.get("reason")) == "kept":
            conditions.append("drop_reason IS NULL")
        elif reason:
            conditions.append("list_contains(string_split(drop_reason, ';'), ?)")
            parameters.append(reason)
        for name in ("language", "channel"):
            if name in given:
                conditions.append(f"{name} = ?")
                parameters.append(given[name])
        if words := given.get("words"):
            inside = [f"contains(lower({name}), lower(?))" for name in _TEXTS if name in there]
            named = [f"{name} = ?" for name in _NAMES if name in there]
            conditions.append(f"({' OR '.join(inside + named)})")
            parameters += [words] * (len(inside) + len(named))
        order = ""
        if signal := given.get("signal"):
            if not is_number(there.get(signal, "")):
                raise ValueError(f"{signal} is no column of numbers")
            for name, sign in (("low", ">="), ("high", "<=")):
                if name in given:
                    conditions.append(f"{finite(signal)} {sign} ?")
                    parameters.append(_number(name, given[name]))
            order = _order(signal, given.get("order"))
        return cls(" AND ".join(conditions) or "true", tuple(parameters), order, _page(given.get("page", "0")))


def _order(signal: str, wanted: str | None) -> str:
    if wanted is None:
        return ""
    if wanted not in ("up", "down"):
        raise ValueError(f"order is up or down, not {wanted}")
    return f"ORDER BY {finite(signal)} {'ASC' if wanted == 'up' else 'DESC'} NULLS LAST, {KEY}"


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name} is a number, not {text}") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} is a finite number, not {text}")
    return value


def _page(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError(f"page is a number from 0, not {text}")
    return int(text)
