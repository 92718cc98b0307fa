"""The dataset card: `README.md` with the metadata that the Hugging Face Hub and `datasets` read, all of it out of `release.json`.

Titles and channels come from the web: in tables they are text and nothing else.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from manifests.release import GROUPS, INDEX, SUMS
from stages.audio import SAMPLE_RATE

_SHOWN = 50  # rows of a table; the rest is summed up, and listed in full in release.json

_HUB_LICENCES = re.compile(r"cc-by(-nc)?(-sa|-nd)?-[234]\.[05]|cc0-1\.0|apache-2\.0|mit|gpl-[23]\.0|pddl")

_SIZES = {
    "n<1K": 10**3,
    "1K<n<10K": 10**4,
    "10K<n<100K": 10**5,
    "100K<n<1M": 10**6,
    "1M<n<10M": 10**7,
    "10M<n<100M": 10**8,
    "100M<n<1B": 10**9,
}

_READING = """
## Reading it

Run from the folder of this file. Times in the JSON (`start`, `end` and those of `words`) are seconds in the recording.

With `webdataset`:

```python
import glob, io, json
import soundfile
import webdataset

for sample in webdataset.WebDataset(sorted(glob.glob("{split}/*.tar")), shardshuffle=False):
    audio, rate = soundfile.read(io.BytesIO(sample["flac"]))
    row = json.loads(sample["json"])
```

With `datasets`, which takes the types of the columns from the head of this file (and decodes with `torchcodec`, which wants the libraries of FFmpeg):

```python
import os
from datasets import load_dataset

for sample in load_dataset(os.getcwd(), split="{split}", streaming=True):
    audio = sample["flac"].get_all_samples()
    row = sample["json"]
```

With `lhotse`:

```python
import glob, json
import webdataset
from lhotse import CutSet, Recording, SupervisionSegment

def cut(sample):
    row = json.loads(sample["json"])
    cut = Recording.from_bytes(sample["flac"], row["segment_id"]).to_cut()
    cut.supervisions = [
        SupervisionSegment(row["segment_id"], row["segment_id"], 0.0, cut.duration, text={text}, language=row["language"], speaker=row["speaker"])
    ]
    return cut

cuts = CutSet.from_cuts(map(cut, webdataset.WebDataset(sorted(glob.glob("{split}/*.tar")), shardshuffle=False)))
```

