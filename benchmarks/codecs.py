"""Size, cost and loss of the codecs of a release, on recorded prompts (English, Spanish, French).

    .venv/bin/python -m benchmarks.codecs --minutes 10

Each segment of 3 to 20 seconds is encoded as `pack` does it, once, in one thread; times are CPU times. The signal-to-noise ratio is over all samples.
"""

from __future__ import annotations

import argparse
import io
import random
import time

import numpy as np
import numpy.typing as npt
import soundfile

from stages.audio import SAMPLE_RATE
from stages.pack.codec import encode_lossy
from workflows.demo.speech import long_speech

CODECS = ("flac", "opus", "mp3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    chance = random.Random(0)
    segments: list[npt.NDArray[np.int16]] = []
    for language in ("en", "es", "fr"):
        samples, _ = long_speech(language, minutes * 20, seed=0)
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
        at = 0
        while (length := round(chance.uniform(3, 20) * SAMPLE_RATE)) <= len(pcm) - at:
            segments.append(pcm[at : at + length])
            at += length
    hours = sum(map(len, segments)) / SAMPLE_RATE / 3600
    print(f"{len(segments)} segments, {hours * 60:.1f} minutes")
    print("codec  MB an hour  encoded, times real time  signal to noise, dB")
    for codec in CODECS:
        began = time.process_time()
        encoded = [_encode(pcm, codec) for pcm in segments]
        took = time.process_time() - began
        signal = noise = 0.0
        for pcm, data in zip(segments, encoded, strict=True):
            heard, _ = soundfile.read(io.BytesIO(data), dtype="int16")
            assert len(heard) == len(pcm)
            signal += float((pcm.astype(np.float64) ** 2).sum())
            noise += float(((heard.astype(np.float64) - pcm) ** 2).sum())
        ratio = f"{10 * np.log10(signal / noise):.1f}" if noise else "the same samples"
        print(f"{codec:5}  {sum(map(len, encoded)) / hours / 1e6:10.1f}  {hours * 3600 / took:24.0f}  {ratio}")


def _encode(pcm: npt.NDArray[np.int16], codec: str) -> bytes:
    if codec != "flac":
        return encode_lossy(pcm, codec)
    sink = io.BytesIO()
    soundfile.write(sink, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


if __name__ == "__main__":
    main()
