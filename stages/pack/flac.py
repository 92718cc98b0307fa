"""Cuts a span out of a FLAC file without encoding it again: whole frames are copied, only the two at its ends are encoded anew.

A frame's header carries its number and a CRC-8, its end a CRC-16 over all of it (RFC 9639, section 9). A copied frame gets another number, so both
change; the CRC-16 is that of the old frame, moved by what the header changed, which costs the same for a frame of any length: a CRC is linear, and x has
the order 32767 modulo its polynomial. The result has the samples of the source, exactly; MD5 in its head is left open, as the format allows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from stages.audio import SAMPLE_RATE

_SYNC, _VARIABLE = b"\xff\xf8", b"\xff\xf9"
_LEAST = 16
"""Samples that a frame may not have less of, unless it is the last."""
_WINDOW = 1 << 15  # bytes that are looked through at once
_ORDER = 32767
_POLYNOMIAL = 0x8005

Pcm = npt.NDArray[np.int16]


def _crc_table(polynomial: int, bits: int) -> list[int]:
    table = []
    for value in range(256):
        crc = value << (bits - 8)
        for _ in range(8):
            crc = (crc << 1) ^ (polynomial if crc >> (bits - 1) else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC8, _CRC16 = _crc_table(0x07, 8), _crc_table(_POLYNOMIAL, 16)


def _powers() -> npt.NDArray[np.uint16]:
    """X to the power of n modulo the polynomial of the CRC-16, for every n that makes a difference."""
    found, value = [], 1
    for _ in range(_ORDER):
        found.append(value)
        value = ((value << 1) ^ (_POLYNOMIAL if value & 0x8000 else 0)) & 0xFFFF
    return np.array(found, np.uint16)


_POWERS = _powers()


@dataclass(frozen=True)
class _Stream:
    """What the head of a file says: 16 kHz, mono, 16 bits, frames of `block` samples."""

    first: int  # byte at which the frames begin
    size: int
    block: int
    samples: int
    prefix: bytes  # the four bytes that every frame but the last begins with

    def header(self, number: int) -> bytes:
        """Of frame `number`, but for a short last one."""
        return _checked(self.prefix + _coded(number))


@dataclass(frozen=True)
class _Frame:
    data: bytes
    header: int  # length

    def numbered(self, sync: bytes, number: int) -> bytes:
        """The header with another number."""
        coded = _coded_length(self.data[4])
        return _checked(sync + self.data[2:4] + _coded(number) + self.data[4 + coded : self.header - 1])


def cut(handle: BinaryIO, start: int, end: int) -> bytes | None:
    """Samples `start` to `end` of an open FLAC file, as a FLAC file. None if it is of a kind that must be decoded and encoded."""
    stream = _stream(handle)
    if stream is None or not 0 <= start < end <= stream.samples:
        return None
    block = stream.block
    begin = -start % block
    if 0 < begin < _LEAST or end // block - -(-start // block) < 1:
        return None  # too little before the first whole frame, or no whole frame
    frames = _frames(handle, stream, start // block, (end - 1) // block)
    if frames is None:
        return None
    whole = frames[1 if begin else 0 : end // block - start // block]
    sync = _VARIABLE if begin else _SYNC
    parts = [_encoded(_decoded(frames[0], block)[-begin:])] if begin else []
    parts += whole
    if left := end % block:
        parts.append(_encoded(_decoded(frames[-1], min(block, stream.samples - (end - left)))[:left]))
    numbers = [0, *(begin + block * n for n in range(len(parts) - 1))] if begin else list(range(len(parts)))
    head = _head(min(begin or block, block), block, end - start)
    return b"".join([head, *_renumbered(parts, sync, numbers)])


def _renumbered(frames: list[_Frame], sync: bytes, numbers: list[int]) -> Iterator[bytes]:
    """The frames under other numbers, with right checksums."""
    headers = [frame.numbered(sync, number) for frame, number in zip(frames, numbers, strict=True)]
    changes = np.array([_crc16(frame.data[: frame.header]) ^ _crc16(new) for frame, new in zip(frames, headers, strict=True)], np.uint16)
    shifts = np.array([8 * (len(frame.data) - frame.header - 2) for frame in frames])
    bits = (changes[:, None] >> np.arange(16, dtype=np.uint16)) & 1
    moved = np.bitwise_xor.reduce(np.where(bits, _POWERS[(shifts[:, None] + np.arange(16)) % _ORDER], 0), axis=1)
    for frame, header, change in zip(frames, headers, moved.tolist(), strict=True):
        crc = int.from_bytes(frame.data[-2:], "big") ^ change
        yield header
        yield frame.data[frame.header : -2]
        yield crc.to_bytes(2, "big")


def _stream(handle: BinaryIO) -> _Stream | None:
    """The head of a file; None if it is not of the kind that `stages.decode` writes."""
    size = handle.seek(0, 2)
    handle.seek(0)
    data = handle.read(_WINDOW)
    if len(data) < 42 or data[:4] != b"fLaC" or data[4] & 0x7F:
        return None
    at, last = 4, False
    while not last:
        if at + 4 > len(data):
            return None
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    least, most = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    packed = int.from_bytes(data[18:26], "big")
    rate, channels, bits, samples = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & ((1 << 36) - 1)
    if (rate, channels, bits) != (SAMPLE_RATE, 1, 16) or least != most or samples < most:
        return None
    prefix = data[at : at + 4]
    code = prefix[2] >> 4 if len(prefix) == 4 else 0
    block = 256 << (code - 8) if code >= 8 else 576 << (code - 2) if 2 <= code <= 5 else 0
    stream = _Stream(at, size, most, samples, prefix)
    known = prefix[:2] == _SYNC and block == most and (prefix[2] & 15) < 12 and data[at:].startswith(stream.header(0))
    return stream if known else None


def _frames(handle: BinaryIO, stream: _Stream, first: int, last: int) -> list[_Frame] | None:
    """Frames `first` to `last`."""
    at = _place(handle, stream, first)
    if at is None:
        return None
    mean = (stream.size - stream.first) * stream.block // stream.samples
    handle.seek(at)
    data = handle.read((last - first + 2) * mean + _WINDOW)
    found: list[_Frame] = []
    begin, header = 0, stream.header(first)
    for number in range(first, last + 1):
        if len(data) - begin < 2 * mean + _WINDOW // 2:  # loud: more than the mean
            data += handle.read((last - number + 2) * mean + _WINDOW)
        following = _following(data, begin + len(header), stream, number + 1, handle)
        if following is None:
            return None
        end, next_header = following
        found.append(_Frame(data[begin:end], len(header)))
        begin, header = end, next_header
    return found


def _following(data: bytes, at: int, stream: _Stream, number: int, handle: BinaryIO) -> tuple[int, bytes] | None:
    """Where frame `number` begins, and its header; the end of the file after the last one."""
    frames = -(-stream.samples // stream.block)
    if number == frames:
        rest = handle.read()
        return (len(data), b"") if not rest else None  # more behind it than was read: no loss, it is decoded
    if number == frames - 1 and stream.samples % stream.block:
        while (at := data.find(_SYNC, at)) >= 0:  # its header tells its length
            if header := _last_header(data, at, number):
                return at, header
            at += 1
        return None
    header = stream.header(number)
    found = data.find(header, at)
    return None if found < 0 else (found, header)


def _last_header(data: bytes, at: int, number: int) -> bytes | None:
    """The header of a short last frame, if there is one."""
    coded = _coded(number)
    if data[at + 4 : at + 4 + len(coded)] != coded:
        return None
    extra = {6: 1, 7: 2}.get(data[at + 2] >> 4, 0)
    length = 4 + len(coded) + extra + 1
    header = data[at : at + length]
    return header if len(header) == length and _checked(header[:-1]) == header else None


def _place(handle: BinaryIO, stream: _Stream, number: int) -> int | None:
    """The byte at which a frame begins: by what lies between two known ones, in ever narrower steps."""
    header = stream.header(number)
    frames = -(-stream.samples // stream.block)
    low, high = (0, stream.first), (frames, stream.size)
    for _ in range(32):
        if number == low[0]:
            return low[1]
        guess = low[1] + (number - low[0]) * (high[1] - low[1]) // (high[0] - low[0])
        begin = max(low[1], min(guess - _WINDOW // 2, high[1] - _WINDOW))
        handle.seek(begin)
        data = handle.read(_WINDOW)
        if (at := data.find(header)) >= 0:
            return begin + at
        seen = _any(data, stream, low[0], high[0])
        if seen is None:
            return None
        place = (seen[0], begin + seen[1])
        if place[0] < number:
            if place <= low:
                return None
            low = place
        else:
            high = place
    return None


def _any(data: bytes, stream: _Stream, low: int, high: int) -> tuple[int, int] | None:
    """Number and place of some frame that begins in the data."""
    at = -1
    while (at := data.find(stream.prefix, at + 1)) >= 0:
        length = _coded_length(data[at + 4]) if at + 5 < len(data) else 0
        number = _number(data[at + 4 : at + 4 + length])
        if number is not None and low <= number < high and data.startswith(stream.header(number), at):
            return number, at
    return None


def _decoded(frame: _Frame, samples: int) -> Pcm:
    data = b"".join([_head(samples, samples, samples), *_renumbered([frame], _SYNC, [0])])
    found: Pcm = soundfile.read(io.BytesIO(data), dtype="int16")[0]
    return found


def _encoded(samples: Pcm) -> _Frame:
    """One frame of these samples, fewer than libFLAC puts into one."""
    sink = io.BytesIO()
    soundfile.write(sink, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    data = sink.getvalue()
    at, last = 4, False
    while not last:
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    extra = {6: 1, 7: 2}.get(data[at + 2] >> 4, 0)
    return _Frame(data[at:], 4 + _coded_length(data[at + 4]) + extra + 1)


def _head(least: int, most: int, samples: int) -> bytes:
    """Magic and STREAMINFO; sizes of frames and MD5 are left open."""
    packed = SAMPLE_RATE << 44 | 15 << 36 | samples
    info = max(least, _LEAST).to_bytes(2, "big") + max(most, _LEAST).to_bytes(2, "big") + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info


def _coded(number: int) -> bytes:
    r"""A number as UTF-8 would write it, up to 36 bits.

    >>> _coded(5), _coded(300)
    (b'\x05', b'\xc4\xac')
    """
    if number < 0x80:
        return bytes([number])
    length = next(n for n in range(2, 8) if number < 1 << 5 * n + 1)
    tail = [0x80 | number >> 6 * n & 0x3F for n in reversed(range(length - 1))]
    return bytes([(0xFF00 >> length) & 0xFF | number >> 6 * (length - 1), *tail])


def _coded_length(lead: int) -> int:
    """Bytes of a coded number, by its first one; 0 if it is none."""
    if lead < 0x80:
        return 1
    ones = 8 - (~lead & 0xFF).bit_length()
    return ones if 2 <= ones <= 7 else 0


def _number(coded: bytes) -> int | None:
    length = _coded_length(coded[0]) if coded else 0
    if not length or len(coded) < length:
        return None
    value = coded[0] if length == 1 else coded[0] & (0x7F >> length)
    for byte in coded[1:length]:
        value = value << 6 | byte & 0x3F
    return value


def _checked(header: bytes) -> bytes:
    """With its CRC-8 at the end."""
    crc = 0
    for byte in header:
        crc = _CRC8[crc ^ byte]
    return header + bytes([crc])


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc
