"""The training itself: one function that each worker runs, alone or together with others (DDP).

State lies in `<folder>/state/`: `checkpoint.pt` every few minutes and after each epoch, `progress.json` for the one who waits, and
`best/`, the student of the best epoch so far on the dev set; at the end `soup/`, its mean with the student before, if that is better, and `curve.json`. A run that was killed goes on from the checkpoint.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.heldout.sets import HeldOut
from stages.heldout.transcribe import transcribe
from stages.train.data import Lesson, Shard, Share, Utterance, ahead, batches, joined, utterances
from stages.train.noise import Noise
from stages.train.precision import mixed
from stages.train.student import RECORD, Student, kind, on_this_machine, whole

TEXTS = "texts.parquet"
STATE = "state"
BEST, SOUP = "best", "soup"
CHECKPOINT = "checkpoint.pt"
CURVE = "curve.json"
PROGRESS = "progress.json"
STATES = ("network", "mean", "optimizer", "schedule")
"""What a training goes on with after it was killed."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know."""

    store: Store
    folder: str
    """Of the student, relative to the root."""
    kind: str
    options: dict[str, Any]
    start: str | None
    """Folder of the student to go on from, relative to the root."""
    before: str | None
    """Folder of the student of the round before, likewise."""
    shards: tuple[Shard, ...]
    dev: HeldOut
    epochs: int
    learning_rate: float
    batch_seconds: float
    accumulate: int
    warmup: float
    patience: int
    average: float
    soup: bool
    noise: Noise
    seed: int
    checkpoint_minutes: float


