"""Reads a release with `datasets`, in a process of its own: its decoder (torchcodec) wants FFmpeg's shared libraries, which have to
be named before a process starts. Where the system has none, those inside PyAV's wheel serve.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def read_release(folder: Path, scratch: Path, *ways: str) -> dict[str, list[dict[str, Any]]]:
    """What `datasets` reads, by way (`card`, `shards`: the tars alone) and mode (`streaming`, `whole`): one entry a sample."""
    import av

    wheel = Path(av.__file__).parents[1] / "av.libs"
    links = scratch / "ffmpeg"
    links.mkdir(parents=True)
    for library in wheel.glob("lib*"):
        if match := re.match(r"(lib(?:av|sw)\w+)-[0-9a-f]+(\.so\.\d+)", library.name):
            (links / (match[1] + match[2])).symlink_to(library)
    libraries = os.pathsep.join(filter(None, [os.environ.get("LD_LIBRARY_PATH"), str(links), str(wheel)]))
    environment = os.environ | {"LD_LIBRARY_PATH": libraries, "HF_HOME": str(scratch), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *(ways or ("card", "shards"))], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    from datasets import load_dataset

    found = {}
    splits = sorted(path.name for path in Path.cwd().iterdir() if path.is_dir())
    for streaming in (True, False):
        for way in sys.argv[1:]:
            datasets = [
                load_dataset(str(Path.cwd()), split=split, streaming=streaming)
                if way == "card"
                else load_dataset("webdataset", data_files={split: f"{Path.cwd()}/{split}/{split}-*.tar"}, split=split, streaming=streaming)
                for split in splits
            ]
            found[f"{way} {'streaming' if streaming else 'whole'}"] = [
                {
                    "split": split, "key": sample["__key__"], "json": sample["json"], "txt": sample["txt"], "type": str(dataset.features["flac"]),
                    "samples": (sample["flac"].get_all_samples().data[0].numpy() * 32768).astype(int).tolist(),
                }
                for split, dataset in zip(splits, datasets, strict=True)
                for sample in dataset
            ]  # fmt: skip
    names: dict[str, Any] = {}  # what the card's own example defines
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(compile(next(block for block in blocks if "load_dataset" in block), "README.md", "exec"), names)
    found["snippet"] = [{"rate": names["audio"].sample_rate, "samples": names["audio"].data.shape[1], "json": names["row"]}]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
