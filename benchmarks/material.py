"""Real recorded speech with known text, as shows of some minutes: Asterisk's voice prompts (studio) and the dialogues of Fish Fillets (acted).

`write(corpus, folder)` leaves `<corpus>-NN.flac` and `gold.jsonl` (one line an utterance: episode, start, end, text, language, speaker) in the
folder. Debian packages, fetched at run time: `asterisk-core-sounds-*` (CC-BY-SA 3.0), `fillets-ng-data*` (GPL 2).
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import defaultdict
from pathlib import Path

import soundfile

from stages.audio import SAMPLE_RATE
from workflows.demo.speech import cached, dialogues, shows, unpack

SHOW = 480.0
"""Seconds of a show."""
FILLETS = {"nl": (0, 2, 6, 8), "cs": (1, 4, 7, 10)}
"""Which of their shows are taken: half an hour, of both speakers."""


def write(corpus: str, folder: Path, seed: int = 0) -> None:
    """The shows of a corpus (`en`, `es`, `fr`, `it`, `ru` of Asterisk; `nl`, `cs` of Fish Fillets), one speaker a show."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = dialogues(corpus) if corpus in FILLETS else asterisk(corpus)
    by_speaker: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for speaker, path, text in utterances:
        by_speaker[speaker].append((path, text))
    number = 0
    with (folder / "gold.jsonl").open("w", encoding="utf-8") as gold:
        for speaker, lines in sorted(by_speaker.items()):
            random.Random(f"{corpus} {seed}").shuffle(lines)
            pauses = random.Random(seed)
            for samples, spans in shows(lines, SHOW, lambda pauses=pauses: pauses.uniform(0.3, 0.9)):
                name = f"{corpus}-{number:02d}.flac"
                number += 1
                if number - 1 not in FILLETS.get(corpus, range(number)):
                    continue
                soundfile.write(folder / name, samples, SAMPLE_RATE)
                for start, end, text in spans:
                    entry = {"episode": name, "start": start, "end": end, "text": text, "language": corpus, "speaker": speaker}
                    gold.write(json.dumps(entry, ensure_ascii=False) + "\n")


def asterisk(language: str) -> list[tuple[str, Path, str]]:
    """Speaker (one), G.722 file and text of every prompt, single words and digits too; not of tones and silence."""
    base = f"asterisk-core-sounds-{language}"
    folder = cached(f"asterisk-{language}", lambda work: unpack([base, f"{base}-g722"], work) / "usr/share")
    sounds = {path.stem: path for path in folder.glob("asterisk/sounds/*/*.g722")}
    found = []
    for line in sorted(gzip.decompress((folder / f"doc/{base}/core-sounds-{language}.txt.gz").read_bytes()).decode("utf-8").splitlines()):
        key, separator, text = (part.strip() for part in line.partition(":"))
        if separator and text and key in sounds and not re.search(r"[\[\]<>();]", text):
            found.append((language, sounds[key], text))
    return found
