"""How well the network spells what it hears, and how well its word times agree with another aligner's, on speakers that it never heard."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
import soundfile

from pipeline.contract import SilverError
from stages.align.embedded import started_earlier
from stages.align.head import Head
from stages.align.network import LogProbs
from stages.align.spelling import spell
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import aligned_words
from workflows.demo.speech import cached
from workflows.head.data import encode, read


class Clip(NamedTuple):
    """A recording, and the words in it with their starts in seconds, by pocketsphinx's forced alignment."""

    path: Path
    words: list[tuple[str, float]]


def character_error_rates(head: Head, corpora: Sequence[str], folder: Path) -> dict[str, float]:
    """Character error rate (spaces apart) of the network's greedy text, for each prepared corpus."""
    rates = {}
    for corpus in corpora:
        windows = read(corpus, folder)
        wanted, heard = [], []
        for (_, about), log_probs in zip(windows, head.log_probs([encoded for encoded, _ in windows], 8), strict=True):
            for utterance in about["utterances"]:
                first, end = (round(utterance[edge] / head.stride) for edge in ("start", "end"))
                wanted.append(utterance["spelled"].replace(" ", ""))
                heard.append(greedy(head, log_probs[max(0, first - 5) : end + 5]).replace(" ", ""))
        rates[corpus] = float(jiwer.cer(wanted, heard))
    return rates


def greedy(head: Head, log_probs: LogProbs) -> str:
    """The most probable character of each frame, repetitions merged."""
    classes = log_probs.argmax(axis=1)
    kept = classes[np.flatnonzero(np.diff(classes, prepend=-1))]
    return "".join(head.config.characters[i - 1] for i in kept if i != head.blank)


def word_starts(head: Head, clips: Sequence[Clip]) -> list[float]:
    """Of each word of the clips, seconds by which the network's start is later than pocketsphinx's."""
    late = []
    for clip in clips:
        frames = round(soundfile.info(clip.path).duration / head.stride)
        log_probs = head.log_probs([encode(clip.path)], 1)[0][:frames]
        words = [spell(word, "en", head.vocabulary) for word, _ in clip.words]
        found = started_earlier(
            aligned_words(log_probs, words, head.blank, head.vocabulary[" "], Torchaudio.path), head.config.delay / head.stride
        )
        late += [spans.word.start * head.stride - start for spans, (_, start) in zip(found, clip.words, strict=True)]
    return late


def librivox() -> list[Clip]:
    """Five clips of a LibriVox reading (public domain) with word times, out of the sources of pocketsphinx 5.1.1.

    Raises:
        SilverError: they cannot be fetched here.
    """
    folder = cached("librivox", _fetch_librivox)
    return [Clip(path.with_suffix(".wav"), list(_aligned(path))) for path in sorted(folder.glob("*.json"))]


def _fetch_librivox(work: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--no-binary", "pocketsphinx"]
    done = subprocess.run([*pip, "--dest", str(work), "pocketsphinx==5.1.1"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SilverError(f"the sources of pocketsphinx 5.1.1 cannot be fetched: {' '.join(done.stderr.split()[-40:])}")
    clips = work / "clips"
    clips.mkdir()
    with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            # Words are in NAME.json; NAME.phone.json and NAME.state.json hold smaller things.
            if path.parent.name == "librivox" and path.suffix in {".wav", ".json"} and path.name.count(".") == 1 and "sense" in path.name:
                (clips / path.name).write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr] # a file
    return clips


def _aligned(path: Path) -> Iterator[tuple[str, float]]:
    for word in json.loads(path.read_text())["w"]:
        if not word["t"].startswith(("<", "[")):  # silence and noise
            yield word["t"].partition("(")[0], word["b"]
