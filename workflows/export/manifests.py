"""Manifests of NeMo, and data directories of Kaldi and ESPnet. Memory: some 500 bytes a segment of a split, and a shard."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workflows.export.samples import Sample, Shard, write


def nemo(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<split>_manifest.json`, one JSON object a line, and the audio under `audio/`.

    Field names are those of NeMo's `nemo/collections/common/parts/preprocessing/manifest.py`: audio_filepath, duration, text, lang, speaker.
    """
    for split in dict.fromkeys(shard.split for shard in shards):
        lines = []
        for shard in (shard for shard in shards if shard.split == split):
            lines += [_nemo(sample, _audio(out, shard, sample)) for sample in shard.samples()]
            report(shard.name)
        write(out / f"{split}_manifest.json", "".join(lines).encode())


def nemo_tarred(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<split>/audio_<n>.tar` with plain audio files, `tarred_audio_manifest.json` with `shard_id`, and one manifest a shard.

    The layout of NeMo's `scripts/speech_recognition/convert_to_tarred_audio_dataset.py`.
    """
    for split in dict.fromkeys(shard.split for shard in shards):
        whole = []
        for number, shard in enumerate(shard for shard in shards if shard.split == split):
            sink, lines = io.BytesIO(), []
            with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for sample in shard.samples():
                    member = tarfile.TarInfo(f"{sample.key}.{sample.codec}")
                    member.size = len(sample.audio)
                    tar.addfile(member, io.BytesIO(sample.audio))
                    lines.append(_nemo(sample, member.name, shard_id=number))
            write(out / split / f"audio_{number}.tar", sink.getvalue())
            write(out / split / "sharded_manifests" / f"manifest_{number}.json", "".join(lines).encode())
            whole += lines
            report(shard.name)
        write(out / split / "tarred_audio_manifest.json", "".join(whole).encode())


def kaldi(shards: Sequence[Shard], out: Path, report: Callable[[str], None]) -> None:
    """`<split>/` with wav.scp, text, utt2spk, spk2utt, utt2dur and utt2lang, sorted by bytes as Kaldi's LC_ALL=C; ESPnet reads the audio files as they are.

    An utterance's name begins with its speaker's, or, where none is known, with the recording's.
    """
    for split in dict.fromkeys(shard.split for shard in shards):
        files: dict[str, dict[str, str]] = {name: {} for name in ("wav.scp", "text", "utt2spk", "utt2dur", "utt2lang")}
        spoken: dict[str, list[str]] = {}
        for shard in (shard for shard in shards if shard.split == split):
            for sample in shard.samples():
                speaker = _name(sample.row.get("speaker") or sample.row["recording_id"])
                utterance = f"{speaker}-{sample.key}"
                values = {
                    "wav.scp": str(_audio(out, shard, sample)), "text": sample.text, "utt2spk": speaker,
                    "utt2dur": f"{sample.row['duration']:.3f}", "utt2lang": _name(sample.row.get("language") or "und"),
                }  # fmt: skip
                for name, value in values.items():
                    files[name][utterance] = value
                spoken.setdefault(speaker, []).append(utterance)
            report(shard.name)
        files["spk2utt"] = {speaker: " ".join(sorted(some)) for speaker, some in spoken.items()}
        for name, lines in files.items():
            order = sorted(lines, key=lambda key: key.encode())
            write(out / split / name, "".join(f"{key} {lines[key]}".rstrip() + "\n" for key in order).encode())


def _nemo(sample: Sample, path: Path | str, **more: Any) -> str:
    row = sample.row
    line = {
        "audio_filepath": str(path),
        "duration": row["duration"],
        "text": sample.text,
        "lang": row.get("language"),
        "speaker": row.get("speaker"),
    }
    return json.dumps(line | more, ensure_ascii=False) + "\n"


def _audio(out: Path, shard: Shard, sample: Sample) -> Path:
    path = out / "audio" / shard.name / f"{sample.key}.{sample.codec}"
    if not path.is_file():
        write(path, sample.audio)
    return path


def _name(value: object) -> str:
    """A name as Kaldi takes it: no white space, and nothing that a shell or a path would understand.

    >>> _name("Ann Lee/../x")
    'Ann_Lee_x'
    """
    return re.sub(r"[^\w]+", "_", str(value)).strip("_") or "unknown"
