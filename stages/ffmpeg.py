"""Any container, any codec, any layout to 16 kHz mono, as a stream in bounded memory. Headers are believed in nothing that can be counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
import soxr

from pipeline.contract import ItemError
from stages.audio import SAMPLE_RATE, Samples

FORMATS = (
    "aa,aac,ac3,ac4,act,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,ea,flac,flv,gsm,iff,ircam,ivf,lc3,loas,"
    "matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,paf,pvf,qoa,rm,rso,shn,smjpeg,sox,spdif,svx,swf,tak,truehd,"
    "tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)
"""FFmpeg's demuxers that may be used: none that opens further files or addresses named inside the file (hls, concat, dash, sdp), none that
takes text or pictures for a medium."""
HEADERLESS = {".g722": "g722", ".gsm": "gsm", ".alaw": "alaw", ".al": "alaw", ".ulaw": "mulaw", ".ul": "mulaw"}
"""Formats that cannot be recognised by their content: the name decides."""
SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"fLaC", b"OggS", b"\x1aE\xdf\xa3",
              b"#!AMR", b".snd", b"caff", b"wvpk", b"MAC ", b"0&\xb2u", b"FLV\x01")  # fmt: skip
"""First bytes of audio files: one of these that cannot be opened is `damaged`, anything else is `not_audio`."""
ARCHIVES = (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")
"""FFmpeg would look for sound inside them, and find it where a file is stored as it is."""
RATES = (1_000, 1_000_000)
"""Hertz. Outside it a header lies: speech needs more, no recorder makes more."""
GAP = 0.05
"""Seconds. Where the time stamps jump by more, audio is missing: parsers leave out what fails a checksum and say nothing."""
MAX_FAILURES = 1_000
"""Packets in a row that may fail to decode before the rest of the file is given up."""
_VALUES = 1 << 19  # of all channels, gathered before they are mixed and resampled: 2 MB
_ROOT_HALF = 0.5**0.5


class Media:
    """The best audio stream of one file.

    After `blocks` has ended, `note` says what was lost on the way, None if nothing was.

    Raises:
        ItemError: `empty_file`, `not_audio` (no medium), `no_audio_stream` (a medium without audio), `no_decoder`, or
            `damaged` (a medium whose header cannot be read).
    """

    def __init__(self, handle: BinaryIO, name: str) -> None:
        start = handle.read(16)
        handle.seek(0)
        if not start:
            raise ItemError("empty_file", "the file has no bytes")
        if start.startswith(ARCHIVES):
            raise ItemError("not_audio", "the file is an archive; unpack it")
        suffix = name[name.rfind(".") :].lower()
        options = {"format_whitelist": f"{FORMATS},{HEADERLESS.get(suffix, '')}"}
        try:
            self._container = av.open(
                _Nameless(handle),
                "r",
                format=HEADERLESS.get(suffix),
                container_options=options,
                metadata_errors="replace",
                buffer_size=1 << 17,
            )
        except av.error.FFmpegError as error:
            reason = "damaged" if start.startswith(SIGNATURES) or start[4:8] == b"ftyp" else "not_audio"
            raise ItemError(reason, f"the header cannot be read: {_explain(error)}") from error
        best = self._container.streams.best("audio")
        if best is None:
            kinds = sorted({stream.type for stream in self._container.streams})
            self.close()
            if "audio" in kinds:
                raise ItemError("damaged", "the header of the audio gives no channels or no rate")
            raise ItemError("no_audio_stream", f"there is no audio in it, only {', '.join(kinds) or 'nothing'}")
        if best.codec_context is None:
            self.close()
            raise ItemError("no_decoder", "the codec of the audio is not known")
        self._stream = best
        self.codec: str = best.codec_context.codec.canonical_name
        self._tick = float(best.time_base or 0)
        self.declared_duration = self._declared_duration()
        self.source_rate = 0
        self.source_channels = 0
        self.full_scale = 0  # values, over all channels, that stand at the end of the scale
        self.values = 0
        self._seconds = 0.0  # decoded so far
        self._until: float | None = None  # the time stamp at which the next frame should start
        self._missing = 0.0
        self._missing_at = 0.0
        self._failed = 0
        self._trouble = ""  # the first
        self._stopped = False

    def close(self) -> None:
        """Free FFmpeg's side; the handle stays the caller's."""
        self._container.close()

    def _declared_duration(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            seconds = float(self._stream.duration * self._stream.time_base)
        elif self._container.duration is not None:
            seconds = self._container.duration / av.time_base
        else:
            return None
        return seconds if seconds > 0 else None

    @property
    def note(self) -> str | None:
        """What was lost, for people: damaged packets, an end before the declared one."""
        notes = []
        if self._stopped:
            notes.append(f"stopped after {self._seconds:.1f} s: {self._trouble}")
        elif self._failed:
            notes.append(f"skipped {self._failed} damaged packets, the first {self._trouble}")
        if self._missing:
            notes.append(f"{self._missing:.2f} s are missing, the first of them after {self._missing_at:.1f} s")
        if self.declared_duration is not None and self._seconds < 0.9 * self.declared_duration - 0.5:
            notes.append(f"{self._seconds:.1f} s of the {self.declared_duration:.1f} s that the header declares")
        return "; ".join(notes) or None

    def blocks(self) -> Iterator[Samples]:
        """The audio, 16 kHz mono, shape (n,), a second or so at a time. Values may pass 1 where the source is clipped.

        Raises:
            ItemError: `damaged`: the header claims a rate that no audio has.
        """
        kind: tuple[int, str, str] | None = None
        track: _Track | None = None
        for frame in self._frames():
            this = (frame.sample_rate, frame.layout.name, frame.format.name)
            if this != kind or track is None:  # also in the middle of a file: streams that were joined, broadcasts that change to stereo
                if track is not None:
                    yield track.end(self)
                track, kind = _Track(frame), this
                self.source_rate = self.source_rate or track.rate
                self.source_channels = self.source_channels or track.channels
            self._watch(frame, track.rate)
            self._seconds += frame.samples / track.rate
            if track.take(frame):
                yield track.give(self)
        if track is not None:
            yield track.end(self)

    def _watch(self, frame: av.AudioFrame, rate: int) -> None:
        """Add up what the time stamps leave out."""
        if frame.pts is None:
            return
        start = frame.pts * self._tick
        if self._until is not None and start - self._until > GAP:
            self._missing_at = self._missing_at or self._seconds
            self._missing += start - self._until
        self._until = start + frame.samples / rate

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError:  # PyAV 18.1, after the last packet: it looks for streams that a damaged file opened in its middle
            return

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Every frame that decodes. A damaged packet is left out; a damaged container ends it."""
        failures = 0
        try:
            for packet in self._packets():
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as error:
                    self._failed, failures = self._failed + 1, failures + 1
                    self._trouble = self._trouble or f"after {self._seconds:.1f} s: {_explain(error)}"
                    if failures == MAX_FAILURES:
                        self._stopped = True
                        return
                    continue
                for frame in frames:
                    if frame.samples and frame.layout.nb_channels:
                        failures = 0
                        yield frame
        except av.error.FFmpegError as error:
            self._stopped, self._trouble = True, _explain(error)


