"""Finds frames in a FLAC file by their numbers, and writes the headers of frames (RFC 9639, section 9).

A frame begins with four bytes that are the same for every frame of a file but a short last one; its number follows, coded as UTF-8 does it, and a CRC-8
over all of this. Any four bytes may turn up inside a frame as well: the number and the CRC-8 tell the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import numpy as np

from stages.audio import SAMPLE_RATE
from stages.pack.crc import crc8

SYNC, VARIABLE = b"\xff\xf8", b"\xff\xf9"
"""What a frame begins with: in a file whose frames are all of one size, but the last; and in others, whose frames are numbered by samples."""

_WINDOW = 1 << 15  # bytes that are looked through at once
_SIZES = {192: 1, **{576 << n: 2 + n for n in range(4)}, **{256 << n: 8 + n for n in range(8)}}
"""Samples of a frame to the code for them; others are written out."""


class Frame(NamedTuple):
    """One frame as it is in the file."""

    header: bytes
    data: memoryview  # with the header


@dataclass(frozen=True)
class Stream:
    """What the head of a file says: 16 kHz, mono, 16 bits, frames of `block` samples."""

    first: int  # byte at which the frames begin
    size: int
    block: int
    samples: int
    prefix: bytes  # the four bytes that every frame but a short last one begins with

    @property
    def frames(self) -> int:
        """How many."""
        return -(-self.samples // self.block)

    def headers(self, numbers: range) -> list[bytes]:
        """Of these frames, as far as there are so many."""
        found = [_known(self.prefix, number) for number in numbers[: max(0, self.frames - numbers.start)]]
        if numbers.stop >= self.frames and (short := self.samples % self.block):
            found[-1] = short_header(self.prefix, self.frames - 1, short)
        return found

    @property
    def mean(self) -> int:
        """Bytes of a frame."""
        return (self.size - self.first) * self.block // self.samples


def header(prefix: bytes, number: int) -> bytes:
    r"""Of a frame that begins with `prefix`.

    >>> header(b"\xff\xf8\x58\x08", 5)
    b'\xff\xf8X\x08\x05L'
    """
    return _checked(prefix + coded(number))


def short_header(prefix: bytes, number: int, samples: int) -> bytes:
    """Of a frame that is shorter than the others in its file."""
    code = _SIZES.get(samples) or (6 if samples <= 256 else 7)
    extra = (samples - 1).to_bytes(code - 5, "big") if code in {6, 7} else b""
    return _checked(prefix[:2] + bytes([code << 4 | prefix[2] & 15]) + prefix[3:] + coded(number) + extra)


def coded(number: int) -> bytes:
    r"""A number as UTF-8 would write it, up to 36 bits.

    >>> coded(5), coded(300)
    (b'\x05', b'\xc4\xac')
    """
    if number < 0x110000:
        return chr(number).encode("utf-8", "surrogatepass")
    length = next(n for n in range(4, 8) if number < 1 << 5 * n + 1)
    tail = [0x80 | number >> 6 * n & 0x3F for n in reversed(range(length - 1))]
    return bytes([(0xFF00 >> length) & 0xFF | number >> 6 * (length - 1), *tail])


def _checked(plain: bytes) -> bytes:
    return plain + bytes([crc8(plain)])


_known = lru_cache(1 << 16)(header)
"""All files of a corpus begin their frames with the same bytes."""


def read_stream(handle: BinaryIO) -> Stream | None:
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
    known = prefix[:2] == SYNC and len(prefix) == 4 and prefix[2] >> 4 == _SIZES.get(most) and prefix[2] & 15 < 12
    return Stream(at, size, most, samples, prefix) if known and data.startswith(_known(prefix, 0), at) else None


def find(handle: BinaryIO, stream: Stream, first: int, last: int) -> list[Frame] | None:
    """Frames `first` to `last`; None if they are not where they should be."""
    at = _place(handle, stream, first)
    if at is None:
        return None
    wanted = stream.headers(range(first, last + 2))
    to_the_end = last == stream.frames - 1
    handle.seek(at)
    data = b""
    while more := handle.read(stream.size - at if to_the_end else (last - first + 2) * stream.mean + _WINDOW):
        data += more  # once is enough, unless it is louder than the mean
        begins = _begins(data, wanted)
        if len(begins) == len(wanted):
            view = memoryview(data)
            ends = [*begins[1:], len(data)] if to_the_end else begins[1:]
            return [Frame(header, view[begin:end]) for header, begin, end in zip(wanted, begins, ends, strict=False)]
    return None


def _begins(data: bytes, wanted: list[bytes]) -> list[int]:
    """Where these headers are, as far as they are there."""
    found: list[int] = []
    values = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(values[:-1] == wanted[0][0])
    for place in places[values[places + 1] == wanted[0][1]].tolist():
        if data.startswith(wanted[len(found)], place):
            found.append(place)
            if len(found) == len(wanted):
                break
    return found


def _place(handle: BinaryIO, stream: Stream, number: int) -> int | None:
    """The byte at which a frame begins: by what lies between two known ones, in ever narrower steps."""
    (wanted,) = stream.headers(range(number, number + 1))
    low, high = (0, stream.first), (stream.frames, stream.size)
    for _ in range(32):
        if number == low[0]:
            return low[1]
        guess = low[1] + (number - low[0]) * (high[1] - low[1]) // (high[0] - low[0])
        begin = max(low[1], min(guess - _WINDOW // 2, high[1] - _WINDOW))
        handle.seek(begin)
        data = handle.read(_WINDOW)
        if (at := data.find(wanted)) >= 0:
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


def _any(data: bytes, stream: Stream, low: int, high: int) -> tuple[int, int] | None:
    """Number and place of some frame that begins in the data."""
    at = -1
    while (at := data.find(stream.prefix, at + 1)) >= 0:
        number = _number(data[at + 4 : at + 11])
        if number is not None and low <= number < high and data.startswith(_known(stream.prefix, number), at):
            return number, at
    return None


def _number(coded: bytes) -> int | None:
    """The number that some bytes begin with; None if they begin with none."""
    ones = 8 - (~coded[0] & 0xFF).bit_length() if coded else 8
    if ones == 0:
        return coded[0]
    if not 2 <= ones <= 7 or len(coded) < ones:
        return None
    value = coded[0] & (0x7F >> ones)
    for byte in coded[1:ones]:
        value = value << 6 | byte & 0x3F
    return value
