"""A release under a name: the recipe brought up to date, packed after the release before, read back, and summed up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from manifests.release import RELEASE, RELEASES, read_release, release_folder
from manifests.store import Store
from manifests.verify import Finding, verify_folder, verify_release
from pipeline.contract import SilverError
from pipeline.recipe import Recipe
from stages.pack.after import untouched
from stages.pack.papers import check_papers

HOURS_COLUMNS = ("what", "name", "samples", "hours")


def pack_section(recipe: Recipe) -> str:
    """The section of the recipe that writes its release: the last one of the stage `pack`.

    Raises:
        SilverError: there is none.
    """
    found = [spec.name for spec in recipe.stages if type(spec.stage).name == "pack"]
    if not found:
        raise SilverError(f"{recipe.source} has no stage pack, so it makes no release")
    return found[-1]


def to_follow(store: Store, version: str) -> str | None:
    """The release that a new one follows by itself: the last of those with a name. None for the first.

    Raises:
        SilverError: two releases follow the same one, so that there are two last ones, or somebody touched one by hand.
    """
    try:
        done = read_release(store, version)
    except ValueError as error:
        folder = store.uri(release_folder(version))
        raise SilverError(f"{folder}/{RELEASE} is no JSON ({error}): bring it back from a copy, or take the whole folder away") from error
    if done:
        return done.get("after")
    releases = {name: untouched(store, name) for name in store.names(RELEASES) if name != version}
    named = {name: release for name, release in releases.items() if release and not release["content"].startswith(name)}
    last = sorted(named.keys() - {release.get("after") for release in named.values()})
    if len(last) > 1:
        raise SilverError(f"{version} could follow any of {', '.join(last)}: say which with --after, or --after none")
    return last[0] if last else None


def read_back(store: Store, folder: str, *, fast: bool = False, decode: bool = False) -> list[Finding]:
    """All that is wrong with a release, by its files, by the manifests of the corpus where it lies in one, and by what its card says."""
    root, _, version = folder.rpartition("/")
    if root == RELEASES:
        found = list(verify_release(store, version, fast=fast, decode=decode))
    else:
        found = list(verify_folder(store, folder, fast=fast, decode=decode))
    return found or list(check_papers(store, folder))


def summary(release: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the table of what is in it: splits, subsets, languages."""
    for group in ("split", "subsets", "language", "licence"):
        for name, held in release["counts"].get(group, {}).items():
            yield {"what": group.removesuffix("s") if group == "subsets" else group, "name": name, **held}
