"""Which formats there are, and how an export is begun, gone on with and finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.contract import SilverError
from workflows.export import captions, lhotse, manifests, tables
from workflows.export.samples import Shard, open_release, shards, write

Write = Callable[[Sequence[Shard], Path, Callable[[str], None]], None]

FORMATS: dict[str, Write] = {
    "lhotse": lhotse.cuts,
    "lhotse-shar": lhotse.shar,
    "nemo": manifests.nemo,
    "nemo-tarred": manifests.nemo_tarred,
    "kaldi": manifests.kaldi,
    "jsonl": tables.jsonl,
    "csv": tables.csv_files,
    "srt": captions.srt,
    "vtt": captions.vtt,
    "textgrid": captions.textgrid,
}
"""webdataset and Hugging Face `datasets` read the release itself."""

_MARK = "export.json"


def export(release: str, out: str, to: str, split: str | None = None, report: Callable[[str], None] = lambda _line: None) -> Path:
    """Write a release as another format. What was killed goes on: audio that is there is not written again, and the result is the same.

    Raises:
        SilverError: no finished release, no such split or format, or a folder that holds something else.
    """
    if to not in FORMATS:
        raise SilverError(f"there is no format {to!r}; there are {', '.join(FORMATS)}")
    folder, target = Path(release).expanduser().absolute(), Path(out).expanduser().absolute()
    told = open_release(folder)
    what = {"release": told["version"], "content": told["content"], "format": to, "split": split}
    if target == folder or folder in target.parents:
        raise SilverError(f"{target} lies in the release, which never changes: choose another folder")
    if target.is_dir() and any(target.iterdir()):
        mark = target / _MARK
        if not mark.is_file() or {key: value for key, value in json.loads(mark.read_text()).items() if key != "finished"} != what:
            raise SilverError(f"{target} is not empty, and does not hold this export: choose another folder")
    chosen = shards(folder, told, split)
    write(target / _MARK, json.dumps(what | {"finished": False}, indent=1).encode())
    FORMATS[to](chosen, target, report)
    write(target / _MARK, json.dumps(what | {"finished": True}, indent=1).encode())
    return target
