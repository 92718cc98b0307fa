"""Cuts a span out of a FLAC file without encoding it again: whole frames are copied, only the two at its ends are encoded anew.

A frame's header carries its number and a CRC-8, its end a CRC-16 over all of it (RFC 9639, section 9). A copied frame gets another number, so both
change; the CRC-16 is that of the old frame, moved by what the header changed, which costs the same for a frame of any length: a CRC is linear, and x has
the order 32767 modulo its polynomial. The result has the samples of the source, exactly; MD5 in its head is left open, as the format allows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import av
import av.error
import numpy as np
import numpy.typing as npt
import soundfile

from stages.audio import SAMPLE_RATE
from stages.pack.frames import SYNC, VARIABLE, crc_table, find, header, read_stream, short_header

_LEAST = 16
"""Samples that a frame may not have less of, unless it is the last."""
_ORDER = 32767
_POLYNOMIAL = 0x8005
_CRC16 = crc_table(_POLYNOMIAL, 16)

_FORMAT = b"\x05\x08"
"""How libFLAC says 16 kHz, mono, 16 bits in the header of a frame."""

Pcm = npt.NDArray[np.int16]


def _powers() -> npt.NDArray[np.uint16]:
    """X to the power of n modulo the polynomial of the CRC-16, for every n that makes a difference."""
    found, value = [], 1
    for _ in range(_ORDER):
        found.append(value)
        value = ((value << 1) ^ (_POLYNOMIAL if value & 0x8000 else 0)) & 0xFFFF
    return np.array(found, np.uint16)


_POWERS = _powers()


class _Frame(NamedTuple):
    data: bytes | memoryview
    header: bytes  # that it begins with


def cut(handle: BinaryIO, start: int, end: int) -> bytes | None:
    """Samples `start` to `end` of an open FLAC file, as a FLAC file. None if it must be decoded and encoded: it is of another kind, or damaged."""
    stream = read_stream(handle)
    if stream is None or not 0 <= start < end <= stream.samples:
        return None
    block, first = stream.block, start // stream.block
    begin, left = -start % block, end % block  # samples of the frames at the ends that are encoded anew
    whole = range(-(-start // block), end // block)  # numbers of those that are copied
    if 0 < begin < _LEAST or not whole:
        return None  # too little before the first whole frame, or no whole frame
    found = find(handle, stream, first, (end - 1) // block)
    if found is None:
        return None
    frames = [_Frame(data, stream.header(number)) for number, data in enumerate(found, first)]
    prefix = (VARIABLE if begin else SYNC) + stream.prefix[2:]
    headers = [header(prefix, begin + block * n if begin else n) for n in range(len(whole))]
    decoder = _decoder(block)
    try:
        if begin:
            frames[0] = _encoded(_decoded(decoder, frames[0])[-begin:])
            headers.insert(0, short_header(prefix, 0, begin))
        if left:
            frames[-1] = _encoded(_decoded(decoder, frames[-1])[:left])
            headers.append(short_header(prefix, begin + block * len(whole) if begin else len(whole), left))
    except av.error.InvalidDataError:
        return None
    return b"".join([_head(begin or block, block, end - start), *_with_headers(frames, headers)])


def _with_headers(frames: list[_Frame], headers: list[bytes]) -> Iterator[bytes | memoryview]:
    """The frames with other headers, and right checksums."""
    changes = np.array([_known_crc16(frame.header) ^ _crc16(new) for frame, new in zip(frames, headers, strict=True)])
    shifts = 8 * np.array([len(frame.data) - len(frame.header) - 2 for frame in frames])
    bits = np.arange(16)
    moved = np.where(changes[:, None] >> bits & 1, _POWERS[(shifts[:, None] + bits) % _ORDER], 0)
    for (data, old), new, change in zip(frames, headers, np.bitwise_xor.reduce(moved, axis=1).tolist(), strict=True):
        yield new
        yield data[len(old) : -2]
        yield (int.from_bytes(data[-2:], "big") ^ change).to_bytes(2, "big")


def _decoder(block: int) -> av.AudioCodecContext:
    decoder = av.CodecContext.create("flac", "r")
    decoder.extradata, decoder.options, decoder.thread_count = _head(block, block, 0)[8:], {"err_detect": "crccheck+explode"}, 1
    return decoder


def _decoded(decoder: av.AudioCodecContext, frame: _Frame) -> Pcm:
    """Its samples.

    Raises:
        av.error.InvalidDataError: it is damaged, as its checksum tells.
    """
    (found,) = decoder.decode(av.Packet(frame.data))
    samples: Pcm = found.to_ndarray()[0]
    return samples


def _encoded(samples: Pcm) -> _Frame:
    """One frame of these samples, fewer than libFLAC puts into one."""
    sink = io.BytesIO()
    soundfile.write(sink, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    data, own = sink.getvalue(), short_header(SYNC + _FORMAT, 0, len(samples))
    return _Frame(data[data.index(own) :], own)


def _head(least: int, most: int, samples: int) -> bytes:
    """Magic and STREAMINFO; sizes of frames and MD5 are left open."""
    packed = SAMPLE_RATE << 44 | 15 << 36 | samples
    info = max(least, _LEAST).to_bytes(2, "big") + max(most, _LEAST).to_bytes(2, "big") + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


_known_crc16 = lru_cache(1 << 16)(_crc16)
