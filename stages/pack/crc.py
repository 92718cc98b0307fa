"""The two checksums of FLAC (RFC 9639, sections 9.1.8 and 9.3), both of which begin with 0: the CRC-8 of a frame's header, the CRC-16 of the whole frame.

A CRC is linear: that of a message is the sum, without carry, of what each of its bits adds to it. A bit adds x to the power of its distance from the end,
modulo the polynomial; for the CRC-16, x has the order 32767, so a table of that length knows the share of a bit at any distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x8005
_ORDER = 32767


def _table(polynomial: int, bits: int) -> list[int]:
    table = []
    for value in range(256):
        crc = value << (bits - 8)
        for _ in range(8):
            crc = (crc << 1) ^ (polynomial if crc >> (bits - 1) else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


def _powers() -> npt.NDArray[np.uint16]:
    """X to the power of n modulo the polynomial of the CRC-16, for every n that makes a difference."""
    found, value = [], 1
    for _ in range(_ORDER):
        found.append(value)
        value = ((value << 1) ^ (_POLYNOMIAL if value & 0x8000 else 0)) & 0xFFFF
    return np.array(found, np.uint16)


_CRC8, _CRC16 = _table(0x07, 8), _table(_POLYNOMIAL, 16)
_POWERS = _powers()
_BITS = np.arange(16)


def crc8(data: bytes) -> int:
    """Of a header."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def crc16(data: bytes) -> int:
    """Of some bytes, one after the other: quick for a few."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def long_crc16(data: bytes) -> int:
    """The same, all bits at once: quick for a few thousand bytes."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    powers = np.resize(_POWERS, len(bits) + 16)[:15:-1]
    return int(np.bitwise_xor.reduce(powers * bits))


def moved(crcs: npt.NDArray[np.int64], distances: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What messages with these CRC-16 add to that of longer ones, in which so many bytes follow them."""
    bits = np.where(crcs[:, None] >> _BITS & 1, _POWERS[(8 * distances[:, None] + _BITS) % _ORDER], 0)
    found: npt.NDArray[np.int64] = np.bitwise_xor.reduce(bits, axis=1)
    return found
