"""Reads releases with `datasets`, in a process of its own: its decoder (torchcodec) wants FFmpeg's shared libraries, which have to
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

AUDIO = {"flac", "opus", "mp3"}


def read(scratch: Path, *folders: tuple[Path, str]) -> dict[str, list[dict[str, Any]]]:
    """What `datasets` reads of release folders, each by `card` or by `shards` alone: `<folder> <way> streaming` and `... whole` to
    one entry a sample; `snippet` to what the example of the first card defines.
    """
    import av

    wheel = Path(av.__file__).parents[1] / "av.libs"
    links = scratch / "ffmpeg"
    links.mkdir(parents=True)
    for library in wheel.glob("lib*"):
        if match := re.match(r"(lib(?:av|sw)\w+)-[0-9a-f]+(\.so\.\d+)", library.name):
            (links / (match[1] + match[2])).symlink_to(library)
    libraries = os.pathsep.join(filter(None, [os.environ.get("LD_LIBRARY_PATH"), str(links), str(wheel)]))
    environment = os.environ | {"LD_LIBRARY_PATH": libraries, "HF_HOME": str(scratch), "HF_HUB_OFFLINE": "1"}
    arguments = [f"{folder}={way}" for folder, way in folders]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], cwd=folders[0][0], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    found = {}
    for argument in sys.argv[1:]:
        folder, _, way = argument.rpartition("=")
        for streaming in (True, False):
            found[f"{Path(folder).name} {way} {'streaming' if streaming else 'whole'}"] = list(
                samples(Path(folder), way, streaming=streaming)
            )
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(compile(next(block for block in blocks if "load_dataset" in block), "README.md", "exec"), names)
    found["snippet"] = [{"rate": names["audio"].sample_rate, "samples": names["audio"].data.shape[1], "json": names["row"]}]
    print(json.dumps(found))


def samples(folder: Path, way: str, *, streaming: bool) -> Any:
    from datasets import load_dataset

    for split in sorted({path.parent.name for path in folder.glob("*/*.tar")}):
        if way.startswith("card "):  # of a subset
            dataset = load_dataset(str(folder), way.removeprefix("card "), split=split, streaming=streaming)
        elif way == "card":
            dataset = load_dataset(str(folder), split=split, streaming=streaming)
        else:
            dataset = load_dataset("webdataset", data_files={split: f"{folder}/{split}/{split}-*.tar"}, split=split, streaming=streaming)
        for sample in dataset:
            (audio,) = AUDIO & sample.keys()
            decoded = sample[audio].get_all_samples().data[0].numpy()
            yield {
                "split": split, "key": sample["__key__"], "json": sample["json"], "txt": sample.get("txt"),
                "type": str(dataset.features[audio]), "samples": (decoded * 32768).astype(int).tolist(),
            }  # fmt: skip


if __name__ == "__main__":
    main()
