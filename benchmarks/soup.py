"""What the mean of the weights of Whisper and its students is worth (model soup), on held-out sets.

    .venv/bin/python -m benchmarks.soup ROOT ROOT/models/train_1/KEY ROOT/models/train_2/KEY --gold dev.jsonl test.jsonl

Each student is averaged with the mean before it, half and half, as `train` does; the first with the Whisper that it began with. Those trained with
`refine.train.soup=false` are what each round had before. The table is that of `silver refine`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from manifests.render import Format, render
from manifests.store import Store
from pipeline.contract import PartContext
from stages.heldout import HeldOut, evaluate
from stages.heldout.compare import COLUMNS, table
from stages.train.hf_whisper import HfWhisper
from stages.train.student import labeller
from stages.transcribe import Transcribe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("students", type=Path, nargs="+", help="folders of hf-whisper students, in the order of their rounds")
    parser.add_argument("--gold", nargs="+", required=True)
    parser.add_argument("--model", default="base", help="the teacher, and what the students began with")
    options = parser.parse_args()
    store = Store(options.root)
    sets = [HeldOut.read(path, None) for path in options.gold]
    context = PartContext(store, threads=len(os.sched_getaffinity(0)))
    teacher = Transcribe(Transcribe.Params(model=options.model))
    settings = teacher.params.model_dump(mode="json", include={"labeller", "beam_size", "initial_prompt", "compute_type"})
    heard = {"teacher": [evaluate(teacher.labeller, settings, held, context) for held in sets]}
    made = HfWhisper(HfWhisper.Options(model=options.model))
    mean = made.build([], None)
    for number, folder in enumerate(options.students, 1):
        heard[f"round {number}"] = _heard(folder, sets, context)
        _average(mean, made.build([], folder))
        with tempfile.TemporaryDirectory() as name:
            made.save(mean, Path(name))
            heard[f"mean {number}"] = _heard(Path(name), sets, context)
    render(table(heard), Format.TABLE, list(COLUMNS))


def _heard(folder: Path, sets: list[HeldOut], context: PartContext) -> list[Any]:
    return [evaluate(labeller(folder, 8), {}, held, context) for held in sets]


def _average(mean: Any, other: Any) -> None:
    values = other.state_dict()
    mean.load_state_dict(
        {name: (value + values[name]) / 2 if value.is_floating_point() else value for name, value in mean.state_dict().items()}
    )


if __name__ == "__main__":
    main()
