"""Commands that look at a corpus."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from manifests.render import Format, coloured, printable, render
from pipeline.errors import SilverError
from workflows.cli.shared import (
    CorpusArgument,
    FormatOption,
    Overrides,
    app,
    check_known,
    is_recipe,
    is_release,
    known_files,
    load_recipe,
    open_corpus,
    show,
)

WhereOption = Annotated[str, typer.Option(help="SQL condition over the columns")]
StageOption = Annotated[str, typer.Option(help="the stage whose rows to look at; by default the last that ran")]
ShownColumns = Annotated[str, typer.Option(help="columns, separated by commas; * for all")]
DEFAULT_COLUMNS = "segment_id,start,end,language,text,drop_reason"


class TraceFormat(StrEnum):
    """What `trace --format` takes."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PROV = "prov"


FOLLOW = 2.0
"""Seconds between two looks of `status --follow` on a terminal, and `FOLLOW_PLAIN` elsewhere."""
FOLLOW_PLAIN = 15.0


@app.command()
def status(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    follow: Annotated[bool, typer.Option("--follow", help="look again until the run ends")] = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Say how far each stage is, how fast, what the last run did, who works on it, and what is damaged.

    silver status OUT --follow
    """
    from rich.console import Console

    from manifests.status import damaged, last_run, running, stages

    console = Console()
    while True:
        opened = open_corpus(corpus, overrides)
        goes_on = follow and running(opened)
        if follow and how is Format.TABLE and console.is_terminal:
            console.clear()
        show(opened, stages(opened), how)
        if how is Format.TABLE:
            for line in [*last_run(opened), *([] if goes_on else damaged(opened))]:
                typer.echo(printable(line))
        if not goes_on:
            return
        time.sleep(FOLLOW if console.is_terminal else FOLLOW_PLAIN)


@app.command()
def funnel(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    by: Annotated[str | None, typer.Option(help="column to take the corpus apart by: language, channel, ...")] = None,
    how: FormatOption = Format.TABLE,
) -> None:
    """Show rows and hours in, kept and dropped by reason, at every stage; with --by, what is kept and what left for each value of a column.

    silver funnel OUT --by channel
    """
    from manifests.funnel import FUNNEL_COLUMNS, SLICED_COLUMNS, sliced
    from manifests.funnel import funnel as table

    opened = open_corpus(corpus, overrides)
    if by is None:
        show(opened, table(opened), how, [name for name, _ in FUNNEL_COLUMNS])
        return
    with known_files():
        check_known(by, opened.columns("segments"), "column")
        show(opened, sliced(opened, by), how, SLICED_COLUMNS)


@app.command()
def rows(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    where: WhereOption = "true",
    stage: StageOption = "segments",
    columns: ShownColumns = DEFAULT_COLUMNS,
    sample: Annotated[int, typer.Option(help="rows at most, chosen at random but the same each time")] = 20,
    how: FormatOption = Format.TABLE,
) -> None:
    """Look at rows.

    silver rows OUT --where "drop_reason = 'duration'" --columns "segment_id,duration,text"
    """
    from manifests.sample import sample_rows

    opened = open_corpus(corpus, overrides)
    there = _columns(opened, stage)
    chosen = there if columns.strip() == "*" else [name.strip() for name in columns.split(",")]
    if columns == DEFAULT_COLUMNS:  # whatever of it the stage has
        chosen = [name for name in chosen if name in there]
    for name in chosen:
        check_known(name, there, "column")
    with known_files():
        show(opened, sample_rows(opened, stage, chosen, where, sample), how, chosen)


@app.command()
def sql(
    corpus: CorpusArgument,
    query: Annotated[str, typer.Argument(help="SQL over recordings, segments, funnel, and one view a stage")],
    how: FormatOption = Format.TABLE,
) -> None:
    """Ask anything.

    silver sql OUT "select count(*) from segments where drop_reason is null"
    """
    opened = open_corpus(corpus)
    with known_files():
        show(opened, opened.query(query), how)


@app.command()
def hist(
    corpus: CorpusArgument,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="a signal, or any other column")],
    by: Annotated[str | None, typer.Option(help="one histogram for each value of this column: drop_reason, language, ...")] = None,
    where: WhereOption = "true",
    stage: StageOption = "segments",
    how: FormatOption = Format.TABLE,
) -> None:
    """Show how the values of a column are spread, and which share of them is kept.

    silver hist OUT confidence --by language
    """
    from manifests.histogram import COLUMNS, histogram

    opened = open_corpus(corpus)
    there = _columns(opened, stage)
    for name in (column, *([by] if by else [])):
        check_known(name, there, "column")
    with known_files():
        show(opened, histogram(opened, stage, column, by, where), how, COLUMNS[0 if by else 1 :])


@app.command()
def errors(corpus: CorpusArgument, overrides: Overrides = None, how: FormatOption = Format.TABLE) -> None:
    """Show what could not be used (not what a rule dropped), by kind, with an example each; and parts that failed in the last run."""
    from manifests.errors import COLUMNS
    from manifests.errors import errors as table

    opened = open_corpus(corpus, overrides)
    with known_files():
        show(opened, table(opened), how, COLUMNS)


@app.command()
def trace(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="a corpus root, a recipe that names one, or the folder of a release")],
    wanted: Annotated[str, typer.Argument(metavar="ID", help="segment (also its key in a shard), window, recording, source, or URL")],
    how: Annotated[
        TraceFormat, typer.Option("--format", help="how to print; prov: of a sample of a release, as W3C PROV-JSON")
    ] = TraceFormat.TABLE,
) -> None:
    """Follow one segment or recording through every stage; with the folder of a release, one sample, by what is in the folder alone.

    silver trace OUT/releases/2026-10 0123456789abcdef-00001500-00012250 --format prov
    """
    from manifests.trace import trace as follow

    if not is_recipe(corpus) and is_release(corpus):
        _trace_release(corpus, wanted, how)
        return
    if how is TraceFormat.PROV:
        raise SilverError(f"{corpus} is no release: --format prov takes OUT/releases/<version> and the key of a sample")
    opened = open_corpus(corpus)
    with known_files():
        entries = follow(opened, wanted)
    if not entries:
        raise SilverError(f"no stage of {corpus} knows {wanted!r}: give a segment_id, window_id, recording_id, source_id or source_uri")
    show(opened, entries, Format(how.value))


def _trace_release(folder: str, key: str, how: TraceFormat) -> None:
    """One sample of a release, by the files of its folder."""
    import json

    from manifests.prov import prov
    from manifests.provenance import COLUMNS, provenance, table
    from manifests.store import Store

    try:
        with known_files():
            found = provenance(Store(folder), key)
    except KeyError as error:
        raise SilverError(f"{folder} has no sample {key!r}: give a key as the index and the shards have it") from error
    except ValueError as error:
        raise SilverError(f"{folder}: {error}") from error
    if how is TraceFormat.PROV:
        typer.echo(json.dumps(prov(found), indent=1, ensure_ascii=False))
    else:
        render(table(found), Format(how.value), COLUMNS)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="a corpus root, a recipe, the folder of a manifest or of a release")],
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="the other one; without it, A now and before its last change")] = None,
    stage: Annotated[
        str | None, typer.Option(help="the stage to compare; by default the last that ran (without B, the last filter)")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="examples to show")] = 10,
    how: FormatOption = Format.TABLE,
) -> None:
    """Show what changed: rows that came, went, left, came back, with their reasons and hours, and words that are others.

    silver diff OUT
    silver diff OUT/releases/2026-10 OUT/releases/2026-11
    """
    from manifests.diff import COLUMNS, EXAMPLE_COLUMNS, before
    from manifests.diff import diff as compare
    from manifests.words import compare as words

    with known_files():
        first, second = (_side(a, stage), _side(b, stage)) if b else before(open_corpus(a), stage)
        changes, examples = compare(first, second, sample)
    if how is not Format.TABLE:
        names = ("table", *COLUMNS, *(name for name in EXAMPLE_COLUMNS if name not in COLUMNS))
        both = [{"table": "changes"} | row for row in changes] + [{"table": "examples"} | row for row in examples]
        render([dict.fromkeys(names) | row for row in both], how, names)
        return
    typer.echo(f"A: {printable(first.name)}\nB: {printable(second.name)}\n")
    render(changes, how, COLUMNS)
    if examples:
        typer.echo("\nSome of what changed")
        shown = [
            row | {"words": coloured(words(row["text_before"], row["text_after"])) if row["words"] else row["text_after"]}
            for row in examples
        ]
        render(shown, how, [name for name in EXAMPLE_COLUMNS if not name.startswith("text_")])


@app.command("what-if")
def what_if(
    corpus: CorpusArgument,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar='filter.rules.NAME="EXPRESSION"...', help="another rule, NAME=null for none; filter.target_wer=0.1"),
    ] = None,
    by: Annotated[str, typer.Option(help="column to take the segments apart by")] = "language",
    gold: Annotated[
        str | None, typer.Option(help="known transcripts, as `silver evaluate` takes them: then the true WER stands beside")
    ] = None,
    fold_accents: Annotated[bool, typer.Option("--fold-accents", help="accents count as nothing: the gold was typed without them")] = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Say what other rules of the filter would keep, and how wrong it would be, without running anything.

    silver what-if OUT filter.rules.agreement="agreement >= 0.8"
    """
    from stages.gold import read_gold
    from workflows.filtered import filter_named
    from workflows.what_if import COLUMNS, GOLD_COLUMNS, change
    from workflows.what_if import what_if as table

    opened = open_corpus(corpus)
    manifest = filter_named(opened, changes[0].partition(".")[0] if changes else None)
    wanted = change(manifest, changes or [])
    with known_files():
        found = table(opened, manifest, wanted, by, read_gold(gold) if gold else (), fold_accents=fold_accents)
    show(opened, found, how, GOLD_COLUMNS if gold else COLUMNS)


@app.command()
def report(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    out: Annotated[str | None, typer.Option(help="file to write; report.html in the root by default")] = None,
    clips: Annotated[int, typer.Option(min=0, help="segments to listen to, a reason; and as many that were kept")] = 50,
    gold: Annotated[
        str | None,
        typer.Option(help="known transcripts, as `silver evaluate` takes them: then the page says how well the confidence knows"),
    ] = None,
    fold_accents: Annotated[bool, typer.Option("--fold-accents", help="accents count as nothing: the gold was typed without them")] = False,
) -> None:
    """Write the corpus as one HTML page: funnel, signals, channels, and a desk to listen at. It needs no server and no network.

    silver report OUT
    """
    from workflows.report.main import report as write

    opened = open_corpus(corpus, overrides)
    with known_files():
        path = write(opened, out, clips, gold, fold_accents=fold_accents)
    for note in opened.notes:
        typer.echo(f"note: {printable(note)}", err=True)
    typer.echo(path)


@app.command()
def serve(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    host: Annotated[str, typer.Option(help="address to listen at; the default is for this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free")] = 8700,
    name: Annotated[list[str] | None, typer.Option(help="another name of this machine that browsers may use; may be repeated")] = None,
) -> None:
    """Serve the page of `silver report` over every segment: search, paging, audio cut when asked for. It reads, and writes nothing.

    silver serve OUT

    On a cluster: `ssh -L 8700:127.0.0.1:8700 HOST`, and open the address that is printed.
    """
    import secrets

    from workflows.serve.server import serve as run

    opened = open_corpus(corpus, overrides)
    with known_files():
        run(opened.store.root, secrets.token_urlsafe(16), host, port, {other.lower() for other in name or ()}, _tell_address)


@app.command()
def verify(
    release: Annotated[str, typer.Argument(help="a release folder, for instance OUT/releases/<version>, or a copy of it anywhere")],
    fast: Annotated[bool, typer.Option("--fast", help="checksums and counts only; do not look into the shards")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="decode the audio of every sample, not of one in twenty")] = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Read a release back: every shard, hash, sample and count."""
    from manifests.release import RELEASE, RELEASES
    from manifests.store import Store
    from workflows.release import read_back

    root, _, name = release.rstrip("/").rpartition("/")
    in_corpus = root == RELEASES or root.endswith(f"/{RELEASES}")
    store = Store((root.removesuffix(RELEASES).rstrip("/") or ".") if in_corpus else root or ".")
    folder = f"{RELEASES}/{name}" if in_corpus else name
    if not name or not (in_corpus or store.exists(f"{folder}/{RELEASE}")):
        raise SilverError(f"{release!r} is not a release folder: give OUT/releases/<version>, or a folder with a {RELEASE}")
    findings = read_back(store, folder, fast=fast, decode=decode)
    if findings:
        render([vars(finding) if not isinstance(finding, dict) else finding for finding in findings], how)
        raise SilverError(f"{release}: {len(findings)} finding(s)")
    typer.echo(f"{release}: every shard, hash, sample and count is right")


def _tell_address(address: str) -> None:
    typer.echo(f"{address}\nWhoever has this address can read the corpus. Ctrl-C ends it.")


def _columns(corpus: Any, stage: str) -> list[str]:
    """Columns of the rows of a stage."""
    check_known(stage, ["segments", "recordings", *corpus.views], "stage")
    with known_files():
        return list(corpus.columns(stage))


def _side(where: str, stage: str | None) -> Any:
    """One of the two of a difference: a recipe stands for the manifest that it makes, whatever its root was last built with."""
    from manifests.diff import manifest_side, side

    if not is_recipe(where):
        return side(where, stage)
    from manifests.store import Store
    from pipeline.plan import resolve

    loaded = load_recipe(where, None)
    nodes = resolve(loaded, Store(loaded.header.root))
    check_known(stage or nodes[-1].name, [node.name for node in nodes], "stage")
    manifest = next(node for node in reversed(nodes) if stage in (None, node.name)).manifest
    if not manifest.success:
        raise SilverError(f"{where} has not been run to the end of {manifest.stage} with these parameters: silver run {where}")
    return manifest_side(manifest)
