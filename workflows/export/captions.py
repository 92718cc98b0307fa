"""Captions of whole recordings, from the segments that the release has of them: SRT, WebVTT and Praat's TextGrid.

Files are named by the recording's id. Times are seconds in the recording that was acquired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb

from workflows.export.samples import Shard, write


def srt(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<recording>.srt`."""
    for recording, rows in _recordings(shards, out, report):
        cues = [f"{n}\n{_clock(row['start'], ',')} --> {_clock(row['end'], ',')}\n{_arrow(_line(row))}\n" for n, row in enumerate(rows, 1)]
        write(out / f"{recording}.srt", "\n".join(cues).encode())


def vtt(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<recording>.vtt`; what a text has of `&`, `<` and `>` is escaped."""
    for recording, rows in _recordings(shards, out, report):
        cues = [
            f"{row['segment_id']}\n{_clock(row['start'], '.')} --> {_clock(row['end'], '.')}\n{_escaped(_arrow(_line(row)))}\n"
            for row in rows
        ]
        write(out / f"{recording}.vtt", "\n".join(["WEBVTT\n", *cues]).encode())


def textgrid(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<recording>.TextGrid`: a tier of segments and one of words; between them the intervals are empty."""
    for recording, found in _recordings(shards, out, report):
        rows = list(found)
        words = [(word["start"], word["end"], word["word"]) for row in rows for word in row["words"] or ()]
        end = max(row["end"] for row in rows)
        tiers = [("segments", [(row["start"], row["end"], _line(row)) for row in rows]), ("words", words)]
        lines = [
            'File type = "ooTextFile"',
            'Object class = "TextGrid"',
            "",
            "xmin = 0",
            f"xmax = {end}",
            "tiers? <exists>",
            "size = 2",
            "item []:",
        ]
        for number, (name, spans) in enumerate(tiers, 1):
            intervals = list(_filled(spans, end))
            lines += [
                f"    item [{number}]:",
                '        class = "IntervalTier"',
                f'        name = "{name}"',
                "        xmin = 0",
                f"        xmax = {end}",
            ]
            lines.append(f"        intervals: size = {len(intervals)}")
            for place, (first, last, text) in enumerate(intervals, 1):
                quoted = text.replace('"', '""')
                lines += [
                    f"        intervals [{place}]:",
                    f"            xmin = {first}",
                    f"            xmax = {last}",
                    f'            text = "{quoted}"',
                ]
        write(out / f"{recording}.TextGrid", ("\n".join(lines) + "\n").encode())


def _filled(spans: Sequence[tuple[float, float, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """Intervals without gaps, from 0 to the end; one that would begin before the last one ends begins there."""
    at = 0.0
    for first, last, text in sorted(spans):
        begin = max(at, first)
        if last <= begin:
            continue  # a word without length, or inside the one before: no interval can hold it
        if begin > at:
            yield at, begin, ""
        yield begin, last, " ".join(text.split())
        at = last
    if at < end:
        yield at, end, ""


def _recordings(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """Recordings with their rows in the order of time. Rows of one are in many shards: DuckDB sorts them, on disk where they are too many."""
    database = out / ".rows.duckdb"
    database.unlink(missing_ok=True)
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE rows (recording VARCHAR, start DOUBLE, row VARCHAR)")
        for shard in shards:
            wanted = ("segment_id", "recording_id", "start", "end", "text", "text_pnc", "words")
            rows = [{name: sample.row.get(name) for name in wanted} for sample in shard.samples() if sample.text]
            if rows:
                connection.executemany(
                    "INSERT INTO rows VALUES (?, ?, ?)", [(row["recording_id"], row["start"], json.dumps(row)) for row in rows]
                )
            report(shard.name)
        ordered = connection.execute("SELECT recording, row FROM rows ORDER BY recording, start, row")
        fetched = iter(lambda: ordered.fetchmany(1000), [])
        for recording, group in groupby((pair for some in fetched for pair in some), key=lambda pair: str(pair[0])):
            yield recording, (json.loads(row) for _, row in group)
    database.unlink(missing_ok=True)


def _line(row: dict[str, Any]) -> str:
    return " ".join(str(row.get("text_pnc") or row["text"]).split())


def _arrow(text: str) -> str:
    """What stands between the times of a cue may not stand in its text."""
    return text.replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds.

    >>> _clock(3725.0625, ",")
    '01:02:05,062'
    """
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{point}{whole % 1000:03d}"
