"""How fast the decode stage is, against PyAV's own decode-and-resample of the same files in the same run.

    python benchmarks/decode.py [--minutes 5] [--repeats 3]

Speech-like audio (noise under a syllable's envelope, 44.1 kHz stereo) is encoded on the fly. Both sides count processor time of one thread;
the best of the repeats counts, taken in turns. The stage also writes FLAC, hashes and measures; PyAV's side throws its samples away.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import numpy as np

from manifests.store import Store
from pipeline.contract import PartContext
from stages.decode import Decode

FORMATS = {
    "mp3": ("mp3", "libmp3lame", 44_100, 128_000),
    "opus": ("ogg", "libopus", 48_000, 64_000),
    "aac": ("ipod", "aac", 44_100, 128_000),
}


def speech_like(seconds: int, rate: int) -> np.ndarray:
    """Noise with the slope of speech under an envelope of four syllables a second, shape (2, n)."""
    noise = np.random.default_rng(0).standard_normal((2, seconds * rate)).astype(np.float32)
    noise = np.diff(np.cumsum(noise * 0.05, axis=1) % 1.0, axis=1, prepend=0)
    envelope = np.clip(np.sin(2 * np.pi * 4 * np.arange(seconds * rate) / rate), 0, None)
    return (noise * envelope * 0.3).astype(np.float32)


def encode(path: Path, container: str, codec: str, rate: int, bit_rate: int, seconds: int) -> None:
    """One file of `seconds`."""
    samples = speech_like(seconds, rate)
    with av.open(path, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "stereo", bit_rate
        resampler = av.AudioResampler(stream.format.name, "stereo", rate)
        for start in range(0, samples.shape[1], rate):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + rate]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, start
            for ready in resampler.resample(frame):
                output.mux(stream.encode(ready))
        output.mux(stream.encode(None))


def plain(path: Path) -> None:
    """What anybody would write with PyAV."""
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(path) as container:
        for frame in container.decode(audio=0):
            for resampled in resampler.resample(frame):
                resampled.to_ndarray()
        for resampled in resampler.resample(None):
            resampled.to_ndarray()


def staged(path: Path) -> None:
    """The stage, into an empty corpus."""
    with tempfile.TemporaryDirectory() as root:
        row = {"source_id": "0", "segment_id": None, "source_uri": str(path), "media_uri": str(path)}
        (result,) = Decode(Decode.Params()).process([row], PartContext(Store(root)))
        assert result.get("drop_reason") is None, result


def seconds_of(work: Callable[[Path], None], path: Path) -> float:
    """Processor time."""
    began = time.process_time()
    work(path)
    return time.process_time() - began


def main() -> None:
    """Print one line a codec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    print(f"{'codec':8}{'stage':>12}{'plain PyAV':>12}{'ratio':>8}   times real time on one core")
    with tempfile.TemporaryDirectory() as folder:
        for codec, (container, encoder, rate, bit_rate) in FORMATS.items():
            path = Path(folder) / f"speech.{codec}"
            encode(path, container, encoder, rate, bit_rate, seconds)
            times = [(seconds_of(staged, path), seconds_of(plain, path)) for _ in range(arguments.repeats)]
            mine, theirs = (seconds / min(column) for column in zip(*times, strict=True))
            print(f"{codec:8}{mine:12.0f}{theirs:12.0f}{mine / theirs:8.2f}")


if __name__ == "__main__":
    main()
