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
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from stages.audio import SAMPLE_RATE, Samples
from workflows.demo.speech import cached, dialogues, read_samples, unpack

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
            for samples, spans in _shows(lines, seed):
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


def _shows(lines: Iterable[tuple[Path, str]], seed: int) -> Iterable[tuple[Samples, list[tuple[float, float, str]]]]:
    chance = random.Random(seed)
    pieces: list[Samples] = []
    spans: list[tuple[float, float, str]] = []
    at = 0
    for path, text in lines:
        if not len(samples := _trimmed(read_samples(path))):
            continue  # some files of the game are empty
        pause = np.random.default_rng(at).normal(0, 1e-4, round(chance.uniform(0.3, 0.9) * SAMPLE_RATE)).astype(np.float32)
        pieces += [pause, samples]
        spans.append(((at + len(pause)) / SAMPLE_RATE, (at + len(pause) + len(samples)) / SAMPLE_RATE, text))
        at += len(pause) + len(samples)
        if at > SHOW * SAMPLE_RATE:
            yield np.concatenate(pieces), spans
            pieces, spans, at = [], [], 0
    if pieces:
        yield np.concatenate(pieces), spans


def _trimmed(samples: Samples) -> Samples:
    """Without the silence around it, of which the game's files have a second or more: the pauses between utterances are made here."""
    loud = np.flatnonzero(np.abs(samples) > 0.03 * np.abs(samples).max(initial=0))
    edge = SAMPLE_RATE // 5
    return samples[max(0, loud[0] - edge) : loud[-1] + edge] if len(loud) else samples[:0]
