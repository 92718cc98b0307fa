"""Podcast episodes out of the prompts: MP3, Opus and M4A with pauses, what is said in them, and some that are not what they claim to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from stages.audio import SAMPLE_RATE
from workflows.demo.speech import LANGUAGES, long_speech

Samples = npt.NDArray[np.float32]
FORMATS = {"mp3": ("libmp3lame", 48_000, "mp3"), "opus": ("libopus", 32_000, "ogg"), "m4a": ("aac", 64_000, "mp4")}
"""Encoder, bits a second, container."""


@dataclass(frozen=True)
class Episode:
    """One file of a feed. `language` is what the feed says."""

    path: Path
    language: str
    title: str
    seconds: float


def make_episodes(folder: Path, truth: Path, minutes: float) -> list[Episode]:
    """Write the episodes of three shows, `minutes` of speech a language, and their truth, one JSON object a prompt, to `truth`.

    The English show has five more: one in Spanish, one of noise, one of chords, one cut off in the middle of the file, and a text that is
    named .mp3. No prompt comes twice until all of its language were used. The same bytes each time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    episodes: list[Episode] = []
    used = dict.fromkeys(LANGUAGES, 0)

    def add(name: str, claimed: str, samples: Samples) -> Path:
        path = folder / name
        encode(samples, path)
        episodes.append(Episode(path, claimed, path.stem.replace("-", " "), len(samples) / SAMPLE_RATE))
        return path

    def add_speech(name: str, said: str, claimed: str, seconds: float) -> Path:
        samples, spans = long_speech(said, seconds, pause=0.7, skip=used[said])
        used[said] += len(spans)
        lines.extend(json.dumps({"episode": name, "language": said, **span._asdict()}, ensure_ascii=False) for span in spans)
        return add(name, claimed, samples)

    formats = list(FORMATS)
    for number, language in enumerate(LANGUAGES):
        for half in range(2):
            add_speech(f"{language}-episode-{half}.{formats[(number + half) % 3]}", language, language, minutes * 30)
    add_speech("en-guest-from-madrid.mp3", "es", "en", 60)
    add("en-rain-to-sleep-by.opus", "en", np.random.default_rng(0).normal(0, 0.05, 45 * SAMPLE_RATE).astype(np.float32))
    add("en-theme.m4a", "en", chords(30))
    broken = add_speech("en-cut-off.mp3", "en", "en", 40)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    page = folder / "en-not-audio.mp3"
    page.write_text("<html><body>404: this episode has moved</body></html>\n" * 40, encoding="utf-8")
    episodes.append(Episode(page, "en", "not audio", 60.0))
    truth.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return episodes


def chords(seconds: int) -> Samples:
    """Something like music: a chord a second, C F G C, each note with four harmonics, dying away. Shape (n,)."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    bars = []
    for notes in ((262, 330, 392), (349, 440, 523), (392, 494, 587), (262, 330, 392)):
        tones = [np.sin(2 * np.pi * note * harmonic * time) / harmonic for note in notes for harmonic in range(1, 5)]
        bars.append(0.06 * np.exp(-3 * time) * np.sum(tones, axis=0))
    return np.resize(np.concatenate(bars), seconds * SAMPLE_RATE).astype(np.float32)


def encode(samples: Samples, path: Path) -> None:
    """Encode 16 kHz mono samples into the container that the file's name asks for."""
    codec, bits, container_format = FORMATS[path.suffix.lstrip(".")]
    rate = 48_000 if codec == "libopus" else 44_100
    with av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"}) as container:  # Ogg has a random serial
        stream = container.add_stream(codec, rate=rate)
        stream.bit_rate = bits
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 1024)
        for start in range(0, len(samples), SAMPLE_RATE):
            block = np.clip(samples[start : start + SAMPLE_RATE] * 32767, -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
