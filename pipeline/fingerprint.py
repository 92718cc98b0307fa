"""What makes a result the same result.

`own`          hash of a stage by itself: name, version, semantic parameters, model identity
`fingerprint`  hash of `own` and the fingerprint before it: names the folder of a manifest
`part_key`     hash of `own` and the digest of the input part: names the file of a part

A part's key holds no upstream fingerprint, so a part whose input came out the same is taken over from an older manifest
instead of being made again (early cut-off).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from manifests.part import PartRef
from pipeline.contract import Stage


def digest(value: Any, length: int = 16) -> str:
    """Hex digest of a plain value.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def semantic_parameters(stage: Stage) -> dict[str, Any]:
    """The parameters that change the result, as plain values."""
    fields = type(stage.params).model_fields
    operational = {
        name for name, field in fields.items() if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("operational")
    }
    values: dict[str, Any] = stage.params.model_dump(mode="json", exclude=operational)
    return values


def describe(stage: Stage, upstream: str | None, *, strict: bool = False) -> dict[str, Any]:
    """Everything a stage's fingerprint is made of. `strict` adds the versions of its packages."""
    made_of: dict[str, Any] = {
        "stage": type(stage).name,
        "version": stage.version,
        "parameters": semantic_parameters(stage),
        "identity": dict(stage.identity()),
    }
    if strict:
        made_of["software"] = software(stage)
    own = digest(made_of)
    return {**made_of, "own": own, "upstream": upstream, "fingerprint": digest([own, upstream], 12)}


def part_key(own: str, input_digest: str) -> str:
    """Key of the part that a stage makes from an input part."""
    return digest([own, input_digest])


def inputs_digest(parts: Sequence[PartRef]) -> str:
    """Digest of what a manifest was made from."""
    return digest([ref.digest for ref in parts])


def software(stage: Stage) -> Mapping[str, str]:
    """Installed versions of the distributions that a stage names."""
    versions = {}
    for name in stage.packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