class _Track:
    """Frames of one kind: gathered, because Python costs as much for 26 ms as for a second, then mixed and resampled."""

    def __init__(self, first: av.AudioFrame) -> None:
        self.rate, self.channels = first.sample_rate, first.layout.nb_channels
        if not RATES[0] <= self.rate <= RATES[1]:
            raise ItemError("damaged", f"the header claims {self.rate} samples a second")
        self._weights = mix_weights([channel.name for channel in first.layout.channels])
        self._planar = first.format.is_planar
        self._fifo = av.AudioFifo()
        self._enough = _VALUES // self.channels
        self._resampler = (
            None if self.rate == SAMPLE_RATE else soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        )

    def take(self, frame: av.AudioFrame) -> bool:
        """Add a frame; True if there is enough to give."""
        frame.pts = None  # what is missing between two frames is not made up
        self._fifo.write(frame)
        return bool(self._fifo.samples >= self._enough)

    def give(self, media: Media) -> Samples:
        """What was gathered, 16 kHz mono, shape (n,)."""
        gathered = self._fifo.read()
        if gathered is None:
            return np.zeros(0, np.float32)
        mono = self._mix(_values(gathered, self.channels), media)
        if self._resampler is None:
            return mono
        resampled: Samples = self._resampler.resample_chunk(mono)
        return resampled

    def end(self, media: Media) -> Samples:
        """The same, with what is left in the resampler."""
        last = self.give(media)
        return last if self._resampler is None else np.concatenate([last, self._resampler.resample_chunk(last[:0], last=True)])

    def _mix(self, values: npt.NDArray[np.generic], media: Media) -> Samples:
        """To mono, shape (n,); counts full scale on the way, where it still can be seen."""
        scaled, full = to_float(values)
        top, bottom = scaled.max(), scaled.min()
        if not (top < 4 and bottom > -4):  # float files may hold anything: what is not finite would poison the resampler for good
            scaled = np.clip(np.nan_to_num(scaled, nan=0.0), -4, 4)
            top, bottom = scaled.max(), scaled.min()
        media.values += scaled.size
        if top >= full or bottom <= -full:
            media.full_scale += int(np.count_nonzero(np.abs(scaled) >= full))
        if self.channels == 1:
            return scaled.reshape(-1)
        mono: Samples = self._weights @ scaled if self._planar else scaled.reshape(-1, self.channels) @ self._weights
        return mono


