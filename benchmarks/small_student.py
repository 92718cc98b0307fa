"""What an n-gram model of its own labels adds to a CTC student: word error rates on the recipe's held-out sets, by the best path and with the model.

    python -m benchmarks.small_student configs/small-student.yaml [root=...]

after `silver refine` of the same recipe. The model (bigrams, absolute discounting) is made of the texts that the last round learned, which are labels of
machines: no gold is in it. Whoever has KenLM takes `lmplz` for a better one.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable

import pyarrow.parquet as pq

from manifests.corpus import Corpus
from manifests.render import Format, render
from pipeline.contract import PartContext
from pipeline.recipe import load
from stages import STAGES, find
from stages.heldout.compare import COLUMNS, table
from stages.heldout.sets import HeldOut
from stages.heldout.transcribe import evaluate
from stages.train import Train, student
from stages.train.loop import TEXTS
from stages.transcribe import Transcribe
from stages.transcribe.ctc import Ctc, Decoding
from workflows.refine.report import rounds
from workflows.refine.section import Refine

DISCOUNT = 0.7


def arpa(texts: Iterable[str]) -> str:
    """Bigrams with absolute discounting, interpolated (Ney et al. 1994), as an ARPA file."""
    ones: Counter[str] = Counter()
    twos: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        words = ["<s>", *text.split(), "</s>"]
        ones.update(words[1:])
        for before, after in itertools.pairwise(words):
            twos[before][after] += 1
    total = sum(ones.values())
    left = DISCOUNT * len(ones) / total  # for what was never seen
    single = {word: (count - DISCOUNT) / total for word, count in ones.items()}
    lines = [f"{math.log10(left)}\t<unk>", f"-99\t<s>\t{_back(twos['<s>'])}"]
    lines += [f"{math.log10(p)}\t{word}" + ("" if word == "</s>" else f"\t{_back(twos[word])}") for word, p in single.items()]
    pairs = [
        f"{math.log10((count - DISCOUNT) / followers.total() + DISCOUNT * len(followers) / followers.total() * single[after])}\t{before} {after}"
        for before, followers in twos.items()
        for after, count in followers.items()
    ]
    head = f"\\data\\\nngram 1={len(lines)}\nngram 2={len(pairs)}\n"
    return "\n".join([head, "\\1-grams:", *lines, "", "\\2-grams:", *pairs, "", "\\end\\", ""])


def _back(followers: Counter[str]) -> float:
    return math.log10(DISCOUNT * len(followers) / followers.total())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--beam-size", type=int, default=50)
    parser.add_argument("--lm-weight", type=float, default=1.0)
    parser.add_argument("--texts", type=int, help="round whose texts the bigrams count: 1 are the teacher's labels; by default the last")
    options = parser.parse_args()
    recipe = load(options.recipe, options.overrides, find, STAGES, {"refine": Refine})
    corpus = Corpus(recipe.header.root)
    stages = [spec.stage for spec in recipe.stages]
    teacher = next(stage for stage in stages if isinstance(stage, Transcribe))
    params = next(stage for stage in stages if isinstance(stage, Train)).params
    sets = [HeldOut.read(str(path), params.language) for path in (params.dev, *params.held_out)]
    context = PartContext(corpus.store, threads=1)
    settings = teacher.params.model_dump(mode="json", include={"labeller", "beam_size", "initial_prompt", "compute_type"})
    heard = {"teacher": [evaluate(teacher.labeller, settings, held, context) for held in sets]}
    with tempfile.NamedTemporaryFile("w", suffix=".arpa", encoding="utf-8") as file:
        found = rounds(corpus)
        learned = found[(options.texts or len(found)) - 1]["student"]
        file.write(arpa(pq.read_table(student.on_this_machine(corpus.store, learned) / TEXTS).column("train_text").to_pylist()))
        file.flush()
        decoding = Decoding(beam_size=options.beam_size, lm=file.name, lm_weight=options.lm_weight)
        for row in found:
            folder = student.on_this_machine(corpus.store, row["student"])
            heard[f"round {row['round']}"] = [evaluate(student.labeller(folder, 8), {}, held, context) for held in sets]
            told = {"beam": options.beam_size, "weight": options.lm_weight}
            heard[f"round {row['round']} + bigrams"] = [evaluate(Ctc(str(folder), decoding, 8), told, held, context) for held in sets]
    render(table(heard), Format.TABLE, list(COLUMNS))


if __name__ == "__main__":
    main()
