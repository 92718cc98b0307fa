"""Real speech for refinement: one character of a game as audio without labels, the other as gold that no student hears.

    python -m workflows.demo.characters nl demo/refine

leaves `demo/refine/nl/audio/*.flac` (the big fish, shows of some minutes), `dev.jsonl` and `test.jsonl` (the small fish: gold with its audio beside
it). Fish Fillets in Dutch (`nl`) or Czech (`cs`), see `workflows.demo.speech`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from stages.audio import SAMPLE_RATE, Samples
from workflows.demo.speech import dialogues, shows

TRAINED, HELD_OUT = "big", "small"
SHOW = 300.0
"""Seconds of a file; the first two of the held-out character (one, if only some minutes are wanted) are the dev set."""
PAUSE = 0.5
"""Seconds between utterances."""


def make(language: str, folder: Path, minutes: float | None = None) -> None:
    """Write audio and gold; `minutes`: of audio at most, and of the test set as well; all there is by default."""
    lines = dialogues(language)
    files = int(minutes * 60 // SHOW) if minutes else 1000
    dev_files = 1 if minutes else 2
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for number, (samples, _) in enumerate(_shows(lines, TRAINED)):
        if number < files:
            soundfile.write(folder / "audio" / f"{TRAINED}-{number:02d}.flac", samples, SAMPLE_RATE)
    gold: dict[str, list[str]] = {"dev": [], "test": []}
    for number, (samples, said) in enumerate(_shows(lines, HELD_OUT)):
        part = "dev" if number < dev_files else "test"
        if number >= dev_files + files:
            break
        name = f"{part}/{HELD_OUT}-{number:02d}.flac"
        (folder / part).mkdir(exist_ok=True)
        soundfile.write(folder / name, samples, SAMPLE_RATE)
        for start, end, text in said:
            entry = {"audio": name, "start": round(start, 3), "end": round(end, 3), "text": text, "language": language, "speaker": HELD_OUT}
            gold[part].append(json.dumps(entry, ensure_ascii=False))
    for part, entries in gold.items():
        (folder / f"{part}.jsonl").write_text("\n".join(entries) + "\n", encoding="utf-8")


def _shows(lines: Sequence[tuple[str, Path, str]], speaker: str) -> Iterator[tuple[Samples, list[tuple[float, float, str]]]]:
    order = sorted((path, text) for said_by, path, text in lines if said_by == speaker)
    random.Random("characters").shuffle(order)  # noqa: S311 - a reproducible choice
    return shows(order, SHOW, lambda: PAUSE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=("nl", "cs"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, help="of audio without labels, and of the test set, at most")
    options = parser.parse_args()
    make(options.language, options.folder / options.language, options.minutes)