@dataclass
class Curve:
    """What happened so far; `epochs` has one entry an epoch."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    soup: float | None = None
    """WER on the dev set of the mean with the student before; None if there is none."""

    @property
    def wer(self) -> float:
        """Of what stays."""
        return min(self.best["wer"], math.inf if self.soup is None else self.soup)

    @property
    def kept(self) -> str:
        """Which of the folders `BEST` and `SOUP` stays."""
        return BEST if self.wer == self.best["wer"] else SOUP

    @property
    def best(self) -> dict[str, float]:
        """The epoch with the lowest WER on the dev set."""
        return min(self.epochs, key=lambda epoch: epoch["wer"])


def train(job: Job) -> None:
    """Train a student, and leave the best one in `<folder>/state/best` with `curve.json` beside it.

    Raises:
        SilverError: the data or the checkpoint cannot be used, or memory is too small for a batch.
    """
    import torch.distributed as dist

    with _memory(job):
        training = Training(job, Share(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Share())
        while training.epoch < job.epochs and not _worse(training.curve, job.patience):
            training.run_epoch()
        if training.share.worker == 0:
            training.cook()
    if training.share.worker == 0:
        _write(job, CURVE, asdict(training.curve))


class Training:
    """Network, the mean of its weights (which is the student), optimizer and how far they are, on one worker."""

    def __init__(self, job: Job, share: Share) -> None:
        import torch

        self.job, self.share = job, share
        self.device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        torch.manual_seed(job.seed)
        self.student = kind(job.kind)(kind(job.kind).Options.model_validate(job.options))
        self.texts, seconds = _texts(job)
        start = on_this_machine(job.store, job.start) if job.start else None
        with whole(start) if start else nullcontext():
            network = self.student.build((text for text, *_ in self.texts.values()), start)
        self.network = network.to(self.device)
        self.steps = _steps(job, self.student, seconds / share.workers)
        self.optimizer = torch.optim.AdamW([value for value in self.network.parameters() if value.requires_grad], lr=job.learning_rate)
        total = self.steps * job.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _rate((step + 1) / (total + 1), job.warmup))
        self.mean = torch.optim.swa_utils.AveragedModel(self.network, avg_fn=partial(_mean, job.average), use_buffers=True)
        self.curve, self.epoch, self.step = Curve(), 0, 0
        if state := _checkpoint(job):
            for name in STATES:
                getattr(self, name).load_state_dict(state[name])
            self.curve, self.epoch, self.step = Curve(**state["curve"]), state["epoch"], state["step"]
        together = torch.nn.parallel.DistributedDataParallel
        self.whole = together(self.network, find_unused_parameters=True) if share.workers > 1 else self.network
        self._saved = time.monotonic()

    def run_epoch(self) -> None:
        """One turn over the data, from the step at which it stands, and the dev set after it."""
        import torch

        job, began, heard, losses = self.job, time.monotonic(), 0.0, 0.0
        self.whole.train()
        todo = (self.steps - self.step) * job.accumulate
        feed = _batches(job, self.student, self.texts, self.epoch, self.share)
        before = self.step * job.accumulate
        for number, (seconds, batch) in enumerate(islice(feed, before, before + todo), 1):
            # What is random in the network is that of the batch, wherever a run before this one was killed; and differs between workers.
            torch.manual_seed(hash((job.seed, self.share.worker, self.epoch, before + number)))
            losses += self._learn(batch)
            heard += seconds * self.share.workers
            if number % job.accumulate == 0:
                self._advance({"loss": losses / number, "speed": heard / (time.monotonic() - began)})
        feed.close()
        if self.share.worker == 0:
            best = self.curve.best["wer"] if self.curve.epochs else math.inf
            taken = time.monotonic() - began
            wer = _dev_wer(job, self.student, self.mean.module, best, self.device.type, torch.get_num_threads())
            self.curve.epochs.append({"epoch": self.epoch + 1, "loss": losses / max(1, todo), "seconds": taken, "heard": heard, "wer": wer})
        self.epoch, self.step = self.epoch + 1, 0
        self.curve = _everywhere(self.curve, self.share)
        self._save()

    def cook(self) -> None:
        """Try the mean of the weights of the best epoch and of the student before, or of what it began with (model soup: Wortsman et al. 2022,
        https://arxiv.org/abs/2203.05482). Weights that began with the same model can be averaged; whether these can, the dev set tells.
        """
        import torch

        job, texts = self.job, [text for text, *_ in self.texts.values()]
        before = job.before or job.start
        if not job.soup or not (before or self.student.identity()):
            return  # it began with nothing that its weights would have in common with others
        old = self.student.build(texts, on_this_machine(job.store, before) if before else None).state_dict()
        network = self.student.build(texts, on_this_machine(job.store, f"{job.folder}/{STATE}/{BEST}"))
        new = network.state_dict()
        if {name: value.shape for name, value in old.items()} != {name: value.shape for name, value in new.items()}:
            return  # the student before is of another size
        network.load_state_dict({name: (old[name] + value) / 2 if value.is_floating_point() else value for name, value in new.items()})
        self.curve.soup = _dev_wer(
            job, self.student, network.to(self.device), self.curve.best["wer"], self.device.type, torch.get_num_threads(), SOUP
        )

    def _learn(self, batch: dict[str, Any]) -> float:
        """Add the gradient of a batch; its loss."""
        with mixed(self.device.type):
            loss = self.student.loss(self.whole, {name: tensor.to(self.device) for name, tensor in batch.items()})
        (loss / self.job.accumulate).backward()
        if not math.isfinite(value := float(loss.detach())):
            raise SilverError(f"the loss is {value} in epoch {self.epoch + 1}: lower learning_rate")
        return value

    def _advance(self, told: dict[str, float]) -> None:
        """Make a step of the gradients that were added."""
        import torch

        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.mean.update_parameters(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.share.worker == 0:
            _write(self.job, PROGRESS, told | {"epoch": self.epoch + 1, "epochs": self.job.epochs, "step": self.step, "steps": self.steps})
        if time.monotonic() - self._saved > 60 * self.job.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        import torch

        self._saved = time.monotonic()
        if self.share.worker:
            return
        state = {name: getattr(self, name).state_dict() for name in STATES}
        with self.job.store.staged(f"{self.job.folder}/{STATE}/{CHECKPOINT}") as path:
            torch.save(state | {"curve": asdict(self.curve), "epoch": self.epoch, "step": self.step}, path)


@contextmanager
def _memory(job: Job) -> Iterator[None]:
    """Say what to do where memory ends. PyTorch has a name for that on a GPU alone; of the CPU, and of CTranslate2, it is known by its words."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not re.search(
            r"out of memory|not enough memory|can't allocate memory|bad_alloc", str(error)
        ):
            raise
        raise SilverError(
            f"a batch of {job.batch_seconds:g} s does not fit into memory: lower batch_seconds, raise accumulate by as much, or take a smaller model"
        ) from error


def _texts(job: Job) -> tuple[dict[tuple[str, str], Lesson], float]:
    """What is learned of each root and key, and seconds of audio of all of them."""
    with job.store.open(f"{job.folder}/{TEXTS}") as handle:
        table = pq.read_table(handle, columns=["corpus", "segment_id", "train_text", "language", "train_scores", "duration"])
    roots, keys, texts, languages, scores, seconds = (column.to_pylist() for column in table.columns)
    roots = [root or job.store.root for root in roots]
    return dict(zip(zip(roots, keys, strict=True), zip(texts, languages, scores, strict=True), strict=True)), sum(seconds)


