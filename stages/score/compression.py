"""How much shorter a text gets when it is deflated: what goes round in circles shrinks.

The measure of Whisper (Radford et al. 2022, section 4.5), of the segment's own text. Its threshold, 2.4, is for asking the decoder once more:
as a reason to drop it is too low (the first sentence of "A Tale of Two Cities" reads 2.5, instructions of 20 s up to 4). Where Whisper deflates UTF-8, here each
character counts one byte, whatever its script: three bytes a letter made Thai or Hindi speech look twice as repetitive as English.
"""

from __future__ import annotations

import zlib


def compression_ratio(text: str) -> float | None:
    """Characters over deflated bytes; below 1 for a short text, None for an empty one.

    >>> compression_ratio("no, " * 50) > 2.4 > compression_ratio("He read the letter twice before he put it away.")
    True
    """
    if not text:
        return None
    alphabet = {character: number for number, character in enumerate(dict.fromkeys(text))}
    if len(alphabet) > 256:
        data = b"".join(alphabet[character].to_bytes(2, "big") for character in text)
        return len(data) / len(zlib.compress(data))
    return len(text) / len(zlib.compress(bytes(alphabet[character] for character in text)))
