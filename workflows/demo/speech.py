"""Real recorded speech with transcripts, fetched at run time: Asterisk's voice prompts and the dialogues of a game.

Debian packages `asterisk-core-sounds-{en,es,fr,it,ru}-g722` (CC BY-SA or CC BY 3.0; one studio speaker a language, 16 kHz) and the transcripts beside
them; `fillets-ng-data-{nl,cs}` (GPL 2; Fish Fillets, acted). `apt-get download` and `dpkg -x` unpack them into a cache; nothing is installed.
"""

from __future__ import annotations

import gzip
import itertools
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
import soundfile
from filelock import FileLock

from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE, Samples

CACHE = Path(os.environ.get("SILVER_CACHE", Path(__file__).parent.parent.parent / ".cache")) / "speech"
LANGUAGES = ("en", "es", "fr")
MIN_WORDS = 3
"""Prompts of one or two words are digits, letters and names: hardly speech."""

_LINE = re.compile(r'dialogId\("([^"]+)",\s*"([^"]+)".*?\)\s*dialogStr\("((?:[^"\\]|\\.)*)"\)', re.DOTALL)


class Prompt(NamedTuple):
    """One recorded prompt: a 16 kHz mono FLAC and what is said in it."""

    path: Path
    text: str


class Span(NamedTuple):
    """A prompt inside longer audio, seconds."""

    start: float
    end: float
    text: str


def prompts(language: str) -> list[Prompt]:
    """All prompts of a language whose transcript is plain speech, in the order of their names.

    Left out: transcripts with brackets (tones, silence) or digits, with fewer than three words, and recordings of less than a second.

    Raises:
        SilverError: the packages cannot be fetched here.
    """
    folder = cached(language, lambda work: _fetch(language, work))
    found = []
    for line in (folder / "transcripts.txt").read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition("\t")
        found.append(Prompt(folder / f"{name}.flac", text))
    return found


def dialogues(language: str) -> list[tuple[str, Path, str]]:
    """Speaker, Ogg file and text of every line of Fish Fillets (`nl`, `cs`) that the two fish say; the other voices are few and distorted."""
    packages = ["fillets-ng-data", f"fillets-ng-data-{language}"]
    folder = cached(f"fillets-{language}", lambda work: unpack(packages, work) / "usr/share/games/fillets-ng")
    found = []
    for script in sorted(folder.glob(f"script/*/dialogs_{language}.lua")):
        for key, font, text in _LINE.findall(script.read_text(encoding="utf-8")):
            path = folder / "sound" / script.parent.name / language / f"{key}.ogg"
            if font in ("font_small", "font_big") and path.is_file() and len(text.split()) >= MIN_WORDS:
                found.append((font.removeprefix("font_"), path, text.replace("\\", "")))
    return found


def long_speech(
    language: str, seconds: float, pause: float = 0.6, seed: int = 0, skip: int = 0
) -> tuple[npt.NDArray[np.float32], list[Span]]:
    """Prompts in a seeded random order, without the first `skip`, joined by pauses of about `pause` seconds, until `seconds` are full.

    When all were used they come again. Returns the samples (16 kHz, shape (n,), -1..1) and where each prompt lies.
    """
    chance = random.Random(f"{language} {seed}")  # noqa: S311 - a reproducible choice
    order = prompts(language)
    chance.shuffle(order)
    pieces: list[npt.NDArray[np.float32]] = []
    spans: list[Span] = []
    position = 0

    def silence(length: float) -> None:
        nonlocal position
        quiet = np.random.default_rng(position).normal(0, 1e-4, round(length * SAMPLE_RATE)).astype(np.float32)
        pieces.append(quiet)
        position += len(quiet)

    silence(pause)
    for prompt in itertools.islice(itertools.cycle(order), skip, None):
        if position >= seconds * SAMPLE_RATE:
            break
        samples, _ = soundfile.read(prompt.path, dtype="float32")
        spans.append(Span(position / SAMPLE_RATE, (position + len(samples)) / SAMPLE_RATE, prompt.text))
        pieces.append(samples)
        position += len(samples)
        silence(pause * chance.uniform(0.5, 1.5))
    return np.concatenate(pieces), spans


