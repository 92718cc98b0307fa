"""Gold files: what was said, utterance by utterance, as people wrote it down."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import SilverError

NAMES = ("source_uri", "episode", "file", "recording", "audio")
"""What a gold file may call the recording; `source_uri`, or the file name at its end, is compared with that of the corpus."""


@dataclass(frozen=True)
class Utterance:
    """What was said in a recording from `start` to `end`, seconds; both None: in the whole of it, as far as is known."""

    recording: str
    start: float | None
    end: float | None
    text: str
    audio: str = ""
    """File it lies in: absolute, or relative to the gold file."""
    language: str | None = None
    speaker: str | None = None
    channel: str | None = None
    where: str = ""
    """File and line of the gold, for messages."""


def read_gold(path: str) -> list[Utterance]:
    """Utterances of a gold file: JSON lines, or a table (.csv, .tsv) with a header.

    Columns: `source_uri` (or `episode`, `file`, `recording`, `audio`), `text`, and if known `start` and `end` in seconds, `language`, `speaker`,
    `channel`; others are not looked at.

    Raises:
        SilverError: no such file, or a line that cannot be understood; the message names it.
    """
    try:
        utterances = [_utterance(values, f"{path}:{line}") for line, values in _entries(Path(path))]
    except (OSError, UnicodeDecodeError) as error:
        raise SilverError(f"the gold {path} cannot be read: {error}") from error
    if not utterances:
        raise SilverError(f"the gold {path} is empty")
    return utterances


def _entries(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix.lower() in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as handle:
            table = csv.DictReader(handle, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            for values in table:
                yield table.line_num, values
        return
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SilverError(f"{path}:{line} is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise SilverError(f"{path}:{line} is no JSON object, but {text[:40]!r}")
        yield line, values


def _utterance(values: Mapping[str, Any], where: str) -> Utterance:
    recording = _first(values, *NAMES)
    if recording is None or not isinstance(values.get("text"), str):
        raise SilverError(f"{where} needs a text and one of {', '.join(NAMES)}; it has {', '.join(map(str, values))}")
    start, end = (_seconds(values.get(name), name, where) for name in ("start", "end"))
    if (start is None) != (end is None) or (start is not None and end is not None and start > end):
        raise SilverError(f"{where}: start={start} and end={end} must both be given, in order, or neither")
    audio = _first(values, "audio", *NAMES[1:], NAMES[0]) or recording
    language, speaker, channel = (_first(values, name) for name in ("language", "speaker", "channel"))
    return Utterance(recording, start, end, values["text"], audio, language, speaker, channel, where)


def _first(values: Mapping[str, Any], *names: str) -> str | None:
    """The first of these that the line has; what is empty counts as absent."""
    return next((str(values[name]) for name in names if values.get(name) not in (None, "")), None)


def _seconds(value: object, name: str, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise SilverError(f"{where}: {name}={value!r} is no time in seconds")
    return seconds
