"""Make the CTC network again: speech is fetched and said, encoded by Whisper base, and learned from. Needs `pip install silver-asr[head]`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from stages.align import head as heads
from workflows.head import data, delay, evaluate
from workflows.head.corpora import TEST
from workflows.head.train import train

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option(help="where windows and encoder outputs lie (2 GB); what is there is not made again")]
WORK = Path(".cache/head")
Source = Annotated[Path, typer.Argument(help="folder of the network: config.json and head.safetensors")]


@app.command()
def make(
    target: Source = heads.SHIPPED,
    folder: Folder = WORK,
    without: Annotated[str, typer.Option(help="corpora that are left out, by commas: cs,it")] = "",
    epochs: Annotated[int, typer.Option(help="times that all windows are learned from")] = 5,
) -> None:
    """Prepare the corpora, train, measure the delay, write the network."""
    gone = set(without.split(","))
    corpora = [corpus for corpus in data.TRAINING if corpus.partition("+")[0] not in gone]
    prepare(corpora, folder)
    head = train(corpora, folder, epochs=epochs, report=typer.echo)
    head.config = replace(head.config, delay=delay.measure(head))
    heads.save(head, target)
    typer.echo(f"{sum(weights.numel() for weights in head.parameters()):,} parameters in {target}")


@app.command()
def prepare(corpora: Annotated[list[str], typer.Argument(help=", ".join((*data.TRAINING, *TEST)))], folder: Folder = WORK) -> None:
    """Fetch or synthesise the speech of some corpora, and encode it."""
    for corpus in corpora:
        data.prepare(corpus, folder)
        windows = data.read(corpus, folder)
        typer.echo(f"{corpus}: {len(windows)} windows, {sum(about['duration'] for _, about in windows) / 60:.1f} minutes")


@app.command()
def measure(source: Source = heads.SHIPPED, folder: Folder = WORK) -> None:
    """Character error rate by language and word starts, on speakers that were not trained on."""
    head = heads.load(source)
    prepare(list(TEST), folder)
    for corpus, rate in evaluate.character_error_rates(head, TEST, folder).items():
        typer.echo(f"{corpus}: character error rate {rate:.3f}")
    late = 1000 * np.array(evaluate.word_starts(head, evaluate.librivox()))
    typer.echo(
        f"word starts, {len(late)} words of LibriVox: {np.median(np.abs(late)):.0f} ms from pocketsphinx's (median), {np.median(late):+.0f} ms late"
    )


app()
