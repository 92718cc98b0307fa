"""A release as a whole recipe makes it: confidence, licences of many kinds, stages with models; over the made-up recordings of `small_corpus`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests.corpus import CURRENT
from manifests.part import Counts, to_table, write_part
from manifests.schema import Row, extend
from pipeline.contract import CorpusContext
from stages.pack import Pack
from tests.small_corpus import FOLDER, SCHEMA, SmallCorpus

MORE = extend(SCHEMA, pa.schema([("confidence", pa.float32()), ("letters_per_second", pa.float32())]))
MODELS = {
    "acquire": {},
    "transcribe": {"model": "large-v3", "sha256": "abc123"},
    "align": {"model": "MMS_FA", "checkpoint": "c0ffee"},
    "second": {"model": "greek-2", "sha256": "f00"},
    "filter": {},
}
RECIPE = {
    "name": "Radio",
    "description": "Talk of many stations",
    "language": "en",
    "contact": "corpus@example.org",
    "licence": "CC0-1.0",
    "transcribe": {"model": "large-v3"},
    "second": {"stage": "transcribe", "model": "greek-2"},
    "filter": {"rules": {"agreement": "agreement >= 0.9"}},
}
LICENCES = {
    "station": "CC-BY-4.0", "no | <b>pipes</b>": "https://creativecommons.org/licenses/by-nd/4.0/", "silent": None, "own": "All rights reserved",
    "merchant": "CC BY-NC 4.0",
}  # fmt: skip


def released(root: Path, recipe: dict[str, Any] | None = None, **parameters: Any) -> SmallCorpus:
    """A corpus with a release `v1`, one recording of three segments for each of `LICENCES`."""
    corpus = SmallCorpus(root)
    for number, (channel, licence) in enumerate(LICENCES.items()):
        rows = corpus.segments(
            f"https://example.org/{number}.mp3", number, [(0.0, 1.0), (1.25, 2.0), (2.5, 4.0)], channel=channel, licence=licence
        )
        for place, row in enumerate(rows):
            row |= {"confidence": 0.8 + 0.05 * place, "letters_per_second": 10.0}
        rows[1] |= {"drop_stage": "filter", "drop_reason": "agreement", "drop_detail": "too low"}
        add(corpus, rows)
    corpus.split(splits={"dev": 0.4})
    names(corpus)
    parameters = {"version": "v1"} | parameters
    context = CorpusContext(corpus.store, [], 1200, "ab", {**(recipe or RECIPE), "root": corpus.store.root, "pack": parameters}, map)
    list(Pack(Pack.Params(**parameters)).run(corpus.parts, context))
    return corpus


def add(corpus: SmallCorpus, rows: list[Row]) -> None:
    """Commit rows with a confidence as the next part."""
    corpus.parts.append(write_part(corpus.store, FOLDER, f"{len(corpus.parts):016x}", to_table(rows, MORE), Counts.of(rows)))


def names(corpus: SmallCorpus) -> None:
    """Write `_stage.json` of the stages of `MODELS`, as the engine does."""
    stages = [{"stage": stage, "fingerprint": f"{number:012x}"} for number, stage in enumerate(MODELS)]
    corpus.store.write(CURRENT, json.dumps({"recipe": "x", "stages": stages}).encode())
    for entry in stages:
        info = entry | {
            "version": "1",
            "identity": MODELS[entry["stage"]],
            "parameters": {"beam_size": 5},
            "software": {"faster-whisper": "1.2"},
        }
        corpus.store.write(f"manifests/{entry['stage']}/{entry['fingerprint']}/_stage.json", json.dumps(info).encode())
