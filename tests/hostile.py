"""Audio files as the web has them: broken, lying, misnamed, and good ones under bad names."""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import zipfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile

DECODES: dict[str, str | None] = {
    "good": None,
    "bad_name": None,
    "link": None,
    "truncated_mp3": None,
    "truncated_flac": None,
    "truncated_ogg": None,
    "truncated_m4a": None,
    "flipped_bits": None,
    "wav_lies_about_length": None,
    "eight_bit": None,
    "surround_7_1": None,
    "rate_192_khz": None,
    "silence": None,
    "float_nan_and_inf": None,
    "changes_midway": None,
    "id3_lies_about_length": "damaged",
    "wav_lies_about_rate": "damaged",
    "wav_without_channels": "damaged",
    "header_only": "damaged",
    "m4a_without_moov": "damaged",
    "empty": "empty_file",
    "text": "not_audio",
    "html": "not_audio",
    "zip": "not_audio",
    "random_bytes": "not_audio",
    "playlist": "not_audio",
    "picture": "not_audio",
    "video_without_audio": "no_audio_stream",
    "hundredth_of_a_second": "too_short",
    "folder": "not_a_file",
    "fifo": "not_a_file",
    "link_loop": "not_a_file",
    "dangling_link": "not_found",
    "unreadable": "unreadable",
}
"""Kind of file: the reason that `decode` drops it with; None: it is kept."""


