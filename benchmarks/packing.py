"""Packing shards: Silver against webdataset's ShardWriter and lhotse's Shar writer, on the same segments of the same FLAC store, one core.

    taskset -c 0 .venv/bin/python -m benchmarks.packing [--minutes 60] [--recording 20] [--shard 3600]

Recordings of 20 minutes of real speech, each a part of the manifest (`workflows.demo.speech`), segments of 3 to 20 s, in the order of the release: shuffled over all
recordings. Each peer does what its users do: reads the span with soundfile, encodes it as FLAC, and hands it with its record to its writer. The second
comparison has the FLAC bytes and the records ready in memory: what a writer itself costs; Silver's has the SHA-256 of the tar in it. MB/s are of the tars
that are written: by the clock, and by the time of the processor, in which what else runs on the machine is not. Best of three of either.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import webdataset
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.shar import SharWriter

from manifests.part import read_rows
from manifests.store import Store
from stages.audio import SAMPLE_RATE, read_audio
from stages.pack.tar import Tar
from tests.small_corpus import SmallCorpus
from workflows.demo.speech import long_speech

LANGUAGES = ("en", "es", "fr")
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--recording", type=float, default=20, help="minutes of each recording")
    parser.add_argument("--shard", type=float, default=3600, help="seconds of audio in one of Silver's shards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="silver-bench-") as name:
        folder = Path(name)
        corpus = corpus_of(folder / "corpus", options.minutes, options.recording)
        rows = [row for ref in corpus.parts for row in read_rows(corpus.store, ref)]
        random.Random(0).shuffle(rows)
        seconds = sum(row["duration"] for row in rows)
        print(f"{len(rows)} segments, {seconds / 3600:.2f} hours")
        systems: dict[str, Callable[[Path], None]] = {
            "silver": lambda out: _silver(corpus, options.shard, out),
            "webdataset": lambda out: _webdataset(_read(corpus.store, rows), out),
            "lhotse": lambda out: _lhotse(corpus.store, rows, out),
        }
        print("from the FLAC store to shards, index and checksums included where they are made")
        _compare(systems, folder, seconds)
        ready = list(_read(corpus.store, rows))
        print("the writers alone: FLAC and records ready in memory")
        _compare({"silver": lambda out: _tar(ready, out), "webdataset": lambda out: _webdataset(iter(ready), out)}, folder, seconds)


def _compare(systems: dict[str, Callable[[Path], None]], folder: Path, seconds: float) -> None:
    best: dict[str, tuple[float, float, int]] = {}
    for turn in range(ROUNDS):
        for name, run in systems.items():
            out = folder / f"{name}-{turn}"
            began, busy = time.perf_counter(), time.process_time()
            run(out)
            took, used = time.perf_counter() - began, time.process_time() - busy
            size = sum(path.stat().st_size for path in out.rglob("*.tar"))
            had = best.get(name, (took, used, size))
            best[name] = (min(had[0], took), min(had[1], used), size)
            shutil.rmtree(out)
    first = best["silver"][1]
    for name, (took, used, size) in best.items():
        print(
            f"  {name:11} {took:7.2f} s {size / took / 1e6:7.1f} MB/s   processor {used:7.2f} s {size / used / 1e6:7.1f} MB/s  "
            f"{seconds / used:7.0f} times real time  silver is {used / first:5.2f} times as fast"
        )


def corpus_of(folder: Path, minutes: float, recording: float = 20) -> SmallCorpus:
    corpus = SmallCorpus(folder)
    chance = random.Random(1)
    made = 0.0
    while made < minutes:
        samples, _ = long_speech(LANGUAGES[len(corpus.parts) % 3], recording * 60, seed=len(corpus.parts))
        spans, at = [], 0.0
        while True:
            length = round(chance.uniform(3, 20), 3)
            if at + length > len(samples) / SAMPLE_RATE:
                break
            spans.append((round(at, 3), round(at + length, 3)))
            at += length
        rows = corpus.speech(f"/{len(corpus.parts)}.mp3", samples, spans)
        for row in rows:  # as many words as people say
            words = [
                {"word": "word", "start": row["start"] + n / 2.5, "end": row["start"] + n / 2.5 + 0.3, "score": 0.9123}
                for n in range(int(row["duration"] * 2.5))
            ]
            row |= {"words": words, "text": " ".join(["word"] * len(words))}
        corpus.add(rows)
        made += at / 60
    return corpus


def _silver(corpus: SmallCorpus, shard_seconds: float, out: Path) -> None:
    corpus.pack(version="v", shard_seconds=shard_seconds)
    out.parent.mkdir(exist_ok=True)
    shutil.move(Path(corpus.store.path("releases/v")), out)


def _read(store: Store, rows: list[dict[str, Any]]) -> Any:
    for row in rows:
        sink = io.BytesIO()
        soundfile.write(sink, read_audio(store, row), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        yield {"__key__": row["segment_id"], "flac": sink.getvalue(), "json": json.dumps(row).encode()}


def _webdataset(samples: Any, out: Path) -> None:
    out.mkdir()
    with webdataset.ShardWriter(str(out / "train-%06d.tar"), maxsize=100e6, maxcount=10**9, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def _lhotse(store: Store, rows: list[dict[str, Any]], out: Path) -> None:
    out.mkdir()
    with SharWriter(str(out), fields={"recording": "flac"}, shard_size=500) as writer:
        for cut in CutSet.from_cuts(_cut(store, row) for row in rows):
            writer.write(cut)


def _cut(store: Store, row: dict[str, Any]) -> Any:
    cut = Recording.from_file(store.path(row["audio_path"])).to_cut().truncate(offset=row["start"], duration=row["duration"])
    custom = {name: row[name] for name in ("words", "labels", "source_uri")}
    cut.supervisions = [SupervisionSegment(row["segment_id"], cut.recording_id, 0.0, cut.duration, text=row["text"], custom=custom)]
    return cut.with_id(row["segment_id"])


def _tar(samples: list[dict[str, Any]], out: Path) -> None:
    out.mkdir()
    with (out / "train.tar").open("wb") as handle:
        tar = Tar(handle)
        for sample in samples:
            tar.add(f"{sample['__key__']}.flac", sample["flac"])
            tar.add(f"{sample['__key__']}.json", sample["json"])
        tar.close()


if __name__ == "__main__":
    main()
