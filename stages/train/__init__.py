"""train: a student learns from the labels that were selected."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, model_validator

from manifests.part import PartRef, read_part
from manifests.release import TRAIN
from manifests.schema import extend
from manifests.store import Store
from pipeline.contract import AbsolutePath, CorpusContext, CorpusStage, FilePath, PartContext, SilverError, StageParams, operational
from stages import models
from stages.heldout.fingerprint import VERSION
from stages.heldout.leaks import apart, check
from stages.heldout.sets import FOLDER, HeldOut, short_digest
from stages.heldout.transcribe import evaluate
from stages.train.lineage import TRAINING, hold_out, place, student_in
from stages.train.loop import CURVE, PROGRESS, SOUP, STATE, TEXTS, Curve, Job, train
from stages.train.noise import SILENT, Noise
from stages.train.replay import COLUMNS, Replay
from stages.train.student import RECORD, STUDENTS, kind, labeller, on_this_machine, record, whole

HEARD = "heard.json"
"""Word error rates on the way from the worker that found them."""
QUIET = ("time_masks", "frequency_masks", "channel_masks", "dropout")
"""Options of students that make learning harder."""

LESSON = ("train_text", "train_scores")
"""Columns of what is learned of a segment, and of how probable each of its words was."""


class Train(CorpusStage):
    """Train a student on the selected labels, by the shards of a release, and name it in every row.

    It learns `train_text` of the live rows that have one and are in the split `train`; noise makes the lesson harder than the label's making was
    (noisy student: Xie et al. 2020, https://arxiv.org/abs/1911.04252; for speech Park et al. 2020, https://arxiv.org/abs/2005.09629). After each epoch
    the dev set is transcribed, and the best epoch stays. A student that is worse on it than the one of the round before is not taken: the rows
    go on naming the older one, and `training.json` says so.

    Written to `models/<section>/<key>/`: the student, the segments that it learned from (`texts.parquet`), the learning curve (`training.json`). `transcribe.model`
    takes the folder of an hf-whisper student as it is, and that of another with `labeller: ctc`.
    """

    name, version = "train", "4"
    reads: ClassVar[tuple[str, ...]] = (*COLUMNS, *LESSON)
    adds = pa.schema([("student", pa.string()), ("trained", pa.string())])
    """`trained`: folder of the student that this round trained, relative to the root; `student`: of the one that it goes on with."""
    packages = ("torch", "transformers", "webdataset")

    class Params(StageParams):
        """What learns, and how."""

        student: Literal["hf-whisper", "hf-ctc", "encoder-ctc", "conformer-ctc"] = Field(
            "hf-whisper",
            description="what learns: hf-whisper (a Whisper, trained on), hf-ctc (wav2vec 2.0 and its kin, trained on), encoder-ctc (a CTC network on a Whisper's "
            "encoder), conformer-ctc (a small one, from scratch)",
        )
        options: dict[str, Any] = Field({}, description="of the student; listed below")
        start: models.ModelName | None = operational(
            None,
            "folder of a student to begin with, of this corpus or another: that of last month. Rounds that are no better on the dev set are not taken",
        )
        go_on: bool = Field(False, description="go on from the student of the round before, not from `start` or the beginning")
        replay: tuple[Replay, ...] = Field(
            (), description="other corpora that are learned again with it: root, hours, tier (see stages/train/replay)"
        )
        guard: tuple[AbsolutePath, ...] = operational(
            (), "old test sets: a round that is worse on one of them than `start` by more than `margin` is not taken"
        )
        margin: float = Field(0.005, ge=0, description="word error rate by which a set of `guard` may become worse")
        dev: FilePath = operational(
            None,
            "gold that chooses the best epoch and says whether the round is taken (JSON lines or a table with audio, text, start, end, language; see stages/heldout)",
        )
        held_out: tuple[AbsolutePath, ...] = operational(
            (), "more gold that nothing may be trained on, the test sets: the run fails if it would be"
        )
        language: str | None = Field(None, description="of the gold's lines that do not say theirs, BCP 47")
        epochs: int = Field(5, ge=1, description="turns over the data at most")
        patience: int = Field(2, ge=1, description="epochs without a gain on the dev set after which it ends")
        learning_rate: float = Field(2e-5, gt=0, description="of AdamW, at its highest")
        warmup: float = Field(0.1, gt=0, lt=1, description="share of the steps in which the learning rate rises")
        average: float = Field(
            0.97,
            ge=0,
            lt=1,
            description="the student is the moving average of the weights, which keeps this share of itself at a step (mean teacher: Tarvainen and Valpola 2017); "
            "0: the last weights",
        )
        soup: bool = Field(
            True,
            description="try the mean of the weights with those of the student before, in round 1 with those that it began with; it stays if it is better on the dev "
            "set (model soups: Wortsman et al. 2022)",
        )
        batch_seconds: float = Field(120.0, gt=0, description="seconds of audio in a batch of one worker")
        accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
        noise: Noise | None = Field(
            Noise(),
            description="what is done to the audio that the student hears; null: nothing, and no masks and no dropout either (an ablation)",
        )
        seed: int = Field(0, description="seed of the order, the noise and the masks")
        workers: int | None = operational(None, "workers that train together; by default one a GPU, or one", ge=1)
        checkpoint_minutes: float = operational(10, "minutes between checkpoints; one more after each epoch", gt=0)

        @model_validator(mode="after")
        def _known(self) -> Train.Params:
            if self.dev is None:
                raise ValueError("a student needs a dev set that nothing is trained on: set `dev` to a file of gold")
            kind(self.student).Options.model_validate(self.options)
            if self.guard and self.start is None:
                raise ValueError("`guard` compares with the student to begin with: set `start`")
            return self

    params: Params

    @property
    def options(self) -> BaseModel:
        """Of the student; without all that makes learning harder, where `noise` is null."""
        given = kind(self.params.student).Options
        quiet = {} if self.params.noise else {name: 0 for name in QUIET if name in given.model_fields}
        return given.model_validate(self.params.options | quiet)

    @classmethod
    def choices(cls) -> Mapping[str, type[BaseModel]]:
        """The options of each kind of student."""
        return {f"options ({name})": kind(name).Options for name in STUDENTS}

    def identity(self) -> Mapping[str, str]:
        """Weights that the student begins with, and what is in the gold.

        Raises:
            SilverError: a model or the gold is missing.
        """
        student = kind(self.params.student)
        found = dict(student(self.options).identity())
        if self.params.start:
            begun = record(models.find(self.params.start))["kind"]
            if begun != self.params.student:
                raise SilverError(f"start={self.params.start} is a student of the kind {begun}, and not {self.params.student}")
            found["start"] = models.identity(self.params.start)["sha256"]
        found |= {f"replay {number}": f"{it.manifest.stage} {it.manifest.fingerprint}" for number, it in enumerate(self.params.replay, 1)}
        self._held(self.params.held_out)  # that they are there: what they are does not change the student
        found |= {f"guard {number}": held.digest for number, held in enumerate(self._held(self.params.guard), 1)}
        return found | {"dev": self._held([str(self.params.dev)])[0].digest}

    def check(self, store: Store, report: Callable[[str], None], each: Callable[..., Iterable[Any]] = map) -> None:
        """That the student can write what the dev set says, that dev set and test sets are apart, and that the student to begin with, and those before
        it, have learned nothing of them.

        Raises:
            SilverError: one of these is not so.
        """
        sets = self._held([str(self.params.dev), *self.params.held_out, *self.params.guard])
        start = models.find(self.params.start) if self.params.start else None
        said = sets[0].utterances
        kind(self.params.student)(self.options).check([item.text for item in said], [item.language for item in said], start)
        folder = student_in(str(start) if start else getattr(self.options, "model", None))
        weights = models.identity(str(folder)) if folder else None
        known = f"{FOLDER}/apart-{short_digest([VERSION, [held.digest for held in sets], str(folder), weights])}.json"
        if store.exists(known):
            return
        if start:
            with whole(start):
                labeller(start, 1).setup(PartContext(store))
        told: list[str] = []
        apart(sets[0], sets[1:], store, told.append, each)
        if folder:
            hold_out(place(folder), sets, told.append, each)
        for line in told:
            report(line)
        store.write(known, json.dumps(told, indent=1).encode())

    def _held(self, paths: Sequence[str]) -> list[HeldOut]:
        return [HeldOut.read(path, self.params.language) for path in paths]

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Train, unless the student is there, then name it in every row.

        Raises:
            SilverError: nothing is selected, or what is held out would be trained on.
        """
        store = context.store
        begun = self._begun(context)
        before = _before(parts, context) or begun
        chosen = _chosen(parts, context)
        if not len(chosen):
            raise SilverError(
                f"{self.name}: no segment is selected ({_left(parts, context)}): loosen `when`, `tau`, `keep` or `share` of the select stage before it"
            )
        go_on = before if self.params.go_on else begun
        inherits = before if self.params.soup else go_on
        learned = json.dumps([context.fingerprint, go_on, inherits, chosen.drop_columns(["shard"]).to_pylist()])
        folder = f"models/{self.name}/{blake2b(learned.encode(), digest_size=8).hexdigest()}"
        if not store.exists(f"{folder}/{TRAINING}"):
            held = self._held([str(self.params.dev), *self.params.held_out, *self.params.guard])
            again = [(it.store, it.rows()) for it in self.params.replay]
            for where, rows in ((store, chosen), *again):
                for path, small in check(rows.to_pylist(), held, where, context.map).items():
                    for leak in small:
                        context.report(f"{path}: {leak}")
            if inherits and inherits != begun:  # what the student to begin with has learned was compared before anything ran
                hold_out((store, inherits), held, context.report, context.map)
            self._train(folder, [(store, chosen), *again], go_on, before, held[0], context)
            self._finish(folder, chosen, [rows for _, rows in again], before, go_on, held, context)
        taken = json.loads(store.read(f"{folder}/{TRAINING}"))["taken"]
        for ref in parts:
            table = read_part(store, ref)
            schema = extend(table.schema, self.adds)
            values = {name: pa.array([value] * len(table), pa.string()) for name, value in (("student", taken), ("trained", folder))}
            yield pa.table([values[name] if name in values else table.column(name) for name in schema.names], schema=schema)

    def is_complete(self, context: CorpusContext) -> bool:
        """True while the student is there."""
        students = [name for ref in context.previous[:1] for name in read_part(context.store, ref, ["student"]).column(0).to_pylist()[:1]]
        return all(context.store.exists(f"{name}/{RECORD}") for name in students)

    def _begun(self, context: CorpusContext) -> str | None:
        """Folder, in this corpus, of the student to begin with: a copy, with how good it is on what judges the rounds."""
        if self.params.start is None:
            return None
        store, source = context.store, models.find(self.params.start)
        sets = self._held([str(self.params.dev), *self.params.guard])
        known = json.dumps([models.identity(str(source))["sha256"], [held.digest for held in sets]])
        folder = f"models/start/{blake2b(known.encode(), digest_size=8).hexdigest()}"
        if not store.exists(f"{folder}/{TRAINING}"):
            for path in sorted(source.rglob("*"), key=lambda path: path.name == RECORD):
                if path.is_file() and path.name not in (TRAINING, TEXTS):
                    with store.staged(f"{folder}/{path.relative_to(source)}") as staged:
                        shutil.copyfile(path, staged)
            context.report(f"how good {self.params.start} is on {', '.join(held.name for held in sets)}")
            [dev, *guarded] = self._heard(folder, sets, context)
            training = {
                "taken": folder,
                "source": str(source),
                "wer": dev,
                "before": None,
                "guard": dict(zip((held.digest for held in sets[1:]), guarded, strict=True)),
            }
            store.write(f"{folder}/{TRAINING}", json.dumps(training, indent=1).encode())
        return folder

    def _heard(self, folder: str, sets: Sequence[HeldOut], context: CorpusContext) -> list[float]:
        """WER of a student on some sets, heard where it is trained: on a GPU, if there is one."""
        if not sets:
            return []
        store = context.store
        context.together(_hear, (store, folder, sets), 1)
        found: list[float] = json.loads(store.read(f"{folder}/{HEARD}"))
        store.remove(f"{folder}/{HEARD}")
        return found

    def _train(
        self,
        folder: str,
        learned: Sequence[tuple[Store, pa.Table]],
        start: str | None,
        before: str | None,
        dev: HeldOut,
        context: CorpusContext,
    ) -> None:
        """`learned`: rows of each corpus, this one's first."""
        store, params = context.store, self.params
        shards = {(where.root, shard) for where, rows in learned for shard in rows.column("shard").to_pylist()}
        with store.staged(f"{folder}/{TEXTS}") as path:
            corpora = [pa.array(["" if where is store else where.root] * len(rows), pa.string()) for where, rows in learned]
            tables = [rows.append_column("corpus", corpus) for (_, rows), corpus in zip(learned, corpora, strict=True)]
            pq.write_table(pa.concat_tables(tables, promote_options="permissive"), path, compression="zstd")
        options = self.options.model_dump(mode="json")  # with paths that hold everywhere
        job = Job(
            store, folder, params.student, options, start, before, tuple(sorted(shards)), dev,
            params.epochs, params.learning_rate, params.batch_seconds, params.accumulate, params.warmup, params.patience, params.average, params.soup,
            params.noise or SILENT,
            params.seed, params.checkpoint_minutes,
        )  # fmt: skip
        for where, rows in learned:
            context.report(
                f"{params.student} on {len(rows)} segments, {_hours(rows):.2f} hours" + ("" if where is store else f", of {where.root}")
            )
        with _progress(folder, context):
            context.together(train, job, params.workers)

    def _finish(
        self,
        folder: str,
        chosen: pa.Table,
        again: Sequence[pa.Table],
        before: str | None,
        go_on: str | None,
        held: Sequence[HeldOut],
        context: CorpusContext,
    ) -> None:
        """Put the best epoch in its place, and write what is said of the training; from then on it is done."""
        store, params = context.store, self.params
        curve = Curve(**json.loads(store.read(f"{folder}/{STATE}/{CURVE}")))
        if curve.soup is not None:
            said = "stays" if curve.kept == SOUP else "does not stay"
            context.report(f"the mean with the student before {said}: WER {curve.soup:.3f} on the dev set, {curve.best['wer']:.3f} without")
        for path in _files(store, f"{folder}/{STATE}/{curve.kept}"):
            store.copy(f"{folder}/{STATE}/{curve.kept}/{path}", f"{folder}/{path}")
        older = json.loads(store.read(f"{before}/{TRAINING}"))["wer"] if before else None
        refused = []
        if older is not None and curve.wer >= older:
            refused.append(f"WER {curve.wer:.3f} on the dev set, and {older:.3f} of the student before")
        old = self._held(params.guard)
        guarded = dict(zip((held.digest for held in old), self._heard(folder, old, context), strict=True))
        first = json.loads(store.read(f"{self._begun(context)}/{TRAINING}"))["guard"] if old else {}
        refused += [
            f"WER {guarded[held.digest]:.3f} on the old set {held.name}, and {first[held.digest]:.3f} at the start: more than the margin of {params.margin:g}"
            for held in old
            if guarded[held.digest] > first[held.digest] + params.margin
        ]
        taken = before if refused and before else folder
        for reason in refused:
            context.report(f"not taken: {reason}")
        training = {
            "taken": taken,
            "refused": refused,
            "wer": curve.wer,
            "soup": curve.soup,
            "before": older,
            "start": before if curve.kept == SOUP and before else go_on,
            "apart": [item.digest for item in held],
            "guard": guarded,
            "segments": len(chosen),
            "hours": round(_hours(chosen), 4),
            "replayed_hours": round(sum(map(_hours, again)), 4),
            "epochs": curve.epochs,
        }
        store.write(f"{folder}/{TRAINING}", json.dumps(training, indent=1).encode())
        store.remove(f"{folder}/{STATE}")


def _hear(job: tuple[Store, str, Sequence[HeldOut]]) -> None:
    """Write the WER of a student on each set beside it."""
    import torch

    store, folder, sets = job
    local = on_this_machine(store, folder)
    context = PartContext(store, device="cuda" if torch.cuda.is_available() else "cpu", threads=torch.get_num_threads())
    with whole(local):
        found = [evaluate(labeller(local, 8), {}, held, context).wer().wer for held in sets]
    store.write(f"{folder}/{HEARD}", json.dumps(found).encode())


def _hours(rows: pa.Table) -> float:
    return float(pc.sum(rows.column("duration")).as_py() or 0) / 3600


def _files(store: Store, folder: str) -> list[str]:
    """All files below a folder, relative to it, the student's record last."""
    base = store.path(folder).rstrip("/") + "/"
    return sorted((path.removeprefix(base) for path in store.fs.find(base)), key=lambda path: path == RECORD)


def _chosen(parts: Sequence[PartRef], context: CorpusContext) -> pa.Table:
    """What is trained on, in the order of the keys."""
    tables = []
    for ref in parts:
        table = read_part(context.store, ref, [*COLUMNS, *LESSON, "drop_reason"])
        live = pc.and_(pc.is_null(table.column("drop_reason")), pc.is_valid(table.column("train_text")))
        tables.append(table.filter(pc.and_(live, pc.equal(table.column("split"), TRAIN))).select([*COLUMNS, *LESSON]))
    return pa.concat_tables(tables).sort_by("segment_id")


def _left(parts: Sequence[PartRef], context: CorpusContext) -> str:
    """What there was to select from, where nothing was."""
    tables = [read_part(context.store, ref, ["train_text", "split", "original_cer", "drop_reason"]) for ref in parts]
    rows = [row for table in tables for row in table.to_pylist() if row["drop_reason"] is None]
    rates = [row["original_cer"] for row in rows if row["original_cer"] is not None]
    selected = [row for row in rows if row["train_text"] is not None]
    told = f"{len(rows)} are there"
    if rates:
        told += f", with character error rates against the original label from {min(rates):.3f} to {max(rates):.3f}"
    return told + (f"; {len(selected)} that would be are in other splits than {TRAIN}" if selected else "")


def _before(parts: Sequence[PartRef], context: CorpusContext) -> str | None:
    """The student of the round before, which every row names."""
    for ref in parts:
        table = read_part(context.store, ref)
        if len(table):
            return table.column("student")[0].as_py() if "student" in table.column_names else None
    return None


@contextmanager
def _progress(folder: str, context: CorpusContext) -> Iterator[None]:
    """Tell now and then how far the workers are."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(5):
            with contextlib.suppress(OSError, ValueError):
                now = json.loads(context.store.read(f"{folder}/{STATE}/{PROGRESS}"))
                context.report(
                    f"epoch {now['epoch']} of {now['epochs']}, step {now['step']} of {now['steps']}, loss {now['loss']:.2f}, {now['speed']:.0f} x real time"
                )

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
