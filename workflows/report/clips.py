"""Segments to listen to: some of every reason and some that stayed, each with its audio, its words in time, and what was measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from manifests.corpus import Corpus, Manifest
from manifests.schema import KEY, key_of
from manifests.words import compare
from stages.audio import Samples, mp3, mp3_uri, read_audio
from stages.rules import columns

KEPT = "kept"
LONGEST = 30.0
"""Seconds of a clip at most: of a recording that was never cut, its beginning."""
FULL = "the page is full: `silver report --clips` with a smaller number leaves room"
Sound = tuple[bytes | None, list[int], str | None]
"""MP3 and the waveform, or why there is none."""
PEAKS = 200
"""Points of a waveform."""
_SIGNALS = (
    "confidence", "align_score", "agreement", "ctc_agreement", "label_confidence", "avg_logprob", "no_speech_prob", "compression_ratio",
    "audio_language", "audio_language_probability", "text_language", "text_language_probability", "letters_per_second", "repetition",
    "text_compression_ratio", "hallucination", "text_on_silence", "charset", "snr_db", "segment_clipping", "segment_bandwidth_hz",
    "speech_ratio", "music_share", "dnsmos", "speakers", "perplexity",
)  # fmt: skip


def chosen(corpus: Corpus, each: int) -> dict[str, list[str]]:
    """Keys (segment, else source) of at most `each` rows of every reason, and of those that are kept; at random, the same each time."""
    query = f"""
        SELECT unnest(string_split(coalesce(drop_reason, '{KEPT}'), ';')) AS reason, {KEY} AS key,
               hash(key) AS place FROM segments
    """  # noqa: S608 - a constant
    rows = corpus.query(f"SELECT reason, arg_min(key, place, {each}) AS keys FROM ({query}) GROUP BY reason ORDER BY reason")  # noqa: S608
    return {row["reason"]: row["keys"] for row in rows}


def clips(corpus: Corpus, groups: Mapping[str, Sequence[str]], manifest: Manifest | None, budget: int) -> Iterator[dict[str, Any]]:
    """The rows, a turn through the groups at a time, with audio until `budget` bytes of it are spent; those after that say that the page is full."""
    turns = [keys[turn] for turn in range(max(map(len, groups.values()), default=0)) for keys in groups.values() if turn < len(keys)]
    wanted = list(dict.fromkeys(turns))
    rows = {key_of(row): row for row in corpus.query(f"SELECT * FROM segments WHERE list_contains(?, {KEY})", [wanted])}  # noqa: S608 - a constant
    spent = 0
    for key in wanted:
        if key in rows:
            audio, peaks, why = sound(corpus, rows[key]) if spent <= budget else (None, [], FULL)
            uri = mp3_uri(audio) if audio else None
            spent += len(uri or "")
            yield clip(rows[key], manifest) | {"audio": uri, "peaks": peaks, "why": why}


def clip(row: Mapping[str, Any], manifest: Manifest | None) -> dict[str, Any]:
    """One row as plain values, without its audio. Times of words are seconds in the clip."""
    start = row["start"] or 0.0
    text = row.get("text_pnc") or row.get("text_raw") or row.get("text") or ""
    return {
        "key": key_of(row),
        "id": row["segment_id"] or row["recording_id"] or row["source_id"],
        "reasons": (row["drop_reason"] or KEPT).split(";"),
        "stage": row["drop_stage"],
        "detail": row["drop_detail"],
        "source": row["source_uri"],
        "title": row["title"],
        "channel": row["channel"],
        "speaker": row["speaker"],
        "language": row["language"],
        "licence": row["licence"],
        "start": start,
        "duration": row["duration"],
        "text": row.get("text") or "",
        "shown": text,
        "words": [[word["word"], _time(word["start"], start), _time(word["end"], start), word["score"]] for word in row.get("words") or ()],
        "labels": [
            {"labeller": label["labeller"], "text": label["text"], "runs": compare(text, label["text"])}
            for label in row.get("labels") or ()
        ],
        "signals": _signals(row, manifest),
        "shard": row.get("shard"),
    }


def _time(value: float | None, start: float) -> float | None:
    return None if value is None else round(value - start, 3)


def _signals(row: Mapping[str, Any], manifest: Manifest | None) -> list[dict[str, Any]]:
    """What was measured, beside the rules that read it and whether they let the row pass (None: it never came to the filter)."""
    rules = manifest.rules or {} if manifest else {}
    read: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for column in columns(name, rule):
            read.setdefault(column, []).append(name)
    came = manifest is not None and (row["drop_stage"] in (None, manifest.stage))
    failed = set((row["drop_reason"] or "").split(";"))
    return [
        {
            "name": name,
            "value": round(value, 4) if isinstance(value := row[name], float) else value,
            "rules": [{"name": rule, "is": rules[rule], "passed": rule not in failed if came else None} for rule in read.get(name, ())],
        }
        for name in _SIGNALS
        if row.get(name) is not None
    ]


def sound(corpus: Corpus, row: Mapping[str, Any]) -> Sound:
    """The audio of a row, of `LONGEST` seconds at most."""
    if not row.get("audio_path"):
        return None, [], "it was never decoded"
    end = min(row["end"], row["start"] + LONGEST)
    try:
        samples = read_audio(corpus.store, dict(row) | {"end": end})
    except (OSError, soundfile.LibsndfileError) as error:
        return None, [], f"{row['audio_path']} cannot be read ({type(error).__name__}); run the recipe again from `decode`"
    if not len(samples):
        return None, [], f"{row['audio_path']} is shorter than it should be"
    return mp3(samples, bitrate_mode="CONSTANT", compression_level=0.9), waveform(samples), None  # 24 kbit/s


def waveform(samples: Samples, points: int = PEAKS) -> list[int]:
    """The loudest sample of each of `points` stretches, 0 to 100, against the loudest of all.

    >>> waveform(np.array([0.0, 0.5, -1.0, 0.25], np.float32), 2)
    [50, 100]
    """
    edges = np.linspace(0, len(samples), min(points, len(samples)) + 1).astype(int)[:-1]
    peaks = np.maximum.reduceat(np.abs(samples), edges)
    return [int(value) for value in np.round(100 * peaks / max(float(peaks.max()), 1e-4))]
