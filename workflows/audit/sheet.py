"""The sheet of an audit: a table that a person fills in with any spreadsheet, or with the page beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import SilverError

COLUMNS = ("segment_id", "language", "channel", "text", "corrected", "verdict")
VERDICTS = ("right", "unusable", "")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Judgement:
    """What a person said of one segment: its text as it should be; None: it is unusable (noise, cut words, another language)."""

    segment_id: str
    text: str | None


def write_sheet(rows: Iterable[Mapping[str, Any]]) -> str:
    """The sheet with nothing filled in, as CSV. `corrected` empty and no verdict: not judged yet."""
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([guard(str(row.get(name) or "")) for name in COLUMNS[:4]] + ["", ""])
    return sink.getvalue()


def guard(text: str) -> str:
    """Text that no spreadsheet takes for a formula.

    >>> guard("=1+1"), guard("one")
    ("'=1+1", 'one')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


@dataclass(frozen=True)
class Line:
    """One line of a sheet, as it was filled in."""

    where: str
    segment_id: str
    text: str
    corrected: str
    verdict: str


def read_sheet(path: str) -> list[Line]:
    """The lines of a sheet. Comma, semicolon and tab are understood, and the byte order mark that spreadsheets write.

    Raises:
        SilverError: no such sheet, or columns missing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SilverError(f"the sheet {path} cannot be read ({error}); save it as CSV in UTF-8") from error
    head = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    names = ("segment_id", "text", "corrected", "verdict")
    if missing := [name for name in names if name not in (table.fieldnames or ())]:
        raise SilverError(f"{path}: the columns {', '.join(missing)} are missing; keep those of the sheet: {', '.join(COLUMNS)}")
    return [Line(f"{path}:{table.line_num}", *(_unguarded((values.get(name) or "").strip()) for name in names)) for values in table]


def judgements(lines: Iterable[Line], drawn: Mapping[str, str]) -> list[Judgement]:
    """What the lines say; `drawn` maps the segments of the audit to their labels. A line that is not filled in says nothing.

    Raises:
        SilverError: a line cannot be understood; the message names it.
    """
    judged: dict[str, Judgement | None] = {}
    for line in lines:
        identity, verdict = line.segment_id, line.verdict.lower()
        if identity not in drawn:
            raise SilverError(f"{line.where}: {identity!r} is no segment of this audit; leave the first column as it is")
        if " ".join(line.text.split()) != " ".join(drawn[identity].split()):
            raise SilverError(f"{line.where}: the text of {identity} is not the label any more; write what is right into `corrected`")
        if verdict not in VERDICTS:
            raise SilverError(f"{line.where}: the verdict {line.verdict!r} is none; leave it empty or write right or unusable")
        if identity in judged:
            raise SilverError(f"{line.where}: {identity} is judged twice")
        if verdict == "unusable":
            judged[identity] = Judgement(identity, None)
        elif line.corrected:
            judged[identity] = Judgement(identity, line.corrected)
        else:
            judged[identity] = Judgement(identity, drawn[identity]) if verdict == "right" else None
    return [judgement for judgement in judged.values() if judgement]
