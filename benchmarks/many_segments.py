"""Makes the manifests of a corpus of many segments, to look at: `silver funnel OUT`, `silver diff OUT`, ...

    .venv/bin/python -m benchmarks.many_segments OUT --parts 3000

Each part stands for ten hours: 20 recordings, 6,667 segments, 5.4 seconds each, in 300 channels and three languages; 3,000 parts are 30,000 hours and 20 million
segments. Columns are those of `configs/folder.yaml`, values are drawn; each segment has six words with times and a label. There is no audio. Manifests of
`decode`, `confidence` and two of `filter`, which differ in one threshold, are written; those of the stages before are further names of the same files.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from manifests.corpus import CURRENT, Manifest
from manifests.part import Counts, PartRef, write_part
from manifests.schema import LABELS, ROW, WORDS, extend
from manifests.store import Store
from pipeline.recipe import load
from stages import STAGES, find

RECORDINGS, SEGMENTS, SECONDS, WORDS_EACH = 20, 6667, 36000.0, 6
SYLLABLES = ["ka", "lo", "mi", "ne", "ru", "sta", "te", "vi", "wo", "ze"]
VOCABULARY = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]
RULES = {
    "duration": "duration BETWEEN 1 AND 30",
    "audio_language_probability": "audio_language_probability >= 0.7",
    "letters_per_second": "letters_per_second BETWEEN 1 AND 40",
    "repetition": "repetition <= 0.5",
    "avg_logprob": "avg_logprob IS NULL OR avg_logprob >= -1",
    "agreement": "agreement IS NULL OR agreement >= 0.9",
}
OLDER = RULES | {"agreement": "agreement IS NULL OR agreement >= 0.8"}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--parts", type=int, default=3000)
    arguments = parser.parse_args()
    store = Store(arguments.root)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.map(functools.partial(part, arguments.root), range(arguments.parts), chunksize=10)
    recipe = load("configs/folder.yaml", [f"root={arguments.root}", "language=xx", "acquire.path=/nowhere"], find, STAGES, {})
    names = [spec.name for spec in recipe.stages if spec.name != "pack"]
    for name in names:
        held = "decode" if name in ("acquire", "decode") else "filter" if name == "filter" else "confidence"
        refs = [{"decode": a, "confidence": b, "filter": d}[held] for a, b, _, d in made]
        manifest = Manifest(store, name, "now")
        if name != held:
            refs = [PartRef(f"{manifest.folder}/{ref.path.rpartition('/')[2]}", ref.key, ref.digest, ref.counts) for ref in refs]
            for ref, (first, second, *_) in zip(refs, made, strict=True):
                store.copy((first if held == "decode" else second).path, ref.path)
        manifest.write_info({"parameters": {"rules": RULES} if name == "filter" else {}, "created": "2026-01-02", "stage": name})
        manifest.finish(refs, "")
    older = Manifest(store, "filter", "before")
    older.write_info({"parameters": {"rules": OLDER}, "created": "2026-01-01", "stage": "filter"})
    older.finish([before for _, _, before, _ in made], "")
    stages = [{"stage": name, "fingerprint": "now"} for name in names]
    store.write(CURRENT, json.dumps({"recipe": "many", "language": "xx", "stages": stages}).encode())
    print(f"{arguments.parts * SEGMENTS} segments, {arguments.parts * SECONDS / 3600:.0f} hours in {arguments.root}")


@functools.lru_cache(maxsize=1)
def _schemas(root: str) -> dict[str, pa.Schema]:
    recipe = load("configs/folder.yaml", [f"root={root}", "language=xx", "acquire.path=/nowhere"], find, STAGES, {})
    schema, found = ROW, {}
    for spec in recipe.stages:
        schema = found[spec.name] = extend(schema, spec.stage.adds)
    return found


def part(root: str, number: int) -> tuple[PartRef, PartRef, PartRef, PartRef]:
    """One part of each: decode, confidence, filter as it was, filter."""
    chance, store = np.random.default_rng(number), Store(root)
    ids = [f"{value:016x}" for value in chance.integers(0, 2**63, RECORDINGS)]
    of = np.repeat(np.arange(RECORDINGS), -(-SEGMENTS // RECORDINGS))[:SEGMENTS]
    channels = [f"channel {value}" for value in chance.integers(0, 300, RECORDINGS)]
    languages = [("el", "xx", "yy")[value] for value in chance.integers(0, 3, RECORDINGS)]
    uris = [f"https://example.org/{number}/{place}.mp3" for place in range(RECORDINGS)]
    recordings: dict[str, Any] = {
        "source_id": ids, "recording_id": ids, "source_uri": uris, "start": [0.0] * RECORDINGS, "end": [SECONDS / RECORDINGS] * RECORDINGS,
        "duration": [SECONDS / RECORDINGS] * RECORDINGS, "language": languages, "channel": channels, "codec": ["mp3"] * RECORDINGS,
        "audio_path": [f"audio/{name[:2]}/{name}.flac" for name in ids],
    }  # fmt: skip
    durations = SECONDS / SEGMENTS * np.clip(chance.gamma(4, 0.25, SEGMENTS), 0.1, 5)
    begins = np.concatenate([np.cumsum(durations[of == index]) - durations[of == index] for index in range(RECORDINGS)])
    words = chance.integers(0, len(VOCABULARY), SEGMENTS * WORDS_EACH)
    flat = pa.array(VOCABULARY).take(pa.array(words))
    spread = np.repeat(begins, WORDS_EACH) + np.tile(np.arange(WORDS_EACH), SEGMENTS) * np.repeat(durations / WORDS_EACH, WORDS_EACH)
    offsets = pa.array(np.arange(0, len(words) + 1, WORDS_EACH, dtype=np.int32))
    columns = {"word": flat, "spelled": flat, "heard": flat, "start": pa.array(spread), "end": pa.array(spread + 0.3),
               "score": pa.array(chance.beta(8, 2, len(words)).astype(np.float32))}  # fmt: skip
    values = [columns.get(field.name, pa.nulls(len(words), field.type)) for field in WORDS.value_type]
    texts = [" ".join(VOCABULARY[word] for word in row) for row in words.reshape(SEGMENTS, WORDS_EACH)]
    confidence = chance.beta(9, 1.2, SEGMENTS).astype(np.float32)
    logprob = -chance.gamma(2, 0.15, SEGMENTS).astype(np.float32)
    labels = {"labeller": pa.array(["faster-whisper/large-v3"] * SEGMENTS), "text": pa.array(texts), "avg_logprob": pa.array(logprob)}
    label = pa.StructArray.from_arrays(
        [labels.get(field.name, pa.nulls(SEGMENTS, field.type)) for field in LABELS.value_type], fields=list(LABELS.value_type)
    )
    segments: dict[str, Any] = {
        **{name: pa.array(recordings[name]).take(pa.array(of)) for name in ("source_id", "recording_id", "source_uri", "language", "channel", "audio_path")},
        "segment_id": [f"{ids[n]}-{round(a * 1000):08d}-{round((a + d) * 1000):08d}" for n, a, d in zip(of, begins, durations, strict=True)],
        "start": begins, "end": begins + durations, "duration": durations, "text": texts, "text_pnc": texts, "text_raw": texts,
        "words": pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(values, fields=list(WORDS.value_type))),
        "labels": pa.ListArray.from_arrays(pa.array(np.arange(SEGMENTS + 1, dtype=np.int32)), label),
        "audio_language_probability": chance.beta(20, 1.5, SEGMENTS).astype(np.float32), "avg_logprob": logprob,
        "letters_per_second": chance.gamma(9, 1.5, SEGMENTS).astype(np.float32), "confidence": confidence,
        "repetition": (chance.random(SEGMENTS) ** 8).astype(np.float32), "agreement": np.clip(confidence + chance.normal(0.05, 0.05, SEGMENTS), 0, 1).astype(np.float32),
        "snr_db": chance.normal(18, 8, SEGMENTS).astype(np.float32), "align_score": chance.beta(8, 2, SEGMENTS).astype(np.float32),
    }  # fmt: skip
    schemas = _schemas(root)
    heard = Counts(rows=RECORDINGS, live=RECORDINGS, seconds=SECONDS)
    decoded = write_part(store, "manifests/decode/now", f"{number:016x}", _table(recordings, RECORDINGS, schemas["decode"]), heard)
    table = _table(segments, SEGMENTS, schemas["confidence"])
    cut = Counts(RECORDINGS, RECORDINGS, SECONDS, SEGMENTS, SEGMENTS, float(durations.sum()), SEGMENTS - RECORDINGS)
    scored = write_part(store, "manifests/confidence/now", f"{number:016x}", table, cut)
    filtered = [
        write_part(store, f"manifests/filter/{name}", f"{number:016x}", *_filtered(table, rules, cut))
        for name, rules in (("before", OLDER), ("now", RULES))
    ]
    return decoded, scored, filtered[0], filtered[1]


def _table(columns: dict[str, Any], rows: int, schema: pa.Schema) -> pa.Table:
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema]
    arrays = [array if isinstance(array, pa.Array) else pa.array(array, field.type) for array, field in zip(arrays, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _filtered(table: pa.Table, rules: dict[str, str], before: Counts) -> tuple[pa.Table, Counts]:
    verdict = ", ".join(f"CASE WHEN ({rule}) IS NOT TRUE THEN '{name}' END" for name, rule in rules.items())
    connection = duckdb.connect(config={"threads": 1})
    connection.register("rows_", table)
    query = f"SELECT nullif(concat_ws(';', {verdict}), '') AS reasons FROM rows_"
    reasons = connection.sql(query).to_arrow_table().column(0).combine_chunks()
    dropped = [None if reason is None else "filter" for reason in reasons.to_pylist()]
    columns = {"drop_reason": reasons, "drop_stage": pa.array(dropped), "drop_detail": reasons}
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values.cast(pa.string()))
    found: dict[str, tuple[int, float]] = {}
    for reason, seconds in zip(reasons.to_pylist(), table.column("duration").to_pylist(), strict=True):
        if reason is not None:
            had = found.get(f"filter:{reason}", (0, 0.0))
            found[f"filter:{reason}"] = (had[0] + 1, had[1] + seconds)
    lost = sum(rows for rows, _ in found.values()), sum(seconds for _, seconds in found.values())
    counts = Counts(before.rows, before.live, before.seconds, before.rows, before.rows - lost[0], before.seconds - lost[1], 0, found)
    return table, counts


if __name__ == "__main__":
    main()
