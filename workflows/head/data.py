"""Windows to train on: utterances joined by pauses into up to 30 s, as Cut & Merge makes them, and what Whisper's encoder hears in them.

<folder>/<corpus>/000.flac ...      the windows, 16 kHz
<folder>/<corpus>/windows.jsonl     one line a window: {"path", "corpus", "duration", "utterances": [{"start", "end", "text", "language",
                                    "speaker", "synthetic", "spelled"}]}; times in seconds in the window
<folder>/<corpus>/encoded.npy       float16, shape (windows, 1500, 512)
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import fftconvolve

from manifests.store import Store
from pipeline.contract import ItemError, PartContext, SilverError
from stages import whisper
from stages.align.spelling import WILDCARD, spell
from stages.audio import SAMPLE_RATE, Samples
from stages.train.noise import coloured, faster, in_a_room, with_noise
from stages.words import written_words
from workflows.head.corpora import RECORDED, SYNTHETIC, TEST, Utterance, utterances

ENCODER = "base"
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""What the network spells with: the space stands between words. Class 0 is the blank."""
VOCABULARY = {character: i for i, character in enumerate(CHARACTERS, start=1)}

NOISY = ("it+noise", "ru+noise")
"""The smaller recorded corpora again, in another order, with noise, reverberation and other speeds."""
TRAINING = (*RECORDED, *NOISY, *SYNTHETIC)

_LONGEST = 29.0  # seconds of an utterance
_TEST_WINDOWS = 14  # about five minutes of speech


def prepare(corpus: str, folder: Path) -> None:
    """Make and encode the windows of a corpus (one of `TRAINING` or `TEST`), unless they are there already."""
    target = folder / corpus
    if (target / "encoded.npy").is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    encoded, lines = [], []
    for number, (samples, said) in enumerate(islice(_windows(corpus), _TEST_WINDOWS if corpus in TEST else None)):
        path = f"{number:03d}.flac"
        soundfile.write(target / path, samples, SAMPLE_RATE)
        encoded.append(encode(target / path).astype(np.float16))
        about = {"path": path, "corpus": corpus, "duration": len(samples) / SAMPLE_RATE, "utterances": said}
        lines.append(json.dumps(about, ensure_ascii=False))
    (target / "windows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(target / "encoding.npy", np.stack(encoded))
    (target / "encoding.npy").rename(target / "encoded.npy")


def encode(path: Path) -> whisper.Encoded:
    """What Whisper's encoder hears in an audio file of up to 30 s.

    Raises:
        SilverError: the audio in it is damaged.
    """
    context = PartContext(store=Store(str(path.parent)))
    model = whisper.load(ENCODER, "int8", context)
    [output] = whisper.encode(context, model, [{"audio_path": path.name, "start": 0.0, "end": soundfile.info(path).duration}])
    if isinstance(output, ItemError):
        raise SilverError(f"{path}: {output}")
    return output


def read(corpus: str, folder: Path) -> list[tuple[Any, dict[str, Any]]]:
    """Encoder output (float16, memory-mapped) and record of each window of a prepared corpus."""
    lines = (folder / corpus / "windows.jsonl").read_text("utf-8").splitlines()
    return list(zip(np.load(folder / corpus / "encoded.npy", mmap_mode="r"), map(json.loads, lines), strict=True))


def spelled(text: str, language: str) -> str | None:
    """The characters that the aligner would look for in this text; None if some cannot be spelled."""
    words = [spell(word, language, VOCABULARY) for word in written_words(text)]
    if not words or any(WILDCARD in word for word in words):
        return None
    return " ".join("".join(CHARACTERS[i - 1] for i in word) for word in words)


def _windows(corpus: str) -> Iterator[tuple[Samples, list[dict[str, Any]]]]:
    """Samples of a window, and what is said in it."""
    base, _, noisy = corpus.partition("+")
    chance = np.random.default_rng(list(corpus.encode()))
    found = utterances(base)
    if noisy:
        shuffled = list(found)
        random.Random(corpus).shuffle(shuffled)  # noqa: S311 - a reproducible choice
        found = iter(shuffled)
    pieces: list[Samples] = [_pause(chance)]
    said: list[dict[str, Any]] = []
    limit = chance.uniform(20, 30)
    for utterance in found:
        characters = spelled(utterance.text, utterance.language)
        samples = faster(utterance.samples, chance.uniform(0.9, 1.1)) if noisy else utterance.samples
        length = sum(map(len, pieces)) / SAMPLE_RATE
        if not characters or len(samples) > _LONGEST * SAMPLE_RATE or len(characters) > 35 * len(samples) / SAMPLE_RATE:
            continue
        if said and length + len(samples) / SAMPLE_RATE > limit:
            yield _room(np.concatenate(pieces), chance, rough=bool(noisy) or utterance.synthetic), said
            pieces, said, limit, length = [_pause(chance)], [], chance.uniform(20, 30), 0
            length = len(pieces[0]) / SAMPLE_RATE
        pieces += [samples, _pause(chance)]
        said.append(_record(utterance, characters, length, length + len(samples) / SAMPLE_RATE))
    if said:
        yield _room(np.concatenate(pieces), chance, rough=bool(noisy)), said


def _record(utterance: Utterance, characters: str, start: float, end: float) -> dict[str, Any]:
    about = {"text": utterance.text, "language": utterance.language, "speaker": utterance.speaker, "synthetic": utterance.synthetic}
    return {"start": round(start, 3), "end": round(end, 3), **about, "spelled": characters}


def _pause(chance: np.random.Generator) -> Samples:
    return chance.normal(0, 1e-4, round(chance.uniform(0.1, 0.8) * SAMPLE_RATE)).astype(np.float32)


def _room(samples: Samples, chance: np.random.Generator, *, rough: bool) -> Samples:
    """The window as it might have been recorded; `rough`: often with reverberation, noise and the bandwidth of a telephone."""
    if rough and chance.random() < 0.5:
        decay = chance.uniform(0.1, 0.5)
        samples = in_a_room(samples, chance.normal(size=round(decay * SAMPLE_RATE)), decay, chance.uniform(0.1, 0.7))
    if rough and chance.random() < 0.15:
        samples = fftconvolve(samples, _lowpass(3600), mode="same")
    if rough and chance.random() < 0.6:
        noise = coloured(chance.normal(size=len(samples)), chance.uniform(0, 1))
        samples = with_noise(samples, noise, chance.uniform(8, 35))
    level = chance.uniform(0.15, 0.95) if rough else 0.9
    peak = float(np.max(np.abs(samples)))
    return (samples * (level / peak) if rough or peak > level else samples).astype(np.float32)


def _lowpass(cutoff: float) -> Samples:
    taps = np.sinc(2 * cutoff / SAMPLE_RATE * np.arange(-64, 65)) * np.hamming(129)
    lowpass: Samples = (taps / taps.sum()).astype(np.float32)
    return lowpass
