"""Columns that every row has, and the nested types that several stages share.

A manifest starts with the columns of `ROW`; each stage adds its own (`Stage.adds`). A row is a recording until `segment`
gives it a `segment_id`. Times are seconds in the recording, rates are hertz.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = dict[str, Any]

CHARACTERS = pa.list_(pa.struct([("character", pa.string()), ("start", pa.float64()), ("end", pa.float64()), ("score", pa.float32())]))
"""One entry a character that the aligner spelled (`*` for a wildcard, its score null): times and score as in `WORDS`."""

WORDS = pa.list_(
    pa.struct(
        [
            ("word", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("score", pa.float32()),
            ("spelled", pa.string()),
            ("heard", pa.string()),
            ("characters", CHARACTERS),
        ]
    )
)
"""One entry a word, in order: written form, times in seconds in the recording, mean frame probability in 0..1 (or null).

Of a CTC aligner also the characters that it looked for (`spelled`, `*` for what it cannot spell) and those that it would have written by
itself around that time (`heard`: its greedy text, parted at the middle of the gaps between words, so that all of it is in some word), both
without spaces; `characters` only if asked for."""

LABELS = pa.list_(
    pa.struct(
        [
            ("labeller", pa.string()),
            ("text", pa.string()),
            ("avg_logprob", pa.float32()),
            ("no_speech_prob", pa.float32()),
            ("compression_ratio", pa.float32()),
            ("scores", pa.list_(pa.float32())),
        ]
    )
)
"""Every hypothesis that was kept, one entry a labeller. `scores`: the labeller's probability of each word of its text
(`stages.words.written_words`), or null."""

IDENTITY = ("source_id", "recording_id", "segment_id")
DROP = ("drop_stage", "drop_reason", "drop_detail")

ROW = pa.schema(
    [
        ("source_id", pa.string()),  # 16 hex of sha256(source_uri + version): one acquired source
        ("recording_id", pa.string()),  # 16 hex of the sha256 of the 16 kHz samples; null until decoded
        ("segment_id", pa.string()),  # <recording_id>-<start_ms:08d>-<end_ms:08d>; null until segmented
        ("source_uri", pa.string()),  # what was acquired: a URL or a path
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("duration", pa.float64()),
        ("language", pa.string()),  # expected language, BCP 47
        ("channel", pa.string()),
        ("speaker", pa.string()),
        ("licence", pa.string()),
        ("title", pa.string()),
        ("published", pa.string()),  # ISO 8601
        ("drop_stage", pa.string()),
        ("drop_reason", pa.string()),
        ("drop_detail", pa.string()),
    ]
)


KEY = "coalesce(segment_id, source_id)"
"""SQL of what names a row: its segment, or the source that it still is."""


def key_of(row: Mapping[str, Any]) -> str:
    """The same of a row in hand.

    >>> key_of({"source_id": "b4adb41e2ffb5f0e", "segment_id": None})
    'b4adb41e2ffb5f0e'
    """
    return str(row["segment_id"] or row["source_id"])


def source_id(source_uri: str, version: str = "") -> str:
    """Identity of one acquired source.

    >>> source_id("/data/a.mp3")
    'b4adb41e2ffb5f0e'
    """
    return hashlib.sha256(f"{source_uri}\n{version}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def segment_id(recording_id: str, start: float, end: float) -> str:
    """Identity of a span of a recording, `start` and `end` in seconds. No dots: WebDataset splits keys at the first dot.

    >>> segment_id("00112233445566ff", 1.5, 12.25)
    '00112233445566ff-00001500-00012250'
    """
    return f"{recording_id}-{round(start * 1000):08d}-{round(end * 1000):08d}"


def extend(schema: pa.Schema, added: pa.Schema) -> pa.Schema:
    """The schema after a stage: columns it adds come last; one that was there already keeps its place and takes the new type."""
    for field in added:
        index = schema.get_field_index(field.name)
        schema = schema.set(index, field) if index >= 0 else schema.append(field)
    return schema
