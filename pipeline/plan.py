"""What would run, and why: the stages of a recipe with their fingerprints, against what lies under the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from manifests.corpus import Manifest
from manifests.part import PartRef
from manifests.store import Store
from pipeline.contract import CorpusStage, RowStage, SilverError, Stage
from pipeline.fingerprint import describe, digest, part_key, software
from pipeline.recipe import Recipe, StageSpec


@dataclass(frozen=True)
class Node:
    """One stage of a recipe, resolved against a root."""

    spec: StageSpec
    made_of: dict[str, Any]
    manifest: Manifest

    @property
    def stage(self) -> Stage:
        """The stage itself."""
        return self.spec.stage

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def own(self) -> str:
        """Hash of the stage by itself; see `pipeline.fingerprint`."""
        return str(self.made_of["own"])

    @cached_property
    def existing(self) -> dict[str, PartRef]:
        """Parts of this manifest that are on disk, by key."""
        return self.manifest.on_disk()

    @cached_property
    def older(self) -> tuple[str, ...]:
        """Folders of this stage's other manifests."""
        names = self.manifest.store.names(f"manifests/{self.name}")
        return tuple(f"manifests/{self.name}/{name}" for name in names if name != self.manifest.fingerprint)

    @cached_property
    def elsewhere(self) -> dict[str, str]:
        """Parts of older manifests, key to path."""
        store = self.manifest.store
        return {name[5:-8]: f"{folder}/{name}" for folder in self.older for name in store.names(folder) if name.startswith("part-")}


@dataclass(frozen=True)
class Todo:
    """One part that still has stages to go through: from stage `start` of the block on, beginning with `ref`."""

    index: int
    ref: PartRef
    start: int


def resolve(recipe: Recipe, store: Store, *, strict: bool = False) -> list[Node]:
    """The stages of a recipe with their fingerprints. Checks that every model is there.

    Raises:
        SilverError: a model is missing or damaged.
    """
    nodes: list[Node] = []
    for spec in recipe.stages:
        made_of = describe(spec.stage, nodes[-1].manifest.fingerprint if nodes else None, strict=strict)
        nodes.append(Node(spec, made_of, Manifest(store, spec.name, made_of["fingerprint"])))
    if not isinstance(nodes[0].stage, CorpusStage):
        raise SilverError(f"{recipe.source}: the first stage must bring in recordings (acquire), not {nodes[0].name}")
    return nodes


def select(nodes: Sequence[Node], only: str | None, first: str | None, last: str | None) -> range:
    """Indices of the stages to run.

    Raises:
        SilverError: no such stage in the recipe.
    """
    names = [node.name for node in nodes]
    for name in (only, first, last):
        if name is not None and name not in names:
            raise SilverError(f"the recipe has no stage {name!r}; it has {', '.join(names)}")
    first, last = only or first, only or last
    start = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    if start > end:
        raise SilverError(f"--from {first} comes after --to {last}")
    return range(start, end + 1)


def blocks(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Consecutive stages that a part goes through without waiting for the others; a corpus stage is a block by itself."""
    block: list[Node] = []
    for node in nodes:
        if block and (not isinstance(node.stage, RowStage) or node.stage.surveys or not isinstance(block[-1].stage, RowStage)):
            yield block
            block = []
        block.append(node)
    if block:
        yield block


def survey(node: Node, inputs: Sequence[PartRef], each: Callable[..., Iterable[Any]] = map) -> Node:
    """The node, knowing what its stage must know of the whole manifest before its first part; see `RowStage.survey`."""
    stage = node.stage
    if not isinstance(stage, RowStage) or not stage.surveys:
        return node
    stage.surveyed = stage.survey(inputs, node.manifest.store, each)
    return replace(node, made_of=node.made_of | {"own": digest([node.own, stage.surveyed])})


def outstanding(block: Sequence[Node], inputs: Sequence[PartRef]) -> tuple[list[Todo], list[list[PartRef | None]]]:
    """For a block of part stages: the parts with work left, and for every stage its part for each input (None: not made yet)."""
    todo: list[Todo] = []
    done: list[list[PartRef | None]] = [[None] * len(inputs) for _ in block]
    for index, given in enumerate(inputs):
        ref = given
        for position, node in enumerate(block):
            key = part_key(node.own, ref.digest)
            made = node.existing.get(key)
            if made is None:
                todo.append(Todo(index, ref, position))
                break
            done[position][index] = ref = made
    return todo, done


def why(node: Node) -> str:
    """Why the stage has no finished manifest: never ran, or what differs from the newest one there is."""
    store = node.manifest.store
    older = [Manifest(store, node.name, fingerprint) for fingerprint in store.names(f"manifests/{node.name}")]
    infos = [info for manifest in older if manifest.fingerprint != node.manifest.fingerprint and (info := manifest.info())]
    if not infos:
        return "never ran"
    last = max(infos, key=lambda info: str(info.get("created", "")))
    changes = []
    for section in ("parameters", "identity"):
        before, now = last.get(section, {}), node.made_of[section]
        changes += _changes(before, now, node.name if section == "parameters" else f"{node.name} model")
    if last.get("version") != node.stage.version:
        changes.append(f"version of the stage: {last.get('version')} -> {node.stage.version}")
    if not changes and last.get("upstream") != node.made_of["upstream"]:
        changes.append("a stage before it changed")
    return "; ".join(changes) or "not finished"


def upgraded(node: Node) -> str:
    """Packages whose version is not the one that the manifest was made with; empty if none."""
    before, now = node.manifest.info().get("software", {}), software(node.stage)
    return ", ".join(f"{name} {before[name]} -> {version}" for name, version in now.items() if name in before and before[name] != version)


def _changes(before: Any, now: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*now, *(key for key in before if key not in now)]
        return [change for key in keys for change in _changes(before.get(key), now.get(key), f"{path}.{key}")]
    return [] if before == now else [f"{path}: {before!r} -> {now!r}"]
