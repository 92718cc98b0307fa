"""Tables, lists and pictures of the card. Titles and channels come from the web: here they are text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 50  # rows of a table; the rest is summed up, and listed in full in release.json


def by_size(counts: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of a table, the most first."""
    rows = sorted(((name, *values.values()) for name, values in counts.items()), key=lambda row: (-row[1], row[0]))
    if len(rows) > SHOWN:
        rest = rows[SHOWN - 1 :]
        rows[SHOWN - 1 :] = [(f"{len(rest)} others", sum(row[1] for row in rest), round(sum(row[2] for row in rest), 4))]
    return rows


def table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    """A Markdown table; the head is taken as it is, the cells are escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(value) if line != head else str(value) for value in line) + " |" for line in lines)


def cell(value: Any) -> str:
    """Text on one line that Markdown and HTML leave alone."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", text) if text.strip("-") else text


def bullets(lines: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"- {cell(line)}" for line in lines)


def figure(path: str, text: str) -> str:
    """A picture beside the card, with the text that stands for it."""
    return f"![{cell(text)}]({path})"
