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


def read_sheet(path: str, drawn: Mapping[str, str]) -> list[Judgement]:
    """The judged rows of a sheet; `drawn` maps the segments of the audit to their labels.

    Comma, semicolon and tab are understood, and the byte order mark that spreadsheets write.

    Raises:
        SilverError: no such sheet, columns missing, or a line that cannot be understood; the message names it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SilverError(f"the sheet {path} cannot be read ({error}); save it as CSV in UTF-8") from error
    head = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    if missing := [name for name in ("segment_id", "text", "corrected", "verdict") if name not in (table.fieldnames or ())]:
        raise SilverError(f"{path}: the columns {', '.join(missing)} are missing; keep those of the sheet: {', '.join(COLUMNS)}")
    judged: dict[str, Judgement] = {}
    for values in table:
        where = f"{path}:{table.line_num}"
        identity, label, corrected, verdict = ((values.get(name) or "").strip() for name in ("segment_id", "text", "corrected", "verdict"))
        identity = _unguarded(identity)
        if identity not in drawn:
            raise SilverError(f"{where}: {identity!r} is no segment of this audit; leave the first column as it is")
        if " ".join(_unguarded(label).split()) != " ".join(drawn[identity].split()):
            raise SilverError(f"{where}: the text of {identity} is not the label any more; write what is right into `corrected`")
        if verdict.lower() not in VERDICTS:
            raise SilverError(f"{where}: the verdict {verdict!r} is none; leave it empty or write right or unusable")
        if identity in judged:
            raise SilverError(f"{where}: {identity} is judged twice")
        if verdict.lower() == "unusable":
            judged[identity] = Judgement(identity, None)
        elif corrected:
            judged[identity] = Judgement(identity, _unguarded(corrected))
        elif verdict.lower() == "right":
            judged[identity] = Judgement(identity, drawn[identity])
    return list(judged.values())
