"""The dataset card: `README.md` with the metadata that the Hugging Face Hub and `datasets` read, all of it out of `release.json`.

The sentences are in `facts`, sections in `sections`, what licences say in `credits`, tables in `markdown`. Titles and channels come from the web:
they are text and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from manifests.release import CROISSANT, GROUPS, INDEX, SUMS, TRAIN, UNLABELLED, audio_format
from stages.audio import SAMPLE_RATE
from stages.pack import facts
from stages.pack.credits import licence_sections
from stages.pack.figures import figures
from stages.pack.licences import UNKNOWN, name
from stages.pack.markdown import bullets, by_size, cell, figure, table
from stages.pack.sections import caps, error, expected, history, made, unlabelled, warnings

_HEADINGS = {"channel": "channel (domain)", "subsets": "subset"}

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
    audio, rate = soundfile.read(io.BytesIO(sample["{audio}"]))
    row = json.loads(sample["json"])
```

With `datasets`, which takes the types of the columns from the head of this file (and decodes with `torchcodec`, which wants the libraries of FFmpeg):

```python
import os
from datasets import load_dataset

for sample in load_dataset(os.getcwd(), split="{split}", streaming=True):
    audio = sample["{audio}"].get_all_samples()
    row = sample["json"]
```

With `lhotse`:

```python
import glob, json
import webdataset
from lhotse import CutSet, Recording, SupervisionSegment

def cut(sample):
    row = json.loads(sample["json"])
    cut = Recording.from_bytes(sample["{audio}"], row["segment_id"]).to_cut()
    cut.supervisions = [
        SupervisionSegment(row["segment_id"], row["segment_id"], 0.0, cut.duration, text={text}, language=row["language"], speaker=row["speaker"])
    ]
    return cut

cuts = CutSet.from_cuts(map(cut, webdataset.WebDataset(sorted(glob.glob("{split}/*.tar")), shardshuffle=False)))
```

One sample without reading its shard: `{index}` holds, for every key, the shard and the offset and size of its audio and its JSON.
To check every byte: `sha256sum --check {sums}`.
"""


def card(release: Mapping[str, Any], schema: pa.Schema) -> str:
    """The card of a release, out of its `release.json`; `schema` is that of KEY.json."""
    counts = release["counts"]
    groups = [*GROUPS, *(["subsets"] if counts.get("subsets") else [])]
    drawn = {path.rpartition("/")[2].removesuffix(".svg"): figure(path, text) for path, (text, _) in figures(release).items()}
    sections = [
        f"# {cell(facts.title(release))} {release['version']}",
        cell(release["recipe"].get("description") or ""),
        f"{counts['samples']} segments, {counts['hours']} hours of speech ({SAMPLE_RATE} Hz, mono, {audio_format(release).upper()}) with machine-made labels.",
        *warnings(release),
        drawn["hours"],
        *(f"## By {_HEADINGS.get(group, group)}\n\n{table((group, 'samples', 'hours'), by_size(counts[group]))}" for group in groups),
        caps(release),
        unlabelled(counts["split"].get(UNLABELLED)),
        drawn["duration"],
        _READING.strip().format(
            split=max(counts["split"], key=lambda split: int(counts["split"][split]["samples"])),
            index=INDEX,
            sums=SUMS,
            audio=audio_format(release),
            text='row["text"]' if "text" in schema.names else "None",
        ),
        "## How right the labels are\n\n" + error(release.get("audit")),
        expected(release["statistics"]),
        drawn.get("confidence", ""),
        "## Known limits\n\n" + bullets([*facts.limits(release), *facts.biases(release)]),
        "## What it holds of persons\n\n" + bullets(facts.personal(release)),
        *licence_sections(release),
        *made(release),
        f"Of {release['rows']} rows in the corpus {counts['samples']} are in this release. Dropped, by the stage and its reason:\n\n"
        + table(("reason", "rows", "hours"), by_size(release["dropped"])),
        drawn["funnel"],
        *history(release),
        "## How to cite it\n\nNo authors are named, because none were given; add yours.\n\n```bibtex\n" + facts.bibtex(release) + "\n```",
        f"## How to ask for removal\n\n{cell(facts.removal(release))}",
        (
            "## From a sample back to its source\n\n"
            "`silver trace FOLDER KEY`, with the folder of this file and the key of any sample, tells its source, its span, its licence, and every stage "
            "and model that made its label, from the files of the release alone; `--format prov` writes it as W3C PROV-JSON. "
            f"`{CROISSANT}` describes the release to machines."
        ),
    ]
    head = yaml.safe_dump(_metadata(release, schema, facts.title(release)), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(section.strip("\n") for section in sections if section) + "\n"


def _metadata(release: Mapping[str, Any], schema: pa.Schema, name: str) -> dict[str, Any]:
    counts = release["counts"]
    languages = sorted({language.split("-")[0].lower() for language in counts["language"] if language != "unknown"})
    sample: list[dict[str, Any]] = [
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
        {"name": audio_format(release), "dtype": {"audio": {"sampling_rate": SAMPLE_RATE}}},
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
            {"config_name": "default", "data_files": [{"split": split, "path": f"{split}/{split}-*.tar"} for split in counts["split"]]},
            *_subsets(release),
        ],
        "dataset_info": _same(sample, [str(config["config_name"]) for config in _subsets(release)]),
    }


def _same(features: list[dict[str, Any]], subsets: list[str]) -> Any:
    """The features, which are the same in all configurations."""
    told = [{"config_name": name, "features": features} for name in ("default", *subsets)]
    return told if subsets else told[0]


def _subsets(release: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One configuration a subset: its shards are those of the smaller ones and its own; the other splits are the same in all."""
    names = list(release.get("subsets", ()))
    others = [
        {"split": split, "path": f"{split}/{split}-*.tar"} for split in release["counts"]["split"] if split not in {TRAIN, UNLABELLED}
    ]
    there = {shard["path"].rpartition("-")[0] for shard in release["shards"]}
    found = []
    for place, subset in enumerate(names):
        stems = [f"{TRAIN}/{TRAIN}-{inner}" for inner in names[: place + 1]]
        if paths := [f"{stem}-*.tar" for stem in stems if stem in there]:
            found.append({"config_name": subset, "data_files": [{"split": TRAIN, "path": paths}, *others]})
    return found


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
    plain = name(text)
    return plain if plain == UNKNOWN or _HUB_LICENCES.fullmatch(plain) else "other"
