"""Commands about releases: release, takedown, export."""

from __future__ import annotations

from typing import Annotated

import typer

from manifests.render import Format, printable, render
from pipeline.errors import SilverError
from workflows.cli.build import run_recipe
from workflows.cli.shared import (
    CorpusArgument,
    FormatOption,
    FromOption,
    Overrides,
    QuietOption,
    RecipeArgument,
    app,
    check_known,
    load_recipe,
    open_corpus,
)


@app.command()
def release(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    version: Annotated[str, typer.Option("--version", help="name of the release, such as v1 or 2026.11")] = "",
    after: Annotated[
        str | None, typer.Option("--after", help="release that it follows, or none; by default the last one that has a name")
    ] = None,
    first: FromOption = None,
    quiet: QuietOption = False,
    how: FormatOption = Format.TABLE,
) -> None:
    """Bring the recipe up to date, pack it as a release under a name, read the release back, and say what is in it and what is new.

    silver release configs/folder.yaml root=OUT language=it acquire.path=AUDIO_DIR --version v1

    A release never changes. The next one follows it: what did not change stays in its shard, shards that did not change are the same bytes and are
    not written again, and what was held out once is never trained on. Killed at any moment, the same command goes on and makes the same bytes.
    """
    from manifests.release import read_release, release_folder
    from manifests.store import Store
    from stages.pack.changes import COLUMNS
    from workflows.release import HOURS_COLUMNS, pack_section, read_back, summary, to_follow

    if not version:
        raise SilverError("a release needs a name: --version v1")
    loaded = load_recipe(recipe, overrides)
    section, store = pack_section(loaded), Store(loaded.header.root)
    follows = to_follow(store, version) if after is None else (None if after == "none" else after)
    named = [*(overrides or []), f"{section}.version={version}", *([f"{section}.after={follows}"] if follows else [])]
    run_recipe(load_recipe(recipe, named), first=first, quiet=quiet)
    made = read_release(store, version)
    found = read_back(store, release_folder(version))
    if how is not Format.TABLE:
        render(list(summary(made)), how, list(HOURS_COLUMNS))
    else:
        typer.echo(f"\nrelease {version}: {store.uri(release_folder(version))}")
        render(list(summary(made)), how, list(HOURS_COLUMNS))
        for entry in made.get("changes", ())[:1]:
            typer.echo(f"\nSince {entry['after']}")
            render(entry["table"], how, list(COLUMNS))
    if found:
        lines = "\n".join(f"  {printable(str(finding))}" for finding in found[:20])
        raise SilverError(f"release {version} does not read back as it was written:\n{lines}")
    typer.echo(f"read back: {made['counts']['samples']} samples in {len(made['shards'])} shards, nothing wrong", err=True)


@app.command()
def takedown(
    corpus: CorpusArgument,
    overrides: Overrides = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="URL", help="all of one source, by the address it was acquired from")
    ] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="all of a channel")] = None,
    speaker: Annotated[str | None, typer.Option("--speaker", metavar="ID", help="all of a speaker")] = None,
    segment: Annotated[str | None, typer.Option("--segment", metavar="ID", help="one segment, and all that overlaps it")] = None,
    reason: Annotated[str, typer.Option("--reason", help="why, for the record")] = "",
    now: Annotated[str | None, typer.Option("--now", metavar="VERSION", help="take it out of this finished release, in place")] = None,
    how: FormatOption = Format.TABLE,
) -> None:
    """Take something down for good: no crawl brings it back, no later release holds it. Says where it is, and which students learned it.

    silver takedown OUT --channel "Radio X" --reason "asked by mail" --now v2

    Without --now, releases that exist stay as they are; the next one leaves it out. With it, only the shards that it was in are written anew. Students
    that learned it are listed, and stay: train them again, or remove them.
    """
    from manifests.release import RELEASES
    from manifests.takedown import Requests
    from pipeline.lock import RootLock
    from stages.pack.patch import patch
    from workflows.takedown import HIT_COLUMNS, hits, near, record, request

    asked = {"source": source, "channel": channel, "speaker": speaker, "segment": segment}
    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        raise SilverError("say what is to go: one of --source, --channel, --speaker, --segment")
    opened = open_corpus(corpus, overrides)
    if now is not None:
        check_known(now, opened.store.names(RELEASES), "release")
    made = request(opened, *given[0], reason)
    found = hits(opened, made)
    with RootLock(opened.store):
        typer.echo(f"{made.name}: {'recorded' if record(opened, made) else 'was recorded before'} in {opened.store.root}", err=True)
        removed = patch(opened.store, now, Requests((made,))) if now else None
    if not found:
        close = near(opened, made)
        typer.echo(
            "nothing in the corpus falls under it now" + (f"; did you mean {' or '.join(map(repr, close))}?" if close else ""), err=True
        )
    render(found, how, list(HIT_COLUMNS))
    if removed is not None:
        typer.echo(f"release {now}: {removed['rows']} samples removed, {len(removed['shards'])} shard(s) written anew", err=True)
    if any(row["where"] == "student" for row in found):
        typer.echo("students that learned it stay as they are: train them again, or remove them", err=True)


@app.command("export")
def export_(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="a release folder, for instance OUT/releases/v1")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="an empty folder, or one with the same export begun")],
    to: Annotated[
        str, typer.Option("--to", help="lhotse, lhotse-shar, nemo, nemo-tarred, kaldi (ESPnet too), jsonl, csv, srt, vtt, textgrid")
    ],
    split: Annotated[str | None, typer.Option("--split", help="this split alone")] = None,
    quiet: QuietOption = False,
) -> None:
    """Write a release in the format of another toolkit. Audio is copied as it is, and the release stays as it is.

    silver export OUT/releases/v1 exported --to nemo

    Not needed for webdataset and Hugging Face datasets, which read the release itself; its README.md shows how.
    """
    from workflows.export import export

    made = export(release, out, to, split, lambda line: None if quiet else typer.echo(printable(line), err=True))
    typer.echo(f"{made}: {to}")
