"""Tables for people and for programs: one list of rows, three formats. Text from the web is printed as text, never as markup."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160
"""Characters of a table that does not go to a terminal."""


LONGEST_CELL = 600
"""Characters of one cell of a table for people."""


class Format(StrEnum):
    """What `--format` takes."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def render(rows: Sequence[dict[str, Any]], how: Format, columns: Sequence[str] | None = None, title: str | None = None) -> None:
    """Print rows to standard output."""
    names = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    if how is Format.JSON:
        print(json.dumps([{name: row.get(name) for name in names} for row in rows], indent=1, ensure_ascii=False, default=str))
        return
    if how is Format.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
        return
    table = Table(title=title, box=None, pad_edge=False, title_justify="left", header_style="bold")
    numeric = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)}
    for name in names:
        # Ids are copied and pasted: they stay in one piece.
        table.add_column(
            Text(name), justify="right" if name in numeric else "left", overflow="fold", no_wrap=name in numeric or name.endswith("_id")
        )
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in names))
    console = Console()
    Console(width=None if console.is_terminal or "COLUMNS" in os.environ else PIPE_WIDTH).print(table)


def _text(value: Any) -> Text:
    return value if isinstance(value, Text) else Text(printable(_shortened(_cell(_rounded(value)))))


def coloured(runs: Sequence[tuple[str, str]]) -> Text:
    """Words of two texts (`manifests.words`) in one cell: what went is red and struck out, what came is green. Where there are no colours, as
    `git diff --word-diff` writes them.
    """
    shapes = {"same": ("{}", ""), "gone": ("[-{}-]", "red strike"), "new": ("{{+{}+}}", "green bold")}
    plain = Console().color_system is None
    text = Text()
    for change, words in runs:
        shape, style = shapes[change]
        text.append((" " if text else "") + (shape.format(printable(words)) if plain else printable(words)), style)
    return text


def printable(text: str) -> str:
    r"""Without the control characters with which a title could drive a terminal.

    >>> printable("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)


def _rounded(value: Any) -> Any:
    """Nested values with three decimals, for people."""
    if isinstance(value, dict):
        return {key: round(item, 3) if isinstance(item, float) else _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round(item, 3) if isinstance(item, float) else _rounded(item) for item in value]
    return value


def _shortened(text: str) -> str:
    return (
        text
        if len(text) <= LONGEST_CELL
        else f"{text[:LONGEST_CELL]}... ({len(text) - LONGEST_CELL} more characters; --format json shows all)"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
