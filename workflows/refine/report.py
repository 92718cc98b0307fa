"""What the rounds brought: teacher and students on the held-out sets, and how far the labels moved away from the first ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manifests.corpus import Corpus, Manifest
from manifests.part import read_part
from pipeline.contract import PartContext, SilverError
from pipeline.recipe import Recipe
from stages import models
from stages.heldout.compare import table
from stages.heldout.sets import HeldOut
from stages.heldout.transcribe import evaluate
from stages.normalise.text import normalise
from stages.train import Train, student
from stages.train.lineage import TRAINING, hold_out
from stages.transcribe import Transcribe
from stages.words import written_words

TEACHER = "teacher"
ROUND_COLUMNS = ("round", "segments", "hours", "replayed", "share", "changed", "original_cer", "words", "vocabulary", "dev_wer", "before", "taken", "epochs", "student")  # fmt: skip
"""Columns of `rounds`."""


def rounds(corpus: Corpus) -> list[dict[str, Any]]:
    """One row a round that has been trained, in order.

    `hours`: of this corpus; `replayed`: of others; `share`: of the audio of live segments; `changed`: share of the learned texts that are not the original label; `original_cer`: their mean
    character error rate against it; `words`: words that are learned, by those of the original labels of the same segments; `vocabulary`: distinct
    words (normalised) likewise: below 1 the students write less and less of the language, above 1 they make words up; `taken`: whether the
    round's student was better on the dev set than the one before it.
    """
    found = []
    manifests = {manifest.stage: manifest for manifest in corpus.manifests}
    for number, folder in _trained(corpus):
        training = json.loads(corpus.store.read(f"{folder}/{TRAINING}"))
        learned = {"segments": training["segments"], "hours": training["hours"], "replayed": training["replayed_hours"]}
        row = {"round": number} | learned | _moved(manifests[f"select_{number}"])
        measured = {name: training[key] and round(training[key], 4) for name, key in (("dev_wer", "wer"), ("before", "before"))}
        found.append(row | measured | {"taken": training["taken"] == folder, "epochs": len(training["epochs"]), "student": folder})
    return found


def _moved(manifest: Manifest) -> dict[str, float | None]:
    """How much of the corpus a round learns, and how far its texts are from the original labels."""
    seconds = learned = 0.0
    texts = changed = words = before = 0
    rates: list[float] = []
    learned_words: set[str] = set()
    original_words: set[str] = set()
    for ref in manifest.parts():
        columns = ["text", "text_pnc", "train_text", "language", "original_cer", "duration", "drop_reason"]
        for row in read_part(manifest.store, ref, columns).to_pylist():
            if row["drop_reason"] is not None:
                continue
            seconds += row["duration"]
            if row["train_text"] is None:
                continue
            learned += row["duration"]
            texts += 1
            is_new = row["train_text"] not in (row["text"], row["text_pnc"])
            changed += is_new
            original_words.update((row["text"] or "").split())
            learned_words.update((normalise(row["train_text"], row["language"]) if is_new else row["text"] or "").split())
            words += len(written_words(row["train_text"]))
            before += len(written_words(row["text_pnc"]))
            rates += [] if row["original_cer"] is None else [row["original_cer"]]
    return {
        "share": round(learned / seconds, 3) if seconds else None,
        "changed": round(changed / texts, 3) if texts else None,
        "original_cer": round(sum(rates) / len(rates), 4) if rates else None,
        "words": round(words / before, 3) if before else None,
        "vocabulary": round(len(learned_words) / len(original_words), 3) if original_words else None,
    }


def systems(corpus: Corpus, recipe: Recipe, report: Callable[[str], None] = lambda _message: None) -> list[dict[str, Any]]:
    """Teacher and the student of each round on the dev set and the test sets; see `stages.heldout.compare.table`. What was measured is not again.
    A set that came after a student was trained is compared with what it learned first.

    Raises:
        SilverError: the recipe has no labeller or no rounds, a model is gone, or something of a set was learned.
    """
    import torch

    store = corpus.store
    stages = {spec.name: spec.stage for spec in recipe.stages}
    teacher = next((stage for stage in stages.values() if isinstance(stage, Transcribe)), None)
    trains = [stage for stage in stages.values() if isinstance(stage, Train)]
    if teacher is None or not trains:
        raise SilverError(f"{recipe.source} has no section refine, or no transcribe: there is nothing to compare")
    params = trains[0].params
    sets = [HeldOut.read(str(path), params.language) for path in (params.dev, *params.held_out, *params.guard)]
    for _, trained in _trained(corpus):
        training = json.loads(store.read(f"{trained}/{TRAINING}"))
        if new := [held for held in sets if held.digest not in training.get("apart", ())]:
            hold_out((store, trained), new, report)
            training["apart"] = [*training.get("apart", ()), *(held.digest for held in new)]
            store.write(f"{trained}/{TRAINING}", json.dumps(training, indent=1).encode())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    context = PartContext(store, device=device, threads=len(os.sched_getaffinity(0)))
    settings = teacher.params.model_dump(mode="json", include={"labeller", "beam_size", "initial_prompt", "compute_type"})
    heard = {TEACHER: [evaluate(teacher.labeller, settings, held, context) for held in sets]}
    students = {"start": Path(models.find(params.start))} if params.start else {}
    students |= {f"round {number}": student.on_this_machine(store, folder) for number, folder in _trained(corpus)}
    for name, folder in students.items():
        learner = student.labeller(folder, 8)
        heard[name] = [evaluate(learner, {}, held, context) for held in sets]
    return table(heard)


def _trained(corpus: Corpus) -> Iterator[tuple[int, str]]:
    """Number and folder of the student of each round that has been trained."""
    manifests = {manifest.stage: manifest for manifest in corpus.manifests if manifest.success}
    for number in range(1, len(manifests)):
        if (manifest := manifests.get(f"train_{number}")) is None:
            return
        parts = (read_part(corpus.store, ref, ["trained"]).column(0) for ref in manifest.parts())
        yield number, next(str(column[0]) for column in parts if len(column))
