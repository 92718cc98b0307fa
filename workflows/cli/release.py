"""The command that publishes: release."""

from __future__ import annotations

from typing import Annotated

import typer

from manifests.render import Format, printable, render
from pipeline.errors import SilverError
from workflows.cli.build import run_recipe
from workflows.cli.shared import FormatOption, Overrides, QuietOption, RecipeArgument, app, load_recipe


@app.command()
def release(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    version: Annotated[str, typer.Option("--version", help="name of the release, such as v1 or 2026.11")] = "",
    after: Annotated[
        str | None, typer.Option("--after", help="release that it follows, or none; by default the last one that has a name")
    ] = None,
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
    from manifests.verify import verify_release
    from stages.pack.changes import COLUMNS
    from workflows.release import HOURS_COLUMNS, pack_section, summary, to_follow

    if not version:
        raise SilverError("a release needs a name: --version v1")
    loaded = load_recipe(recipe, overrides)
    section, store = pack_section(loaded), Store(loaded.header.root)
    follows = to_follow(store, version) if after is None else (None if after == "none" else after)
    named = [*(overrides or []), f"{section}.version={version}", *([f"{section}.after={follows}"] if follows else [])]
    run_recipe(load_recipe(recipe, named), quiet=quiet)
    made = read_release(store, version)
    found = list(verify_release(store, version))
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
