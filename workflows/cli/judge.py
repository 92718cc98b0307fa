"""Commands that say how good the labels are."""

from __future__ import annotations

from typing import Annotated

import typer

from manifests.render import Format, render
from workflows.cli.shared import CorpusArgument, FormatOption, Overrides, app, open_corpus


@app.command()
def audit(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    sample: Annotated[int, typer.Option(min=2, help="segments to draw")] = 300,
    seed: Annotated[int, typer.Option(help="another seed draws other segments")] = 0,
    sheet: Annotated[
        str | None, typer.Option("--read", metavar="SHEET.csv", help="read a filled-in sheet back, and state the error")
    ] = None,
    how: FormatOption = Format.TABLE,
) -> None:
    """State the error of the labels by people: draw a stratified sample, let somebody correct it, read it back.

    silver audit OUT --sample 300, correct audits/<id>/audit.html or sheet.csv, silver audit OUT --read sheet.csv

    Marks that were saved at the listening desk of `silver report` or `silver serve` are read too: as a tally, for nobody drew them.
    """
    from workflows.audit.main import COLUMNS, begin, end

    opened = open_corpus(corpus, overrides)
    if sheet is None:
        folder, drawn = begin(opened, sample, seed)
        typer.echo(f"{drawn} segments drawn\nlisten and correct: {folder}/audit.html (or {folder}/sheet.csv)")
        typer.echo(f"then: silver audit {corpus} --read SHEET.csv")
        return
    statement, sampled = end(opened, sheet)
    render(statement, how, COLUMNS)
    if how is Format.TABLE:
        typer.echo(
            "the next `silver run` carries this into the card of the release"
            if sampled
            else "these segments are no sample of an audit: what was marked speaks for itself alone, and nothing was written"
        )


@app.command()
def evaluate(
    corpus: CorpusArgument,
    gold: Annotated[
        str, typer.Option(help="known transcripts: JSON lines or a table with source_uri (or a file name), text, and if known start, end")
    ],
    by: Annotated[str, typer.Option(help="column to take the segments apart by")] = "language",
    fold_accents: Annotated[bool, typer.Option("--fold-accents", help="accents count as nothing: the gold was typed without them")] = False,
    figure: Annotated[str | None, typer.Option(help="write the reliability diagram and the risk-coverage curve to this HTML file")] = None,
    how: FormatOption = Format.TABLE,
) -> None:
    """State the error of the labels against gold, before and after the filter, and how well the confidence knew.

    silver evaluate OUT --gold gold.jsonl --figure evaluation.html
    """
    from pathlib import Path

    from stages.gold import read_gold
    from workflows.evaluate.figure import page
    from workflows.evaluate.table import COLUMNS, judge, table

    judged = judge(open_corpus(corpus, None), read_gold(gold), fold_accents=fold_accents)
    render(table(judged, by), how, COLUMNS)
    if figure:
        Path(figure).write_text(page(judged, f"Labels of {corpus} against {gold}"), encoding="utf-8")


@app.command()
def calibrate(
    out: Annotated[str, typer.Argument(metavar="OUT.json", help="where the calibration goes; a recipe names it as confidence.calibration")],
    corpora: Annotated[
        list[str], typer.Argument(metavar="CORPUS=GOLD...", help="a corpus root that was scored, and a file with what is said in it")
    ],
    fold_accents: Annotated[bool, typer.Option("--fold-accents", help="accents count as nothing: the gold was typed without them")] = False,
) -> None:
    """Fit the confidence on gold: known transcripts of some recordings, JSON lines or a table with source_uri, start, end, text.

    silver calibrate mine.json OUT=gold.jsonl && silver run RECIPE root=OUT confidence.calibration=mine.json
    """
    from pathlib import Path

    from stages.measures import wer
    from workflows.calibrate import calibrate as fit_on

    pairs = [corpus.rpartition("=") for corpus in corpora]
    if wrong := next((corpus for corpus, (root, _, gold) in zip(corpora, pairs, strict=True) if not root or not gold), None):
        raise typer.BadParameter(f"{wrong!r}: write CORPUS=GOLD, a corpus root and its gold file")
    found, errors = fit_on([(root, gold) for root, _, gold in pairs], fold_accents=fold_accents)
    Path(out).write_text(found.to_json(), encoding="utf-8")
    typer.echo(f"{out}: fitted on {found.fitted_on}; {wer(errors)}")
