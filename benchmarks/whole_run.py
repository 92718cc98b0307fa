"""A whole run of Silver against the `whisperx` command line: same files, model, arithmetic, beam, batch and threads, one after the other.

    .venv/bin/python benchmarks/whole_run.py --minutes 60

English shows of a quarter of an hour are joined from real recorded prompts, so that it is known what is said in them. Silver takes them
from a folder to packed shards (language, text, word times, scores, filter); whisperx transcribes them, without alignment, which is its
fastest. Both run on the CPU in int8, and both pay for their start. Printed: seconds, times real time, their ratio, and the word error rate of
both against what was said, after one and the same normalisation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import soundfile

from manifests.corpus import Corpus
from stages import models
from stages.audio import SAMPLE_RATE
from stages.gold import read_gold
from stages.measures import wer
from stages.normalise.text import normalise
from workflows.demo.episodes import encode
from workflows.demo.speech import long_speech
from workflows.evaluate.gold import segment_errors

REPOSITORY = Path(__file__).parents[1]
LANGUAGE = "en"
SHOW_MINUTES = 15.0


def main() -> None:
    """Make the shows, run both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--model", default="base")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--format", choices=["mp3", "wav"], default="mp3")
    parser.add_argument("--vad", choices=["pyannote", "silero"], default="pyannote", help="whisperx's; silero is downloaded by torch.hub")
    parser.add_argument("--skip", choices=["silver", "whisperx"], help="run only the other")
    options = parser.parse_args()

    models.fetch(options.model)
    with tempfile.TemporaryDirectory(prefix="silver-bench-") as name:
        folder = Path(name)
        audio, seconds = make_shows(folder, options.minutes, options.format)
        print(f"{len(audio)} shows, {seconds / 60:.1f} min, {options.format}; {options}; load {os.getloadavg()[0]:.1f}", flush=True)
        took: dict[str, float] = {}
        segments: dict[str, list[dict[str, Any]]] = {}
        if options.skip != "silver":
            took["silver"] = timed(silver(folder, options), folder)
            found = silver_segments(folder / "corpus")
            segments["silver, before its filter"] = found
            segments["silver, kept"] = [segment for segment in found if segment["drop_reason"] is None]
        if options.skip != "whisperx":
            took["whisperx"] = timed(whisperx(folder, audio, options), folder)
            segments["whisperx"] = whisperx_segments(folder / "whisperx", audio)
        for system, wall in took.items():
            print(f"{system:10} {wall:8.1f} s {seconds / wall:8.2f} x real time")
        if len(took) == 2:
            print(f"silver is {took['whisperx'] / took['silver']:.2f} times as fast")
        gold = read_gold(str(folder / "truth.jsonl"))
        everything = {
            error.segment_id: error for error in segment_errors(segments.get("silver, before its filter", []), gold, fold_accents=True)
        }
        for system, found in segments.items():
            if system == "whisperx":
                errors = segment_errors(found, gold, fold_accents=True)
            else:
                errors = [everything[segment["segment_id"]] for segment in found]
            spoken = sum(segment["end"] - segment["start"] for segment in found)
            print(f"{system:26} {len(found):5} segments {spoken / 60:6.1f} min  {wer(errors)}")


def make_shows(folder: Path, minutes: float, suffix: str) -> tuple[list[Path], float]:
    """Write the shows to `folder/audio` and what is said in them to `folder/truth.jsonl`; their paths, and seconds in all."""
    (folder / "audio").mkdir()
    paths: list[Path] = []
    lines: list[str] = []
    seconds, used = 0.0, 0
    while seconds < minutes * 60 - 1:
        path = folder / "audio" / f"show-{len(paths)}.{suffix}"
        samples, spans = long_speech(LANGUAGE, min(SHOW_MINUTES * 60, minutes * 60 - seconds), pause=0.7, seed=len(paths), skip=used)
        soundfile.write(path, samples, SAMPLE_RATE) if suffix == "wav" else encode(samples, path)
        lines += [json.dumps({"episode": path.name, "language": LANGUAGE, **span._asdict()}) for span in spans]
        seconds += len(samples) / SAMPLE_RATE
        paths.append(path)
    (folder / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths, seconds


def silver(folder: Path, options: argparse.Namespace) -> list[str]:
    """The command of Silver's run."""
    return [
        sys.executable, "-m", "workflows.cli", "run", "configs/folder.yaml", f"root={folder / 'corpus'}", f"language={LANGUAGE}",
        f"acquire.path={folder / 'audio'}", f"transcribe.model={options.model}", f"transcribe.beam_size={options.beam_size}",
        f"transcribe.batch_size={options.batch_size}", "--quiet",
    ]  # fmt: skip


def whisperx(folder: Path, audio: list[Path], options: argparse.Namespace) -> list[str]:
    """The command of whisperx's run."""
    return [
        str(Path(sys.executable).parent / "whisperx"), *map(str, audio), "--model", str(models.find(options.model)), "--language", LANGUAGE,
        "--compute_type", "int8", "--beam_size", str(options.beam_size), "--batch_size", str(options.batch_size),
        "--threads", str(options.threads), "--vad_method", options.vad, "--no_align", "--device", "cpu",
        "--output_format", "json", "--output_dir", str(folder / "whisperx"), "--print_progress", "False",
    ]  # fmt: skip


def timed(command: list[str], folder: Path) -> float:
    """Run a command with its output kept in a file; seconds on the wall. The end of that output is shown if it fails."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if not shutil.which("ffmpeg") and not (programs / "ffmpeg").exists():
        (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())  # whisperx reads files through it
    path = f"{os.environ['PATH']}{os.pathsep}{programs}"
    environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = folder / "output.txt"
    with log.open("wb") as output:
        began = time.monotonic()
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
        took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return took


def silver_segments(root: Path) -> list[dict[str, Any]]:
    """All rows with a text, dropped or not."""
    columns = ["segment_id", "source_uri", "language", "start", "end", "text", "drop_reason"]
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = Corpus(str(root)).connection.execute(f"SELECT {listed} FROM segments WHERE text <> ''").fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def whisperx_segments(folder: Path, audio: list[Path]) -> list[dict[str, Any]]:
    """What whisperx wrote, as the rows of Silver."""
    found = []
    for path in audio:
        for number, segment in enumerate(json.loads((folder / f"{path.stem}.json").read_text(encoding="utf-8"))["segments"]):
            text = normalise(segment["text"], LANGUAGE)
            row = {"segment_id": f"{path.stem}-{number}", "source_uri": str(path), "language": LANGUAGE, "text": text}
            found.append(row | {"start": segment["start"], "end": segment["end"]})
    return [segment for segment in found if segment["text"]]


if __name__ == "__main__":
    main()
