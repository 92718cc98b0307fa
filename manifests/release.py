"""A release: the folder that leaves the house. Where its files lie, and what its counts are counts of.

```
releases/<version>/<split>/<split>-000000.tar   shards: KEY.flac (or KEY.opus, KEY.mp3), KEY.json and, if asked for, KEY.txt a sample
releases/<version>/index.parquet                one row a sample, in the order of the shards
releases/<version>/README.md                    the dataset card
releases/<version>/figures/*.svg                its figures
releases/<version>/croissant.json               the same for machines: Croissant with its RAI vocabulary
releases/<version>/SHA256SUMS                   of every other file, as `sha256sum --check` reads it
releases/<version>/release.json                 what it was made of; written last: while it is not there, the release is not finished
```
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from manifests.store import Store

RELEASES = "releases"
RELEASE, INDEX, CARD, SUMS = "release.json", "index.parquet", "README.md", "SHA256SUMS"
CROISSANT, FIGURES = "croissant.json", "figures"
STATE = ".state"
"""Folder inside a release that is being made; gone when it is finished."""

TRAIN, UNLABELLED = "train", "unlabelled"
"""Splits: what no other split took, and audio of recordings of train whose labels nobody trusts, without them."""

LEAKS = "leaks.json"
"""Beside the parts of the manifest of `split`: how splits were made, and what of test sets and earlier releases was found in the corpus."""

AUDIO = ("flac", "opus", "mp3")
"""Endings of the audio of a sample; a release has one of them."""

PLACES = ("key", "shard", "offset", "size", "json_offset", "json_size")
"""Columns of the index that say where a sample lies; the others are those of its JSON."""

GROUPS = ("split", "language", "channel", "licence")
"""What samples and hours are counted by."""
SUBSETS = "subsets"
"""Counted too, where there are any; a sample is in several."""


def audio_format(release: Mapping[str, Any]) -> str:
    """Ending of the audio of its samples.

    >>> audio_format({"members": ["flac", "json"]})
    'flac'
    """
    (found,) = (str(name) for name in release["members"] if name in AUDIO)
    return found


def release_folder(version: str) -> str:
    """Folder of a release, relative to the corpus root."""
    return f"{RELEASES}/{version}"


def read_release(store: Store, version: str) -> dict[str, Any]:
    """`release.json`, or nothing if the release is not there or not finished."""
    try:
        value: dict[str, Any] = json.loads(store.read(f"{release_folder(version)}/{RELEASE}"))
    except FileNotFoundError:
        return {}
    return value


def sha256(store: Store, path: str) -> str:
    """Hex SHA-256 of a file, in bounded memory."""
    digest = hashlib.sha256()
    with store.open(path) as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_shard(path: str) -> bool:
    """True for the files of a release that hold samples; the others say what it is.

    >>> is_shard("train/train-000000.tar"), is_shard("figures/hours.svg"), is_shard("index.parquet")
    (True, False, False)
    """
    return path not in {RELEASE, INDEX, CARD, CROISSANT} and not (path.startswith(f"{FIGURES}/") and path.endswith(".svg"))


def sums(digests: Mapping[str, str]) -> bytes:
    r"""The text of SHA256SUMS.

    >>> sums({"b": "22", "a": "11"})
    b'11  a\n22  b\n'
    """
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())).encode()


class Tally:
    """Samples and hours of a release, in all and by split, language, channel, licence and subset."""

    def __init__(self) -> None:
        self._samples, self._seconds = 0, 0.0
        self._groups: dict[str, dict[str, tuple[int, float]]] = {group: {} for group in (*GROUPS, SUBSETS)}

    def add(self, sample: Mapping[str, Any]) -> None:
        """Count one sample: a row with `split`, `duration` and, where known, `language` (else the one that was heard), `channel`, `licence`."""
        seconds = sample["duration"]
        self._samples += 1
        self._seconds += seconds
        names = {
            group: sample.get(group) or (sample.get("audio_language") if group == "language" else None) or "unknown" for group in GROUPS
        }
        for group, name in (*names.items(), *((SUBSETS, name) for name in sample.get(SUBSETS) or ())):
            had = self._groups[group].get(name, (0, 0.0))
            self._groups[group][name] = (had[0] + 1, had[1] + seconds)

    def counts(self) -> dict[str, Any]:
        """Plain values: samples, hours, and both for every value of every group."""
        return {
            "samples": self._samples,
            "hours": _hours(self._seconds),
            **{
                group: {name: {"samples": n, "hours": _hours(seconds)} for name, (n, seconds) in sorted(counts.items())}
                for group, counts in self._groups.items()
                if counts or group != SUBSETS
            },
        }


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)
