"""Recordings that must stay together, and which split each cluster of them gets.

A split that was published binds: what is in the test set of a finished release never trains in a later one. So clusters grow around what is
bound, and a new recording that would tie a training set to a test set can be in neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from manifests.release import TRAIN

FITS = 1.5
"""A cluster goes to a split if it is at most so many times as long as what the split still lacks."""
LARGE = 0.2
"""Share of the audio that a cluster may be at most where none fits and a split would stay empty."""


@dataclass(frozen=True)
class Tie:
    """Recordings that have something in common: `kind` (channel, speaker, voice, audio), and what it is."""

    kind: str
    what: str
    recordings: tuple[str, ...]


@dataclass
class Clusters:
    """`cluster` names the cluster of each recording (by its least recording), `bound` the split of those that have one."""

    cluster: dict[str, str]
    bound: dict[str, str]
    left_out: dict[str, Tie] = field(default_factory=dict)
    """New recordings that are tied to two splits, with the tie that was one too many."""
    leaks: list[tuple[Tie, str, str]] = field(default_factory=list)
    """Recordings published in different splits that turn out to be tied: the tie, one of the first split, one of the second."""


def cluster(recordings: Iterable[str], ties: Iterable[Tie], bound: Mapping[str, str]) -> Clusters:
    """Join what is tied. `bound`: split of each recording that was published.

    >>> ties = [Tie("channel", "a", ("r1", "r2")), Tie("speaker", "x", ("r2", "r3"))]
    >>> cluster(["r1", "r2", "r3", "r4"], ties, {}).cluster
    {'r1': 'r1', 'r2': 'r1', 'r3': 'r1', 'r4': 'r4'}
    >>> cluster(["r1", "r2", "r3"], ties, {"r1": "train", "r3": "test"}).left_out
    {'r2': Tie(kind='speaker', what='x', recordings=('r2', 'r3'))}
    """
    names = sorted(recordings)
    ordered = sorted(ties, key=lambda tie: (tie.kind, tie.what, tie.recordings))
    left_out: dict[str, Tie] = {}
    while True:
        found = _joined([name for name in names if name not in left_out], ordered, bound)
        if not found.left_out:
            return Clusters(found.cluster, found.bound, left_out, found.leaks)
        left_out |= found.left_out  # what only they tied together comes apart again


def _joined(names: Sequence[str], ties: Sequence[Tie], bound: Mapping[str, str]) -> Clusters:
    parent = {name: name for name in names}
    label = {name: bound[name] for name in names if name in bound}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    found = Clusters({}, {})
    for tie in ties:
        members = sorted((name for name in tie.recordings if name in parent), key=lambda name: (name not in bound, name))
        for name in members[1:]:
            first, second = sorted((root(members[0]), root(name)))
            if first == second:
                continue
            splits = {label[end] for end in (first, second) if end in label}
            if len(splits) > 1:
                if name in bound:
                    found.leaks.append((tie, members[0], name))
                else:
                    found.left_out[name] = tie
                continue
            parent[second] = first
            if splits:
                label[first] = splits.pop()
    found.cluster = {name: root(name) for name in names}
    found.bound = {name: label[name] for name in set(found.cluster.values()) if name in label}
    return found


def allot(
    seconds: Mapping[str, float], group: Mapping[str, str], bound: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """The split of each cluster: `shares` of the audio of each group (a language, say), the rest is train.

    `seconds` and `group` are of each cluster. What is bound stays; the others are gone through in the order of a keyed hash of their names.

    >>> allot({"a": 10, "b": 10, "c": 10}, {}, {"b": "test"}, {"test": 0.3}, 0)
    {'a': 'train', 'b': 'test', 'c': 'train'}
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name in seconds:
        members[group.get(name, "")].append(name)
    found = {name: bound.get(name, TRAIN) for name in seconds}
    for names in members.values():
        whole = sum(seconds[name] for name in names)
        free = sorted((name for name in names if name not in bound), key=lambda name: _place(seed, name))
        for split, share in shares.items():
            lacking = share * whole - sum(seconds[name] for name in names if found[name] == split)
            chosen = []
            for name in free:
                if 0 < seconds[name] <= FITS * lacking:
                    chosen.append(name)
                    lacking -= seconds[name]
            if not chosen and not any(found[name] == split for name in names):
                least = min((name for name in free if 0 < seconds[name] <= LARGE * whole), key=lambda name: seconds[name], default=None)
                chosen = [least] if least is not None else []
            for name in chosen:
                found[name] = split
                free.remove(name)
    return dict(sorted(found.items()))


def _place(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
