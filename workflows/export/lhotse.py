"""Manifests of lhotse: a CutSet with audio files beside it, or Shar."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile

from workflows.export.samples import Sample, Shard, write


def cuts(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<split>_cuts.jsonl.gz`, one MonoCut a line with its supervision and the words as alignments, and the audio under `audio/`."""
    for split in dict.fromkeys(shard.split for shard in shards):
        lines = []
        for shard in (shard for shard in shards if shard.split == split):
            for sample in shard.samples():
                path = out / "audio" / shard.name / f"{sample.key}.{sample.codec}"
                if not path.is_file():
                    write(path, sample.audio)
                lines.append(_cut(sample, {"type": "file", "source": str(path)}))
            report(shard.name)
        write(out / f"{split}_cuts.jsonl.gz", _gzip(lines))


def shar(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<split>/cuts.<n>.jsonl.gz` and `<split>/recording.<n>.tar`, read by `CutSet.from_shar(in_dir=...)`. Audio is copied as it is.

    Of every cut the tar has two members, the audio and its Recording manifest as JSON (lhotse/shar/writers/audio.py).
    """
    for split in dict.fromkeys(shard.split for shard in shards):
        for number, shard in enumerate(shard for shard in shards if shard.split == split):
            sink, lines = io.BytesIO(), []
            with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for sample in shard.samples():
                    placeholder = {"type": "shar", "source": ""}
                    line = _cut(sample, placeholder)
                    for name, data in (
                        (f"{sample.key}.{sample.codec}", sample.audio),
                        (f"{sample.key}.json", json.dumps(line["recording"]).encode()),
                    ):
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
                    lines.append(line)
            write(out / split / f"recording.{number:06d}.tar", sink.getvalue())
            write(out / split / f"cuts.{number:06d}.jsonl.gz", _gzip(lines))
            report(shard.name)


def _cut(sample: Sample, source: dict[str, Any]) -> dict[str, Any]:
    row = sample.row
    audio = soundfile.info(io.BytesIO(sample.audio))
    length = audio.frames / audio.samplerate
    words = [
        [word["word"], round(word["start"] - row["start"], 4), round(word["end"] - word["start"], 4), word["score"]]
        for word in row.get("words") or ()
    ]
    supervision = {
        "id": sample.key, "recording_id": sample.key, "start": 0.0, "duration": length, "channel": 0, "text": sample.text,
        **({"language": row["language"]} if row.get("language") else {}), **({"speaker": row["speaker"]} if row.get("speaker") else {}),
        **({"alignment": {"word": words}} if words else {}),
        "custom": {name: row.get(name) for name in ("recording_id", "source_uri", "start", "end", "channel", "licence", "confidence", "subsets")},
    }  # fmt: skip
    recording = {
        "id": sample.key, "sources": [{"channels": [0], **source}], "sampling_rate": audio.samplerate, "num_samples": audio.frames,
        "duration": length, "channel_ids": [0],
    }  # fmt: skip
    return {
        "id": sample.key, "start": 0.0, "duration": length, "channel": 0, "supervisions": [supervision], "recording": recording, "type": "MonoCut",
    }  # fmt: skip


def _gzip(lines: Sequence[dict[str, Any]]) -> bytes:
    """Without a time, so that the same lines are the same bytes."""
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as handle:
        handle.writelines(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
    return sink.getvalue()
