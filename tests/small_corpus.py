"""A corpus root as it is before `pack`: recordings as FLAC, one manifest of segments, nothing of the engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from manifests.corpus import CURRENT
from manifests.part import Counts, PartRef, to_table, write_part
from manifests.schema import LABELS, ROW, WORDS, Row, extend, segment_id, source_id
from manifests.store import Store
from pipeline.contract import CorpusContext
from stages.audio import SAMPLE_RATE, Samples, audio_path
from stages.pack import Pack
from stages.split import Split

FOLDER = "manifests/filter/feedbeef"

SCHEMA = extend(
    ROW,
    pa.schema(
        [
            ("audio_path", pa.string()),
            ("media_uri", pa.string()),
            ("audio_language", pa.string()),
            ("labels", LABELS),
            ("words", WORDS),
            ("align_score", pa.float32()),
            ("text", pa.string()),
        ]
    ),
)


class SmallCorpus:
    """Parts of segments over made-up recordings (noise, so that no two samples are alike)."""

    def __init__(self, root: Path) -> None:
        self.store = Store(str(root))
        self.parts: list[PartRef] = []
        self.reported: list[str] = []

    def recording(self, seed: int, seconds: float) -> tuple[str, str]:
        """Store a recording of noise; its id and the path of its FLAC."""
        return self.store_audio(np.random.default_rng(seed).integers(-3000, 3000, round(seconds * SAMPLE_RATE), dtype=np.int16))

    def store_audio(self, pcm: npt.NDArray[np.int16]) -> tuple[str, str]:
        """Store some audio; its id and the path of its FLAC."""
        digest = hashlib.sha256(pcm.tobytes()).hexdigest()
        path = Path(self.store.path(audio_path(digest)))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, pcm, SAMPLE_RATE, subtype="PCM_16")
        return digest[:16], audio_path(digest)

    def segments(self, uri: str, seed: int, spans: list[tuple[float, float]], **columns: Any) -> list[Row]:
        """Live rows of one recording."""
        return self._rows(uri, *self.recording(seed, max(end for _, end in spans) + 0.5), spans, **columns)

    def speech(self, uri: str, samples: Samples, spans: list[tuple[float, float]], **columns: Any) -> list[Row]:
        """Live rows of a recording of these samples."""
        return self._rows(uri, *self.store_audio((np.clip(samples, -1, 1) * 32767).astype(np.int16)), spans, **columns)

    def _rows(self, uri: str, recording: str, path: str, spans: list[tuple[float, float]], **columns: Any) -> list[Row]:
        row = {
            "source_id": source_id(uri), "recording_id": recording, "source_uri": uri, "audio_path": path, "media_uri": f"sources/{recording}.mp3",
            "language": "en", "channel": "radio", "licence": "CC-BY-4.0", "align_score": 0.87,
        }  # fmt: skip
        return [
            row
            | {
                "segment_id": segment_id(recording, start, end), "start": start, "end": end, "duration": end - start, "text": f"word {number}",
                "words": [{"word": "word", "start": start, "end": end, "score": 0.1}],
                "labels": [{"labeller": "base", "text": "word", "avg_logprob": -0.25, "no_speech_prob": None, "compression_ratio": 1.0}],
            }
            | columns
            for number, (start, end) in enumerate(spans)
        ]  # fmt: skip

    def add(self, rows: list[Row]) -> None:
        """Commit rows as the next part."""
        key = f"{len(self.parts):016x}"
        self.parts.append(write_part(self.store, FOLDER, key, to_table(rows, SCHEMA), Counts.of(rows)))

    def pack(self, map: Callable[..., Iterator[Any]] = map, **parameters: Any) -> list[pa.Table]:  # noqa: A002 - the name in the context
        """What the engine does: clean up, run, take the tables."""
        self.store.clean_temporary()
        recipe = {"name": "small | corpus", "root": self.store.root, "language": "en", "pack": parameters}
        return list(Pack(Pack.Params(**parameters)).run(self.parts, self._context(recipe, map)))  # type: ignore[arg-type]

    def split(self, **parameters: Any) -> None:
        """Run the stage `split`: its parts are the ones that are packed from now on. By nothing but the recording unless told otherwise."""
        tables = list(Split(Split.Params(**{"by": [], "balance": []} | parameters)).run(self.parts, self._context({}, map)))
        self.parts = [self._commit(table, number) for number, table in enumerate(tables)]
        info = {"stage": "split", "version": "1", "fingerprint": "ab", "identity": {}, "software": {}}
        self.store.write("manifests/split/ab/_stage.json", json.dumps(info).encode())
        self.store.write(CURRENT, json.dumps({"stages": [{"stage": "split", "fingerprint": "ab"}]}).encode())

    def _commit(self, table: pa.Table, number: int) -> PartRef:
        rows = [row | ({"drop_stage": "split"} if row["drop_reason"] and not row["drop_stage"] else {}) for row in table.to_pylist()]
        return write_part(self.store, "manifests/split/ab", f"{number:016x}", to_table(rows, table.schema), Counts.of(rows))

    def _context(self, recipe: dict[str, Any], map: Callable[..., Iterator[Any]]) -> CorpusContext:  # noqa: A002
        return CorpusContext(self.store, [], 1200, "ab", recipe, map, self.reported.append)

    def files(self, version: str) -> dict[str, bytes]:
        """Every file of a release."""
        folder = Path(self.store.path(f"releases/{version}"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small_corpus(
    root: Path, recordings: int = 6, spans: Iterable[tuple[float, float]] = ((0.0, 1.0), (1.25, 2.0), (2.5, 4.0))
) -> SmallCorpus:
    """Recordings of three segments, two recordings a part, one segment of each part dropped by the filter."""
    corpus = SmallCorpus(root)
    for first in range(0, recordings, 2):
        rows = [row for n in (first, first + 1) for row in corpus.segments(f"/audio/{n}.mp3", n, list(spans), channel=f"channel {n % 4}")]
        rows[1] |= {"drop_stage": "filter", "drop_reason": "agreement;snr", "drop_detail": "too low"}
        corpus.add(rows)
    return corpus
