"""`silver report`: collect, draw, write."""

from __future__ import annotations

import os
from pathlib import Path

from manifests.corpus import Corpus
from stages.gold import read_gold
from workflows.evaluate.figure import plots
from workflows.evaluate.table import judge
from workflows.report.collect import collect
from workflows.report.page import page


def report(corpus: Corpus, out: str | None, each: int, gold: str | None, *, fold_accents: bool = False) -> str:
    """Write the page, into the root as `report.html` if nowhere else, and give its path."""
    figures = plots(judge(corpus, read_gold(gold), fold_accents=fold_accents)) if gold else []
    text = page(collect(corpus, each), figures)
    if out is None:
        corpus.store.write("report.html", text.encode())
        return corpus.store.uri("report.html")
    temporary = Path(f"{out}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, out)
    return out