class _Nameless:
    """A file without a name: FFmpeg would guess the format from it, and a name is not to be trusted."""

    def __init__(self, handle: BinaryIO) -> None:
        self.read, self.seek, self.tell = handle.read, handle.seek, handle.tell


def mix_weights(channels: list[str]) -> Samples:
    """Share of each channel in the mono mix, summing to 1, so that nothing can clip that did not before.

    The centre, where the voices are, counts 1, the fronts 0.707, surrounds 0.5, the low-frequency effects nothing (after ITU-R BS.775-4,
    annex 4). Channels without a position, as in WAV files of field recorders, count the same.

    >>> mix_weights(["FL", "FR"])
    array([0.5, 0.5], dtype=float32)
    """
    gains: Samples = np.array([_gain(name) for name in channels], np.float32)
    if not gains.any():
        gains[:] = 1
    gains /= gains.sum()
    return gains


def _gain(channel: str) -> float:
    if channel.startswith("LFE"):
        return 0.0
    if channel in {"FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR"}:
        return _ROOT_HALF
    return 0.5 if channel[:1] in {"S", "B", "T"} else 1.0


def _values(frame: av.AudioFrame, channels: int) -> npt.NDArray[np.generic]:
    """The samples of a frame, (channels, n) if planar, (1, channels * n) if not.

    Not `AudioFrame.to_ndarray`: in PyAV 18.1 it takes pointers that follow the last plane of 8 planar channels for a ninth (7.1 AAC ends in a
    segmentation fault), and knows no 64-bit integers.
    """
    dtype = _DTYPES[frame.format.name.removesuffix("p")]
    if not frame.format.is_planar:
        return np.frombuffer(frame.planes[0], dtype, frame.samples * channels)[None]
    return np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes[:channels]])


_DTYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}


def to_float(values: npt.NDArray[np.generic]) -> tuple[Samples, float]:
    """PCM of any type as float32 in -1..1, and the value from which on it stands at full scale."""
    with np.errstate(over="ignore", invalid="ignore"):  # a double may be larger than any float: infinite, and clipped after this
        scaled: Samples = values.astype(np.float32, copy=False)
    if values.dtype == np.uint8:
        return (scaled - np.float32(128)) * np.float32(1 / 128), 127 / 128
    if values.dtype.kind == "i":
        scaled *= np.float32(1 / (1 << (8 * values.dtype.itemsize - 1)))
    return scaled, 32766 / 32768


def _explain(error: av.error.FFmpegError) -> str:
    return str(error.strerror or type(error).__name__)