One sample without reading its shard: `{index}` holds, for every key, the shard and the offset and size of its FLAC and its JSON.
To check every byte: `sha256sum --check {sums}`.
"""


def card(release: Mapping[str, Any], schema: pa.Schema) -> str:
    """The card of a release, out of its `release.json`; `schema` is that of KEY.json."""
    counts, recipe = release["counts"], release["recipe"]
    name, about = recipe.get("name") or "corpus", recipe.get("description") or ""
    sections = [
        f"# {_cell(name)} {release['version']}",
        _cell(about),
        f"{counts['samples']} segments, {counts['hours']} hours of speech ({SAMPLE_RATE} Hz, mono, FLAC) with machine-made labels.",
        *(f"## By {group}\n\n{_table((group, 'samples', 'hours'), _by_size(counts[group]))}" for group in GROUPS),
        _READING.strip().format(
            split=max(counts["split"], key=lambda split: int(counts["split"][split]["samples"])),
            index=INDEX,
            sums=SUMS,
            text='row["text"]' if "text" in schema.names else "None",
        ),
        "## How right the labels are\n\n" + _error(release.get("audit")),
        "## How it was made\n\nThe recipe:\n\n"
        + textwrap.indent(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), "    "),
        "The stages, each with the fingerprint of its parameters, its models and all that came before it:\n\n"
        + _table(("stage", "version", "fingerprint", "models"), [_stage(stage) for stage in release["stages"]]),
        "The software:\n\n" + _table(("package", "version"), list(release["software"].items())),
        f"Of {release['rows']} rows in the corpus {counts['samples']} are in this release. Dropped, by the stage and its reason:\n\n"
        + _table(("reason", "rows", "hours"), _by_size(release["dropped"])),
        "No recording is in two splits. Speakers can be: they are not told apart across recordings.",
    ]
    head = yaml.safe_dump(_metadata(release, schema, name), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(section.strip("\n") for section in sections if section) + "\n"


def _error(audit: Mapping[str, Any] | None) -> str:
    """What people said of a sample of the labels."""
    if not audit:
        return "The labels were made by machines and their error has not been measured yet. `silver audit` draws a sample, lets a person correct it, and states it."
    whole = audit["statement"][0]
    stated = "none of those kept was judged" if whole["value"] is None else f"WER {whole['value']} (95 % {whole['low']} to {whole['high']})"
    said = (
        f"Stated error of the labels: {stated}. {audit['judged']} of {audit['drawn']} segments of a "
        f"stratified sample were judged by a person, read on {audit['read'][:10]}."
    )
    head = ("of", "measure", "value", "95 % from", "to", "judged", "of segments")
    columns = ("of", "measure", "value", "low", "high", "judged", "segments")
    lines = [tuple("" if row[name] is None else row[name] for name in columns) for row in audit["statement"]]
    return f"{said}\n\n{_table(head, lines[:_SHOWN])}"


def _metadata(release: Mapping[str, Any], schema: pa.Schema, name: str) -> dict[str, Any]:
    counts = release["counts"]
    languages = sorted({language.split("-")[0].lower() for language in counts["language"] if language != "unknown"})
    sample = [
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
        {"name": "flac", "dtype": {"audio": {"sampling_rate": SAMPLE_RATE}}},
        {"name": "json", "struct": [_feature(column) for column in sorted(schema, key=lambda column: str(column.name))]},
        *([{"name": "txt", "dtype": "string"}] if "txt" in release["members"] else []),
    ]
    return {
        **({"language": languages} if languages else {}),
        "license": sorted({_licence(licence) for licence in counts["licence"]}),
        "pretty_name": " ".join(str(name).split()),
        "task_categories": ["automatic-speech-recognition"],
        "size_categories": [next((label for label, limit in _SIZES.items() if counts["samples"] < limit), "n>1T")],
        "configs": [
            {"config_name": "default", "data_files": [{"split": split, "path": f"{split}/{split}-*.tar"} for split in counts["split"]]}
        ],
        "dataset_info": {"config_name": "default", "features": sample},
    }


def _feature(column: pa.Field) -> dict[str, Any]:
    """A column as the `datasets` library writes it in a card."""
    return {"name": column.name, **_kind(column.type)}


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        item = _kind(kind.value_type)
        return {"list": item.get("dtype") or item.get("struct") or item}
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field) for field in kind]}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind))}


def _licence(text: str) -> str:
    """The Hub's name of a licence: `unknown`, or `other` for one that it does not list.

    >>> _licence("https://creativecommons.org/licenses/by-sa/4.0/"), _licence("CC BY 3.0"), _licence("ask me")
    ('cc-by-sa-4.0', 'cc-by-3.0', 'other')
    """
    plain = text.strip().lower()
    if match := re.search(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)", plain):
        plain = f"cc-{match[1]}-{match[2]}"
    elif "creativecommons.org/publicdomain/zero/1.0" in plain or plain == "cc0":
        plain = "cc0-1.0"
    plain = re.sub(r"[\s_]+", "-", plain)
    return plain if plain == "unknown" or _HUB_LICENCES.fullmatch(plain) else "other"


def _by_size(counts: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of a table, the most first."""
    rows = sorted(((name, *values.values()) for name, values in counts.items()), key=lambda row: (-row[1], row[0]))
    if len(rows) > _SHOWN:
        rest = rows[_SHOWN - 1 :]
        rows[_SHOWN - 1 :] = [(f"{len(rest)} others", sum(row[1] for row in rest), round(sum(row[2] for row in rest), 4))]
    return rows


def _stage(stage: Mapping[str, Any]) -> tuple[str, ...]:
    models = ", ".join(f"{name} {revision}" for name, revision in sorted(stage["identity"].items()))
    return stage["stage"], stage["version"], stage["fingerprint"], models


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) if line != head else str(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """Text on one line that Markdown and HTML leave alone."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", text) if text.strip("-") else text
