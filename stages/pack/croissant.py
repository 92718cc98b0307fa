"""`croissant.json`: the release for machines, as Croissant 1.1 with its vocabulary for responsible AI (RAI 1.0), out of `release.json`.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and croissant-rai-spec.html. What is not known is left out: a release holds no
date and no authors, so `mlcroissant` points out (as a warning) that `datePublished` is missing, and that a version that is no x.y.z is none to it.
The audio is no record set: mlcroissant 1.1 unpacks an archive into a cache that goes by `contentUrl` alone, so with paths relative to the release it
would give, without a word, the audio of another release that has a shard of the same name. Lists inside of lists (the characters of words) cannot be
said in Croissant, and are not: they are in the Parquet file and in KEY.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from manifests.release import INDEX
from stages.pack import facts
from stages.pack.licences import UNKNOWN, models, terms
from stages.pack.shards import PLACE

RECORDS = "samples"
"""The record set: one record a sample, read from the index."""
VERSIONS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{key: f"cr:{key}" for key in ("arrayShape", "citeAs", "column", "containedIn")},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{
        key: f"cr:{key}"
        for key in (
            "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset",
            "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
            "source", "subField", "transform",
        )
    },
    "sc": "https://schema.org/",
}  # fmt: skip
"""The context that the specification asks for, word for word."""

_TYPES = {
    "string": "sc:Text", "bool": "sc:Boolean", "double": "cr:Float64", "float": "cr:Float32", "int64": "cr:Int64", "int32": "cr:Int32",
    "int16": "cr:Int16", "int8": "cr:Int8",
}  # fmt: skip


def croissant(release: Mapping[str, Any], schema: pa.Schema, digests: Mapping[str, str]) -> dict[str, Any]:
    """The record of a release. `schema` is that of KEY.json; `digests` has the sha256 of the index by its name."""
    recipe, counts = release["recipe"], release["counts"]
    stated = [text for text in sorted(counts["licence"]) if text != UNKNOWN]
    licences = [found.url if (found := terms(text)) and found.url else text for text in stated]
    if silent := counts["licence"].get(UNKNOWN):
        licences.append(f"unknown: {silent['hours']} of {counts['hours']} hours have no stated licence")
    own = [recipe["licence"]] if recipe.get("licence") else []
    columns = [*PLACE, *(column for column in schema if column.name not in PLACE.names)]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSIONS,
        "name": f"{facts.title(release)} {release['version']}",
        "description": facts.summary(release),
        "version": release["version"],
        "citeAs": facts.bibtex(release),
        **({"license": list(dict.fromkeys([*own, *licences]))} if own or licences else {}),
        **({"inLanguage": spoken} if (spoken := sorted(set(counts["language"]) - {"unknown"})) else {}),
        "keywords": ["speech", "automatic speech recognition", "machine-made labels"],
        **_responsible(release),
        "distribution": _distribution(release, digests),
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORDS,
                "name": RECORDS,
                "description": "One record a sample, in the order of the shards: where its files lie in which shard, and all that KEY.json says.",
                "key": {"@id": f"{RECORDS}/key"},
                "field": [field for column in columns if (field := _field(column))],
            }
        ],
    }


def _distribution(release: Mapping[str, Any], digests: Mapping[str, str]) -> list[dict[str, Any]]:
    shards = [
        {
            "@type": "cr:FileObject", "@id": shard["path"], "name": shard["path"], "contentUrl": shard["path"], "encodingFormat": "application/x-tar",
            "contentSize": f"{shard['bytes']} B", "sha256": shard["sha256"],
        }
        for shard in release["shards"]
    ]  # fmt: skip
    index = {
        "@type": "cr:FileObject", "@id": INDEX, "name": INDEX, "contentUrl": INDEX, "encodingFormat": "application/x-parquet", "sha256": digests[INDEX],
    }  # fmt: skip
    sets = [
        {
            "@type": "cr:FileSet", "@id": f"{split}-shards", "name": f"{split}-shards", "encodingFormat": "application/x-tar", "includes": f"{split}/*.tar",
            "description": f"The shards of {split}: WebDataset, each sample {', '.join(f'KEY.{member}' for member in release['members'])}.",
        }
        for split in release["counts"]["split"]
    ]  # fmt: skip
    return [index, *sets, *shards]


def _field(column: pa.Field) -> dict[str, Any] | None:
    """A column of the index; None for what Croissant has no type for."""
    source = {"fileObject": {"@id": INDEX}, "extract": {"column": column.name}}
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{RECORDS}/{column.name}", "name": column.name}
    kind = column.type
    if pa.types.is_list(kind):
        field |= {"isArray": True, "arrayShape": "-1"}
        kind = kind.value_type
    if not pa.types.is_struct(kind):
        return field | {"dataType": _TYPES[str(kind)], "source": source} if str(kind) in _TYPES else None
    inner = [
        {
            "@type": "cr:Field", "@id": f"{RECORDS}/{column.name}/{part.name}", "name": part.name, "dataType": _TYPES[str(part.type)],
            "source": source | {"transform": {"jsonPath": part.name}},
        }
        for part in kind
        if str(part.type) in _TYPES
    ]  # fmt: skip
    return field | {"subField": inner} if inner else None


def _responsible(release: Mapping[str, Any]) -> dict[str, Any]:
    """The RAI properties. https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html"""
    tools = [f"{model.name} {model.revision} ({model.licence}), in {model.stage}" for model in models(release)]
    software = [f"{package} {version}" for package, version in release["software"].items()]
    return {
        "rai:dataCollection": facts.collection(release),
        "rai:dataCollectionType": ["Secondary Data analysis", "Software Collection"],
        "rai:dataCollectionRawData": "Every sample names its source (source_uri) and the span of it (start, end, in seconds).",
        "rai:dataCollectionMissingData": facts.missing(release),
        "rai:dataPreprocessingProtocol": [
            f"{stage['stage']} (version {stage['version']}, fingerprint {stage['fingerprint']})" for stage in release["stages"]
        ],
        "rai:dataAnnotationProtocol": f"{facts.LABELS} {facts.error(release)}",
        "rai:annotationsPerItem": "0",
        "rai:machineAnnotationTools": [*tools, *software],
        "rai:dataLimitations": facts.limits(release),
        "rai:dataBiases": facts.biases(release),
        "rai:dataUseCases": [
            "Training of automatic speech recognition; fine-tuning; research on noisy labels. No measure of a recogniser by itself."
        ],
        "rai:personalSensitiveInformation": facts.personal(release),
        "rai:dataReleaseMaintenancePlan": facts.maintenance(release),
    }
