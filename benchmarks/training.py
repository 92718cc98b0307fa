"""Is training held up by its data? The loop of `train` on packed shards (read, decoded, noise, features) against a bare PyTorch loop on batches that are in memory.

    python -m benchmarks.training ROOT/models/train_1/<key> [--student conformer-ctc] [--steps 40]

takes the segments that a student was trained on. Both do the same steps with the same network, optimizer, precision and batches; the bare loop does
nothing else. Shares of both cores are the same for both: run it with nothing else running.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import torch

from manifests.store import Store
from stages.train.data import Share
from stages.train.loop import TEXTS, Job, _batches, _texts
from stages.train.noise import Noise
from stages.train.precision import mixed
from stages.train.student import kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--student", default="conformer-ctc")
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--batch-seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    job = _job(options)
    texts, _ = _texts(job)
    student = kind(job.kind)(kind(job.kind).Options.model_validate(job.options))
    network = student.build([text for text, _ in texts.values()], None)
    optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad], lr=1e-5)
    kept = list(islice(_batches(job, student, texts, 0, Share()), options.steps))

    def bare() -> float:
        return _timed(student, network, optimizer, iter(kept))

    def whole() -> float:
        return _timed(student, network, optimizer, islice(_batches(job, student, texts, 0, Share()), options.steps))

    bare()  # warm
    found = {"bare loop": [], "train": []}
    for _ in range(options.rounds):
        found["bare loop"].append(bare())
        found["train"].append(whole())
    best = {name: max(speeds) for name, speeds in found.items()}
    print(
        f"{job.kind} {job.options}, {sum(value.numel() for value in network.parameters()) / 1e6:.1f} M parameters, {options.threads} thread(s)"
    )
    for name, speeds in found.items():
        print(f"{name:10} {best[name]:6.1f} x real time (rounds: {', '.join(f'{speed:.1f}' for speed in speeds)})")
    print(f"train / bare loop: {best['train'] / best['bare loop']:.2f}")


def _job(options: Any) -> Job:
    folder = options.folder.absolute()
    root = folder.parents[2]
    shards = {row["shard"] for row in pq.read_table(folder / TEXTS, columns=["shard"]).to_pylist()}
    blank = SimpleNamespace()
    return Job(
        Store(str(root)), str(folder.relative_to(root)), options.student, options.options, None, None, tuple(sorted((str(root), shard) for shard in shards)),
        blank, 1, 1e-5, options.batch_seconds, 1, 0.1, 1, 0.0, False, Noise(), 0, 10,
    )  # fmt: skip


def _timed(student: Any, network: Any, optimizer: Any, batches: Any) -> float:
    """Seconds of audio a second."""
    network.train()
    began, heard = time.perf_counter(), 0.0
    for seconds, batch in batches:
        with mixed("cpu"):
            loss = student.loss(network, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        heard += seconds
    return heard / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
