"""decode: any audio or video file to 16 kHz mono FLAC in the corpus, stored under the hash of its samples."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from pydantic import Field

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import ItemError, PartContext, PartStage, StageParams
from stages.acquire.media import open_media
from stages.audio import SAMPLE_RATE, audio_path
from stages.ffmpeg import Media
from stages.sound import Meter


class Decode(PartStage):
    """Decode a file of any format; count its real samples; measure loudness, bandwidth and clipping.

    A file that breaks in the middle is kept up to there, and `decode_note` says so. Rows are dropped as `not_found`, `not_a_file`, `unreadable`,
    `empty_file`, `not_audio`, `no_audio_stream`, `no_decoder`, `damaged`, `too_short` or `too_long`.
    """

    name, version = "decode", "1"
    reads = ("media_uri",)
    packages = ("av", "soxr", "soundfile", "numpy")
    error_limit = 1.0  # what is found on the web may all be broken
    adds = pa.schema(
        [
            ("audio_path", pa.string()),  # relative to the corpus root
            ("codec", pa.string()),  # FFmpeg's name
            ("source_rate", pa.int32()),  # Hz, of the first frame
            ("source_channels", pa.int32()),
            ("declared_duration", pa.float64()),  # seconds by the header; null if it says nothing
            ("bandwidth_hz", pa.float32()),  # see stages.sound
            ("loudness_lufs", pa.float32()),
            ("clipping", pa.float32()),  # share of the source's samples that stand at full scale
            ("decode_note", pa.string()),  # what was lost of a damaged file; null if nothing was
        ]
    )

    class Params(StageParams):
        """Which recordings are taken."""

        min_seconds: float = Field(0.1, ge=0, description="seconds of audio a file must hold")
        max_hours: float = Field(12.0, gt=0, description="hours of audio a file may hold; also the end of a decoder that would never end")

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Decode the file of one row into the store."""
        recording = Recording()
        with (
            open_media(context.store, row["media_uri"]) as handle,
            closing(Media(handle, row["media_uri"])) as media,
            context.store.staged(lambda: _new_path(context.store, recording)) as temporary,
        ):
            try:
                recording.write(
                    media, temporary, max_samples=round(self.params.max_hours * 3600 * SAMPLE_RATE), max_hours=self.params.max_hours
                )
            except soundfile.LibsndfileError as error:
                raise _disk_error(temporary) from error
            if not recording.samples:
                raise ItemError("damaged", f"no sound could be decoded; {media.note or 'it holds none'}")
            if recording.duration < self.params.min_seconds:
                raise ItemError("too_short", f"{recording.duration:.3f} s of audio" + (f"; {media.note}" if media.note else ""))
        return row | {
            "recording_id": recording.digest[:16],
            "start": 0.0,
            "end": recording.duration,
            "duration": recording.duration,
            "audio_path": audio_path(recording.digest),
            "codec": media.codec,
            "source_rate": media.source_rate,
            "source_channels": media.source_channels,
            "declared_duration": media.declared_duration,
            "bandwidth_hz": recording.meter.bandwidth(),
            "loudness_lufs": recording.meter.loudness(),
            "clipping": media.full_scale / media.values,
            "decode_note": media.note,
        }


def _new_path(store: Store, recording: Recording) -> str | None:
    """Where the finished file belongs; None if the same audio is there already."""
    path = audio_path(recording.digest)
    return None if store.exists(path) else path


class Recording:
    """One recording on its way into the store."""

    def __init__(self) -> None:
        self.samples = 0
        self.meter = Meter()
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Of the 16-bit little-endian samples."""
        return self._hash.hexdigest()

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples / SAMPLE_RATE

    def write(self, media: Media, path: Path, max_samples: int, max_hours: float) -> None:
        """Decode all of `media` into a FLAC file. Not dithered: the same file gives the same samples."""
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as flac:
            for block in media.blocks():
                pcm = np.clip(np.rint(block * 32768), -32768, 32767).astype("<i2")
                self.samples += len(pcm)
                if self.samples > max_samples:
                    raise ItemError("too_long", f"more than {max_hours:g} hours of audio")
                self._hash.update(pcm.data)
                flac.write(pcm)
                self.meter.add(block)


def _disk_error(path: Path) -> OSError:
    """What libsndfile calls a "System error" and no more: a full disk, or one that fails."""
    disk = os.statvfs(path.parent)
    code = errno.ENOSPC if disk.f_bavail * disk.f_frsize < 2**20 else errno.EIO
    return OSError(code, os.strerror(code), str(path))
