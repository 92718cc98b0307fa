"""What the engine itself costs: a part and stage, and a run that has nothing to do.

    .venv/bin/python benchmarks/engine.py --parts 2000

Makes that many one-second silent recordings, each a part of its own, and runs the whole folder recipe over them in one process. They are
dropped for want of speech, so that every stage after `segment` does nothing but what the engine does: read the part, carry its rows past
the stage, check them, commit. Beside it stands the physical limit on this disk: reading and writing the same Parquet bytes with an fsync.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--model", default="base")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="silver-bench-") as folder:
        audio, root = Path(folder) / "audio", Path(folder) / "root"
        audio.mkdir()
        for number in range(arguments.parts):
            samples = np.zeros(16000, np.int16)
            samples[number % 16000] = number // 16000 + 1  # every recording is another one
            soundfile.write(audio / f"{number:05d}.wav", samples, 16000)
        command = [
            sys.executable, "-m", "workflows.cli", "--executor", "inline", "run", "configs/folder.yaml", f"root={root}", "language=en",
            f"acquire.path={audio}", "part_minutes=0.001", f"transcribe.model={arguments.model}", "--quiet", "--to", "filter",
        ]  # fmt: skip
        first = timed(command)
        again = timed(command)
        events = [json.loads(line) for line in min(root.glob("runs/*/events.jsonl")).read_text().splitlines()]
        carried = [
            event["took"]
            for event in events
            if event["event"] == "part" and event["stage"] in ("transcribe", "align", "resegment", "normalise", "score")
        ]
        print(f"first run over {arguments.parts} parts: {first:.1f} s")
        print(
            f"engine, a part and stage: {1000 * np.mean(carried):.2f} ms mean, {1000 * np.percentile(carried, 99):.2f} ms at the 99th percentile"
        )
        print(f"limit (read and write the same bytes, fsync): {1000 * limit(root):.2f} ms")
        print(f"ratio to the limit: {np.mean(carried) / limit(root):.2f}")
        print(f"nothing to do over {arguments.parts} parts, command start included: {again:.2f} s")


def timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def limit(root: Path) -> float:
    """Seconds to read one part and write it again with an fsync, mean over 200."""
    parts = sorted(root.glob("manifests/score/*/part-*"))[:200]
    began = time.monotonic()
    for part in parts:
        sink = io.BytesIO()
        with part.open("rb") as handle:
            pq.write_table(pq.read_table(handle), sink, compression="zstd")
        with (root / f"limit-{part.name}").open("wb") as handle:
            handle.write(sink.getvalue())
            handle.flush()
            os.fsync(handle.fileno())
    return (time.monotonic() - began) / len(parts)


if __name__ == "__main__":
    main()
