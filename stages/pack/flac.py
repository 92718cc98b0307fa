"""Cuts a span out of a FLAC file without encoding it again: whole frames are copied, only the two at its ends are encoded anew.

A frame's header carries its number and a CRC-8, its end a CRC-16 over all of it (RFC 9639, section 9). A copied frame gets another number, so both
change; the CRC-16 is that of the old frame, moved by what the header changed, which costs the same for a frame of any length. The result has the samples of
the source, exactly; MD5 in its head is left open, as the format allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import BinaryIO

import av
import av.error
import numpy as np

from stages.audio import SAMPLE_RATE
from stages.pack.crc import crc16, moved
from stages.pack.frames import SYNC, VARIABLE, Frame, find, header, read_stream, short_header
from stages.pack.rice import Pcm, encode

_LEAST = 16
"""Samples that a frame may not have less of, unless it is the last."""

_known_crc16 = lru_cache(1 << 16)(crc16)
"""Of headers as they are in the store: the same in every file."""


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
    copied = found[whole.start - first : whole.stop - first]
    prefix = (VARIABLE if begin else SYNC) + stream.prefix[2:]
    numbers = [begin + block * n if begin else n for n in range(len(whole) + 1)]
    parts: list[bytes | memoryview] = [_head(begin or block, block, end - start)]
    decoder = _decoder(block)
    try:
        if begin:
            parts.append(encode(_decoded(decoder, found[0].data)[-begin:], short_header(prefix, 0, begin)))
        parts += _with_headers(copied, [header(prefix, number) for number in numbers[:-1]])
        if left:
            parts.append(encode(_decoded(decoder, found[-1].data)[:left], short_header(prefix, numbers[-1], left)))
    except av.error.InvalidDataError:
        return None
    return b"".join(parts)


def _with_headers(frames: Sequence[Frame], headers: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """The frames with other headers, and right checksums."""
    changes = np.array([_known_crc16(frame.header) ^ crc16(new) for frame, new in zip(frames, headers, strict=True)])
    behind = np.array([len(data) - len(old) - 2 for old, data in frames])
    for (old, data), new, change in zip(frames, headers, moved(changes, behind).tolist(), strict=True):
        yield new
        yield data[len(old) : -2]
        yield (int.from_bytes(data[-2:], "big") ^ change).to_bytes(2, "big")


def _decoder(block: int) -> av.AudioCodecContext:
    decoder = av.CodecContext.create("flac", "r")
    decoder.extradata, decoder.options, decoder.thread_count = _head(block, block, 0)[8:], {"err_detect": "crccheck+explode"}, 1
    return decoder


def _decoded(decoder: av.AudioCodecContext, frame: memoryview) -> Pcm:
    """Its samples.

    Raises:
        av.error.InvalidDataError: it is damaged, as its checksum tells.
    """
    (found,) = decoder.decode(av.Packet(frame))
    samples: Pcm = found.to_ndarray()[0]
    return samples


def _head(least: int, most: int, samples: int) -> bytes:
    """Magic and STREAMINFO; sizes of frames and MD5 are left open."""
    packed = SAMPLE_RATE << 44 | 15 << 36 | samples
    info = max(least, _LEAST).to_bytes(2, "big") + max(most, _LEAST).to_bytes(2, "big") + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info