def _steps(job: Job, student: Student, seconds: float) -> int:
    """Steps of an epoch of so many seconds: the same for all workers, so that none waits for another."""
    full = job.batch_seconds if not student.padded else student.window * max(1, job.batch_seconds // student.window)
    return max(1, round(seconds / full / job.accumulate))


def _batches(
    job: Job, student: Student, texts: dict[tuple[str, str], Lesson], epoch: int, share: Share
) -> Generator[tuple[float, dict[str, Any]], None, None]:
    """Seconds and tensors of one batch after the other, without end: how many there are in an epoch is counted in steps."""
    import numpy as np

    chance = np.random.default_rng([job.seed, epoch, share.worker])

    def heard() -> Iterator[list[Utterance]]:
        turn = 0  # a worker that has read its share begins again
        while True:
            found = utterances(job.shards, texts, job.seed + turn, epoch, share)
            found = (item for item in found if item.seconds <= student.window + 0.01)  # as whatever labels them takes them
            yield from batches(joined(found, student.window) if student.padded else found, job.batch_seconds, job.seed + turn, epoch)
            turn += 1

    def prepare(batch: list[Utterance]) -> tuple[float, dict[str, Any]]:
        samples = [job.noise.apply(item.samples, chance, student.window) for item in batch]
        return sum(item.seconds for item in batch), student.batch(
            [replace(item, samples=heard) for item, heard in zip(batch, samples, strict=True)]
        )

    return ahead(heard(), prepare)


def _mean(decay: float, mean: Any, now: Any, steps: Any) -> Any:
    """The moving average of a weight after one more step; a mean of few steps forgets faster, so that it does not stick to where it began."""
    return mean + (now - mean) * (1 - min(decay, float((1 + steps) / (10 + steps)))) if now.is_floating_point() else now


def _rate(progress: float, warmup: float) -> float:
    """Share of the learning rate: up in a line, then down in a line (as in Whisper's own training, Radford et al. 2022)."""
    return progress / warmup if progress < warmup else max(0.0, (1 - progress) / max(1e-9, 1 - warmup))


def _worse(curve: Curve, patience: int) -> bool:
    """True if the last `patience` epochs brought nothing. A student that begins with nothing writes nothing for a while: that is not held against it."""
    if not curve.epochs or curve.best["wer"] >= 1:
        return False
    return len(curve.epochs) - 1 - curve.epochs.index(curve.best) >= patience


def _dev_wer(job: Job, student: Student, network: Any, best: float, device: str, threads: int, target: str = BEST) -> float:
    """WER on the dev set; where it is below `best`, the student is kept in the folder `target`."""
    network.eval()
    with tempfile.TemporaryDirectory(prefix="silver-student-") as name:
        folder = Path(name)
        student.save(network, folder)
        labeller = student.labeller(folder, 8)
        context = PartContext(job.store, device=device, threads=threads)
        labeller.setup(context)
        wer = transcribe(labeller, job.dev, context).wer().wer
        if wer < best:
            _replace(job.store, folder, f"{job.folder}/{STATE}/{target}")
    return wer


def _replace(store: Store, folder: Path, target: str) -> None:
    """Put the files of a local folder in the place of `target`, the student's record last."""
    store.remove(target)
    for path in sorted(folder.rglob("*"), key=lambda path: path.name == RECORD):
        if path.is_file():
            with store.staged(f"{target}/{path.relative_to(folder)}") as staged:
                shutil.copyfile(path, staged)


def _everywhere(curve: Curve, share: Share) -> Curve:
    """The curve of the first worker, on all of them: they stop together."""
    if share.workers == 1:
        return curve
    import torch.distributed as dist

    box = [asdict(curve)]
    dist.broadcast_object_list(box, src=0)
    return Curve(**box[0])


def _write(job: Job, name: str, value: Any) -> None:
    job.store.write(f"{job.folder}/{STATE}/{name}", json.dumps(value).encode())


def _checkpoint(job: Job) -> dict[str, Any] | None:
    import torch

    path = f"{job.folder}/{STATE}/{CHECKPOINT}"
    if not job.store.exists(path):
        return None
    try:
        with job.store.open(path) as handle:
            state: dict[str, Any] = torch.load(handle, map_location="cpu", weights_only=True)
        if missing := {*STATES, "curve", "epoch", "step"} - set(state):
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
    except Exception as error:
        told = str(error).partition("\n")[0]
        raise SilverError(f"the checkpoint {job.store.uri(path)} is damaged ({told}); remove it, and the training begins anew") from error
    return state