def _fetch(language: str, work: Path) -> Path:
    base = f"asterisk-core-sounds-{language}"
    unpacked = unpack([base, f"{base}-g722"], work)
    target = work / "flac"
    target.mkdir()
    transcripts = unpacked / f"usr/share/doc/{base}/core-sounds-{language}.txt.gz"
    sounds = {path.stem: path for path in (unpacked / "usr/share/asterisk/sounds").glob("*/*.g722")}
    lines = []
    for line in sorted(gzip.decompress(transcripts.read_bytes()).decode("utf-8").splitlines()):
        key, separator, text = (part.strip() for part in line.partition(":"))
        if not separator or key not in sounds or re.search(r"[\[\]<>()\d;]", text) or len(text.split()) < MIN_WORDS:
            continue
        samples = read_samples(sounds[key])
        if len(samples) >= SAMPLE_RATE:
            # As the 16-bit numbers that they were: soundfile would scale floats by 32767.
            soundfile.write(target / f"{key}.flac", (samples * 32768).astype(np.int16), SAMPLE_RATE)
            lines.append(f"{key}\t{text}")
    (target / "transcripts.txt").write_text("\n".join(lines), encoding="utf-8")
    return target


def shows(
    lines: Iterable[tuple[Path, str]], longest: float, pause: Callable[[], float]
) -> Iterator[tuple[Samples, list[tuple[float, float, str]]]]:
    """Recordings one after the other as shows of `longest` seconds and a little more; `pause()` is how many seconds are between two of them.

    Of each show its samples, and what is said in it: start, end (seconds) and text.
    """
    pieces: list[Samples] = []
    said: list[tuple[float, float, str]] = []
    at = 0
    for path, text in lines:
        if not len(samples := _trimmed(read_samples(path))):
            continue  # some files of the game are empty
        quiet = np.random.default_rng(at).normal(0, 1e-4, round(pause() * SAMPLE_RATE)).astype(np.float32)
        pieces += [quiet, samples]
        said.append(((at + len(quiet)) / SAMPLE_RATE, (at + len(quiet) + len(samples)) / SAMPLE_RATE, text))
        at += len(quiet) + len(samples)
        if at > longest * SAMPLE_RATE:
            yield np.concatenate(pieces), said
            pieces, said, at = [], [], 0
    if pieces:
        yield np.concatenate(pieces), said


def _trimmed(samples: Samples) -> Samples:
    """Without the silence around it, of which the game's files have a second or more."""
    loud = np.flatnonzero(np.abs(samples) > 0.03 * np.abs(samples).max(initial=0))
    edge = SAMPLE_RATE // 5
    return samples[max(0, loud[0] - edge) : loud[-1] + edge] if len(loud) else samples[:0]


def cached(name: str, make: Callable[[Path], Path]) -> Path:
    """The folder `name` of the cache. If it is not there, `make` gets an empty folder to work in and gives the folder that is kept.

    Processes that want it at once wait for the first; what is there is always whole.
    """
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(CACHE / f".{name}.lock"), tempfile.TemporaryDirectory(dir=CACHE) as work:
            if not folder.exists():  # nobody made it while this one waited
                make(Path(work)).rename(folder)
    return folder


def read_samples(path: Path) -> Samples:
    """A whole audio file as 16 kHz mono, shape (n,), -1..1."""
    # G.722 is bare: nothing in the file says what it is.
    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frames = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate([*frames, np.zeros(0, np.float32)]).astype(np.float32)


def unpack(packages: list[str], work: Path) -> Path:
    """Download Debian packages into the folder `work` and unpack them there; gives the folder they are unpacked in.

    Raises:
        SilverError: the packages cannot be fetched here.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise SilverError(f"this speech comes from the Debian packages {', '.join(packages)}, and this machine has no apt-get and dpkg")
    _download(packages, work)
    for package in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(work / "unpacked")], check=True)
    return work / "unpacked"


def _download(packages: list[str], folder: Path) -> None:
    command = ["apt-get", "download", "-q", *packages]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode:  # a fresh machine has no package lists yet; updating them needs root
        subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SilverError(
            f"apt-get cannot download {', '.join(packages)}: {answer.stderr.strip()[-400:]}\nRun `apt-get update` as root and try again."
        )
