"""What the rounds brought, drawn: word error rates with their intervals over the hours that were learned, and the course of each training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.corpus import Corpus
from stages.train.lineage import TRAINING

FOLDER = "figures"
ROUNDS, CURVES = f"{FOLDER}/rounds.svg", f"{FOLDER}/learning.svg"
SYSTEMS = f"{FOLDER}/systems.json"
"""The table of teacher and students, for the page of `silver report`."""
_SETTINGS = {"svg.hashsalt": "silver", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw(corpus: Corpus, rounds: Sequence[Mapping[str, Any]], systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write `ROUNDS`, `CURVES` and `SYSTEMS` into the corpus root; gives the places of the figures. The same tables give the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    corpus.store.write(SYSTEMS, json.dumps(systems, indent=1, default=str).encode())
    with mpl.rc_context(_SETTINGS):
        figure = Figure((7, 3.6), layout="constrained")
        _rounds(figure, rounds, systems)
        _write(corpus, ROUNDS, figure)
        figure = Figure((7, 3), layout="constrained")
        _curves(figure, corpus, rounds)
        _write(corpus, CURVES, figure)
    return [corpus.store.uri(path) for path in (ROUNDS, CURVES)]


def _rounds(figure: Any, rounds: Sequence[Mapping[str, Any]], systems: Sequence[Mapping[str, Any]]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row["system"] for row in systems))
    for name in dict.fromkeys(row["set"] for row in systems):
        own = [row for row in systems if row["set"] == name]
        at = [names.index(row["system"]) for row in own]
        wer = [100 * row["wer"] for row in own]
        reach = [[100 * (row["wer"] - row["low"]) for row in own], [100 * (row["high"] - row["wer"]) for row in own]]
        axes.errorbar(at, wer, yerr=reach, marker="o", capsize=3, label=_plain(name))
    axes.set_ylabel("word error rate, % (95 % interval)")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(names)), names)
    hours = axes.twinx()
    trained = [row for row in rounds if f"round {row['round']}" in names]
    hours.bar(
        [names.index(f"round {row['round']}") for row in trained], [row["hours"] for row in trained], width=0.5, color="0.85", zorder=0
    )
    hours.set_ylabel("hours learned (bars)")
    hours.set_ylim(0, 3 * max((row["hours"] for row in trained), default=1))
    axes.set_zorder(hours.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(frameon=False)


def _curves(figure: Any, corpus: Corpus, rounds: Sequence[Mapping[str, Any]]) -> None:
    loss, wer = figure.subplots(1, 2)
    for row in rounds:
        epochs = json.loads(corpus.store.read(f"{row['student']}/{TRAINING}"))["epochs"]
        at = [epoch["epoch"] for epoch in epochs]
        for axes, values in ((loss, [epoch["loss"] for epoch in epochs]), (wer, [100 * epoch["wer"] for epoch in epochs])):
            axes.plot(at, values, marker="." if len(at) > 1 else "o", label=f"round {row['round']}")
    for axes, label in ((loss, "loss on the training data"), (wer, "word error rate on the dev set, %")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    wer.legend(frameon=False)


def _plain(name: str) -> str:
    """A name as a label: matplotlib takes what is between dollar signs for a formula, and leaves out what begins with an underscore."""
    return name.replace("$", r"\$").lstrip("_")


def _write(corpus: Corpus, path: str, figure: Any) -> None:
    with corpus.store.staged(path) as staged:
        figure.savefig(Path(staged), format="svg", metadata={"Date": None})
