"""How fast the segment stage is on one core, and against Silero's published loop over single windows, in the same run.

    python benchmarks/segment.py [--minutes 10] [--repeats 3]

Reads and decodes FLAC from the corpus like the stage in a recipe. Processor time of one thread; the best of the repeats counts, taken in turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import torch
from silero_vad import load_silero_vad

from manifests.store import Store
from pipeline.contract import PartContext
from stages.audio import SAMPLE_RATE, audio_path, read_audio
from stages.segment import Segment


def main() -> None:
    """Print times real time of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = arguments.minutes * 60
    reference = load_silero_vad(onnx=True)
    with tempfile.TemporaryDirectory() as root:
        context = PartContext(Store(root))
        row = {
            "recording_id": "0" * 16,
            "audio_path": audio_path("0" * 64),
            "start": 0.0,
            "end": float(seconds),
            "duration": float(seconds),
        }
        envelope = np.clip(np.sin(2 * np.pi * 4 * np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE), 0, None)
        noise = np.random.default_rng(0).standard_normal(len(envelope)) * envelope * 0.1
        with context.store.staged(row["audio_path"]) as path:
            soundfile.write(path, noise, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        stage = Segment(Segment.Params())
        stage.setup(context)
        times = []
        for _ in range(arguments.repeats):
            began = time.process_time()
            list(stage.expand([row], context))
            between = time.process_time()
            samples = torch.from_numpy(read_audio(context.store, row))
            reference.reset_states()
            for window in samples[: len(samples) // 512 * 512].reshape(-1, 512):
                reference(window, SAMPLE_RATE).item()
            times.append((between - began, time.process_time() - between))
        mine, theirs = (seconds / min(column) for column in zip(*times, strict=True))
    print(f"segment {mine:.0f} x real time on one core; Silero's loop {theirs:.0f}; ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    main()
