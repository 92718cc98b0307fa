"""What all commands share: the application, its arguments and global options, how a recipe and a corpus are opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from manifests.render import Format, printable, render
from pipeline.errors import SilverError

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


def load_recipe(source: str, overrides: Iterable[str] | None) -> Any:
    """A recipe with its overrides, checked."""
    from pipeline.recipe import load
    from stages import STAGES, find
    from workflows.refine.section import Refine

    return load(source, overrides or [], find, STAGES, {"refine": Refine})


def make_executor() -> Any:
    """Where the work goes, by the option `--executor`."""
    from pipeline.executors import InlineExecutor, LazyExecutor, RayExecutor

    if Options.executor == "inline":
        return InlineExecutor()
    return RayExecutor(Options.address) if Options.executor == "ray" else LazyExecutor(Options.address)


def is_recipe(source: str) -> bool:
    """Whether an argument names a recipe, not a root."""
    return source.endswith((".yaml", ".yml"))


def is_release(folder: str) -> bool:
    """Whether an argument is the folder of a release: a finished one, or one that lies where releases do."""
    from manifests.release import RELEASE, RELEASES
    from manifests.store import Store

    store = Store(folder)
    return store.exists(RELEASE) or (folder.rstrip("/").split("/")[-2:-1] == [RELEASES] and not store.exists("manifests"))


def open_corpus(corpus: str, overrides: Iterable[str] | None = None) -> Any:
    """A root, or the root that a recipe names."""
    from manifests.corpus import Corpus

    with known_files():
        return Corpus(load_recipe(corpus, overrides).header.root if is_recipe(corpus) else corpus)


@contextmanager
def known_files() -> Iterator[None]:
    """A file that is not there, or a query that DuckDB refuses, is told without a traceback."""
    import duckdb

    try:
        yield
    except (FileNotFoundError, duckdb.Error) as error:
        raise SilverError(str(error)) from error


def show(corpus: Any, rows: Sequence[dict[str, Any]], how: Format, columns: Sequence[str] | None = None) -> None:
    """Print a table; what was found damaged on the way goes to standard error before it."""
    for note in corpus.notes:
        typer.echo(f"note: {printable(note)}", err=True)
    corpus.notes.clear()
    render(rows, how, columns)


def check_known(name: str, there: Iterable[str], kind: str) -> None:
    """Refuse a name that is not among those that are there, and say which is nearest."""
    import difflib

    names = list(there)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        raise SilverError(
            f"no {kind} is called {name!r}" + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}")
        )
