"""Speed of the transcribe stage against faster-whisper's own batched pipeline: same windows, model, arithmetic, threads, beam and batch.

    python benchmarks/transcribe.py --minutes 6 --model base --threads 1

The two take turns, so that a busy machine slows both; the ratio is that of the sums. The stage reads its windows from FLAC, the
pipeline has its samples in memory. Word times are off in both: here they are another stage. With `--words` the stage is followed by the
attention aligner, and the pipeline runs with `word_timestamps=True`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("SILVER_MODELS", str(Path(__file__).parents[1] / ".cache" / "models"))

import numpy as np
import soundfile
from faster_whisper import BatchedInferencePipeline

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext
from stages import models, whisper
from stages.align import Align
from stages.audio import SAMPLE_RATE
from stages.transcribe import Transcribe
from workflows.demo.speech import long_speech


def windows(spans: list[tuple[float, float, str]]) -> list[tuple[float, float]]:
    """Prompts merged to at most 30 s, as `segment` does."""
    merged: list[tuple[float, float]] = []
    for start, end, _ in spans:
        if merged and end - merged[-1][0] <= whisper.WINDOW:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    # Hundredths are whole samples, however they are rounded. A prompt that is longer than a window is left out.
    return [(round(start, 2), round(end, 2)) for start, end in merged if end - start <= whisper.WINDOW]


def main() -> None:
    """Run both in turns and print audio seconds a second, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--model", default="base")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--words", action="store_true")
    options = parser.parse_args()

    models.fetch(options.model)
    samples, spans = long_speech("en", options.minutes * 60)
    clips = windows(spans)
    heard = sum(end - start for start, end in clips)
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "speech.flac", samples, SAMPLE_RATE)
        samples, _ = soundfile.read(Path(folder) / "speech.flac", dtype="float32")  # 16 bits, for both
        rows: list[Row] = [
            {"audio_path": "speech.flac", "start": start, "end": end, "duration": end - start, "language": "en"} for start, end in clips
        ]
        settings = {"model": options.model, "compute_type": options.compute_type, "batch_size": options.batch_size}
        stage = Transcribe(Transcribe.Params(beam_size=options.beam_size, **settings))
        aligner = Align(Align.Params(backend="attention", **settings))
        context = PartContext(Store(folder), device=options.device, threads=options.threads)
        stage.setup(context)
        aligner.setup(context)
        pipeline = BatchedInferencePipeline(whisper.load(options.model, options.compute_type, context))

        def ours() -> list[str]:
            part = PartContext(context.store, device=options.device, threads=options.threads)
            written = [row for children in stage.apply(rows, part) for row in children]
            if options.words:
                written = [row for children in aligner.apply(written, part) for row in children]
            return [row["text_raw"] for row in written]

        def theirs() -> list[str]:
            segments, _ = pipeline.transcribe(
                samples, language="en", beam_size=options.beam_size, batch_size=options.batch_size, word_timestamps=options.words,
                clip_timestamps=[{"start": start, "end": end} for start, end in clips],
            )  # fmt: skip
            texts: dict[float, str] = {}
            for segment in segments:
                texts[segment.seek] = texts.get(segment.seek, "") + segment.text
            return [" ".join(text.split()) for text in texts.values()]

        print(f"{len(clips)} windows, {heard:.0f} s; {options}; load {os.getloadavg()[0]:.1f}")
        same = np.mean([a == b for a, b in zip(ours(), theirs(), strict=True)])  # also warms both up
        wall: dict[str, list[float]] = {"silver": [], "faster-whisper": []}
        cpu: dict[str, float] = dict.fromkeys(wall, 0.0)
        for turn in range(options.rounds):
            pair = [("silver", ours), ("faster-whisper", theirs)]
            for name, run in pair if turn % 2 else reversed(pair):
                started, started_cpu = time.perf_counter(), time.process_time()
                run()
                wall[name].append(time.perf_counter() - started)
                cpu[name] += time.process_time() - started_cpu
        for name, seconds in wall.items():
            each = " ".join(f"{heard / second:.2f}" for second in seconds)
            speed = heard * options.rounds / cpu[name]
            print(f"{name:15s} median {heard / statistics.median(seconds):6.2f} times real time ({each}); {speed:.2f} a second of CPU time")
        ratio, ratio_cpu = sum(wall["faster-whisper"]) / sum(wall["silver"]), cpu["faster-whisper"] / cpu["silver"]
        print(f"ratio {ratio:.2f} ({ratio_cpu:.2f} in CPU time, which other programs disturb less); load {os.getloadavg()[0]:.1f}")
        print(f"{same:.0%} of the windows have the same text")


if __name__ == "__main__":
    main()
