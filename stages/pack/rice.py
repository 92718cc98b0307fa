"""Encodes some samples as one frame of FLAC, in numpy: of so few, an encoder of libFLAC takes longer to make than to use.

Each sample is foretold on a straight line through the two before it, and the error is written in a Rice code with one parameter for all (RFC 9639, sections 9.2.5
and 9.2.7): of speech some 8 % more bytes than libFLAC writes. Samples that this does not make shorter, such as loud noise, are written as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.pack.crc import long_crc16

_VERBATIM, _LINE = 0b000001, 0b001010  # kinds of subframes
_BEFORE = 50  # bits before the codes: kind, two samples, how the codes are written, their parameter
_MOST = 14  # the largest parameter that has no other meaning

Pcm = npt.NDArray[np.int16]


def encode(samples: Pcm, header: bytes) -> bytes:
    """The frame of these samples, 16 bits each, that begins with this header."""
    frame = header + _subframe(samples)
    return frame + long_crc16(frame).to_bytes(2, "big")


def _subframe(samples: Pcm) -> bytes:
    wide = samples.astype(np.int32)
    error = wide[2:] - 2 * wide[1:-1] + wide[:-2]
    folded = error << 1 ^ error >> 31  # 0, -1, 1, -2 ... to 0, 1, 2, 3 ...
    parameter = min(_MOST, max(0, (int(folded.sum()) // max(1, len(folded))).bit_length() - 1))
    lengths = (folded >> parameter) + (parameter + 1)
    bits = _BEFORE + int(lengths.sum())
    if bits >= 16 * len(samples):
        return bytes([_VERBATIM << 1]) + samples.astype(">i2").tobytes()
    # A code is zeros, a one, and the low bits of the value; from the one on it lies in three bytes, the last of which its last bit is in.
    last = np.cumsum(lengths) + (_BEFORE - 1)
    codes = (1 << parameter | folded & (1 << parameter) - 1) << (7 - (last & 7))
    place, size = last >> 3, (bits + 7) // 8
    packed = sum(np.bincount(place - n, codes >> 8 * n & 255, size) for n in range(3))  # no two codes have a bit in common
    first, second = (int(sample) & 0xFFFF for sample in samples[:2])
    before = (_LINE << 43 | first << 26 | second << 10 | parameter) << 56 - _BEFORE
    found = np.asarray(packed).astype(np.uint8)
    found[:7] |= np.frombuffer(before.to_bytes(7, "big"), np.uint8)
    return found.tobytes()