def voice_like(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Noise under a syllable's envelope, shape (n,), float32."""
    count = round(seconds * rate)
    envelope = np.clip(np.sin(2 * np.pi * 4 * np.arange(count) / rate), 0, None)
    return (np.random.default_rng(seed).standard_normal(count) * envelope * 0.1).astype(np.float32)


@lru_cache(maxsize=256)
def encode(
    container: str, codec: str, seconds: float = 2.0, rate: int = 48_000, layout: str = "mono", seed: int = 0, video: bool = False
) -> bytes:
    """A whole file as PyAV writes it; `codec` may be empty for no audio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        _encode(path, container, codec, seconds, rate, layout, seed, video)
        return path.read_bytes()


def _encode(path: Path, container: str, codec: str, seconds: float, rate: int, layout: str, seed: int, video: bool) -> None:
    with av.open(path, "w", format=container, options={"movflags": "faststart"} if container in {"ipod", "mp4"} else {}) as output:
        picture = output.add_stream("mpeg4", rate=10) if video else None
        if picture is not None:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        stream = output.add_stream(codec, rate=rate, layout=layout) if codec else None
        if picture is not None:
            for index in range(int(seconds * 10)):
                image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index * 7 % 256, np.uint8), format="rgb24")
                output.mux(picture.encode(image))
            output.mux(picture.encode(None))
        if stream is not None:
            channels = stream.layout.nb_channels
            samples = np.repeat(voice_like(seconds, rate, seed), channels)  # packed: PyAV cannot make planar frames of 8 channels
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout=layout)
            resampler = av.AudioResampler(stream.format.name, layout, rate, frame_size=stream.frame_size or None)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            for ready in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(stream.encode(ready))
            output.mux(stream.encode(None))


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    """A WAV file; samples (n,) or (n, channels)."""
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format="WAV", subtype=subtype)
    return sink.getvalue()


def riff(samples: bytes, *, rate: int = 16_000, channels: int = 1, claimed: int | None = None) -> bytes:
    """A 16-bit WAV file whose header says what it is told to."""
    size = len(samples) if claimed is None else claimed
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate & 0xFFFFFFFF, rate * 2 & 0xFFFFFFFF, 2 * channels, 16)
    return b"RIFF" + struct.pack("<I", min(36 + size, 0xFFFFFFFF)) + b"WAVE" + fmt + b"data" + struct.pack("<I", size) + samples


def _contents(seed: int) -> list[tuple[str, str, bytes]]:
    """Kind, suffix and bytes of one set of files; each seed breaks them at other places."""
    dice = random.Random(seed)
    sound = voice_like(2, seed=seed)
    pcm = (sound * 32767).astype("<i2").tobytes()
    mp3 = encode("mp3", "libmp3lame", rate=44_100, seed=seed)
    flac, ogg = encode("flac", "flac", seed=seed), encode("ogg", "libopus", seconds=5, seed=seed)
    m4a = encode("ipod", "aac", seed=seed)

    def part(data: bytes) -> bytes:
        return data[: int(len(data) * dice.uniform(0.4, 0.9))]

    def flipped(data: bytes) -> bytes:
        broken = bytearray(data)
        middle = len(data) // 2
        broken[middle : middle + len(data) // 10] = dice.randbytes(len(data) // 10)
        return bytes(broken)

    nan = sound.copy()
    nan[dice.randrange(1000) :: 997] = np.nan
    nan[dice.randrange(1000) :: 1009] = np.inf
    nan[dice.randrange(1000) :: 1013] = -1e38
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("talk.mp3", mp3)
    moov = m4a.index(b"moov")
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + dice.randbytes(500)
    return [
        ("truncated_mp3", "mp3", part(mp3)),
        ("truncated_flac", "flac", part(flac)),
        ("truncated_ogg", "ogg", part(ogg)),
        ("truncated_m4a", "m4a", m4a[: int(len(m4a) * 0.8)]),
        ("flipped_bits", "mp3", flipped(mp3)),
        ("flipped_bits", "flac", flipped(flac)),
        ("flipped_bits", "ogg", flipped(ogg)),
        ("wav_lies_about_length", "wav", riff(pcm, claimed=dice.choice([0xFFFFFFFF, 0x7FFFFFFF, 10 * len(pcm)]))),
        ("wav_lies_about_rate", "wav", riff(pcm, rate=dice.choice([1, 7, 4_000_000_000]))),
        ("wav_without_channels", "wav", riff(pcm, channels=0)),
        ("eight_bit", "wav", wav(sound, 8_000, "PCM_U8")),
        ("surround_7_1", "wav", wav(np.stack([sound] * 8, axis=1), 48_000)),
        ("surround_7_1", "aac", encode("adts", "aac", layout="7.1", seed=seed)),
        ("rate_192_khz", "wav", wav(sound, 192_000)),
        ("silence", "wav", wav(np.zeros(16_000 + dice.randrange(16_000), np.float32))),
        ("float_nan_and_inf", "wav", wav(nan, subtype="FLOAT")),
        ("changes_midway", "mp3", mp3 + encode("mp3", "libmp3lame", rate=22_050, layout="stereo", seed=seed)),
        ("id3_lies_about_length", "mp3", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + mp3),
        ("header_only", "wav", pcm and b"RIFF\x24\x00\x00\x00WAVEfmt "),
        ("m4a_without_moov", "m4a", m4a[:moov] + b"junk" + m4a[moov + 4 :]),
        ("empty", dice.choice(["mp3", "wav", "m4a"]), b""),
        ("text", "mp3", b"This is not the recording you are looking for.\n" * dice.randrange(1, 200)),
        ("html", "mp3", b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>" + b"<p>gone</p>" * dice.randrange(500) + b"</body></html>"),
        ("zip", "mp3", archive.getvalue()),
        ("random_bytes", "mp3", b"\x00" + dice.randbytes(dice.randrange(1, 20_000))),
        ("playlist", "mp3", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("picture", "mp3", picture),
        ("video_without_audio", "mp4", encode("mp4", "", video=True, seconds=1 + seed % 3)),
        ("hundredth_of_a_second", "wav", wav(sound[:160])),
    ]  # fmt: skip


GOOD = {
    "mp3": ("mp3", "libmp3lame", 44_100),
    "flac": ("flac", "flac", 44_100),
    "mka": ("matroska", "flac", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "aac", 48_000),
    "aiff": ("aiff", "pcm_s16be", 22_050),
    "ac3": ("ac3", "ac3", 48_000),
    "wav": ("wav", "pcm_s24le", 96_000),
}
NAMES = [
    "new\nline.mp3",
    "..mp3",
    "...hidden..mp3",
    "-rf.mp3",
    "--config=x.mp3",
    "🎙 été 音声.mp3",
    "$(touch pwned).mp3",
    "'; DROP TABLE segments; --.mp3",
    '"quoted" <b>.mp3',
    "back\\slash.mp3",
    "%s%n%00.mp3",
    "tab\tand\rreturn.mp3",
    " spaces .mp3",
    "*?[a].mp3",
    "#fragment?query=1.mp3",
    "\u202ereversed.mp3",
    "é" * 123 + ".mp3",  # 250 bytes
    os.fsdecode(b"latin-\xe9t\xe9.mp3"),
    os.fsdecode(b"\xff\xfe\x80.mp3"),
    "CON.mp3",
]


def make_hostile(folder: Path, rounds: int = 6) -> dict[str, str]:
    """About 200 files of 34 kinds (`rounds` of those that can be broken at random places). File name: kind, a key of `DECODES`.

    Names are as `os.listdir` gives them: bytes that are no UTF-8 are surrogates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, str] = {}

    def write(name: str, kind: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        made[name] = kind

    for seed in range(rounds):
        for index, (kind, suffix, data) in enumerate(_contents(seed)):
            write(f"{kind}-{index:02d}-{seed}.{suffix}", kind, data)
    for suffix, (container, codec, rate) in GOOD.items():
        write(f"good.{suffix}", "good", encode(container, codec, rate=rate, layout="stereo", video=suffix == "mkv"))
    for index, name in enumerate(NAMES):
        write(name, "bad_name", encode("mp3", "libmp3lame", seconds=0.5, rate=44_100, seed=index))
    for index in range(3):
        (folder / f"folder-{index}.mp3").mkdir()
        made[f"folder-{index}.mp3"] = "folder"
        os.mkfifo(folder / f"fifo-{index}.mp3")
        made[f"fifo-{index}.mp3"] = "fifo"
        (folder / f"link-{index}.mp3").symlink_to(folder / "good.mp3")
        made[f"link-{index}.mp3"] = "link"
        (folder / f"dangling-{index}.mp3").symlink_to(folder / f"nothing-{index}.mp3")
        made[f"dangling-{index}.mp3"] = "dangling_link"
        (folder / f"loop-{index}.mp3").symlink_to(folder / f"loop-{(index + 1) % 3}.mp3")
        made[f"loop-{index}.mp3"] = "link_loop"
    if os.geteuid():  # root may read everything
        write("unreadable.mp3", "unreadable", b"ID3")
        (folder / "unreadable.mp3").chmod(0)
    return made


def write_long_noise(path: Path, hours: float = 3.0, rate: int = 16_000) -> None:
    """A long recording of noise, streamed to disk a minute at a time (WAV or FLAC by its suffix)."""
    minute = (np.random.default_rng(0).standard_normal(60 * rate) * 0.05).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as output:
        for _ in range(round(hours * 60)):
            output.write(minute)
