"""Character n-grams: a small language model, counted in seconds.

Interpolated Witten-Bell smoothing (Witten and Bell 1991, "The zero-frequency problem", method C; in the notation of Chen and Goodman 1998,
section 2.5): after a context that was followed T different characters in N places,
P(c | context) = (count(c) + T P(c | context less its first character)) / (N + T). Below single characters lies a uniform distribution over
the alphabet and one more, which stands for all that was never seen. A text begins after a space, and only its own characters are predicted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NGrams:
    """N-grams are numbered from 0 within their order; that of a single character is its place in the alphabet (one past its end: any other)."""

    alphabet: npt.NDArray[np.uint32]
    """Code points, sorted."""
    keys: tuple[Ints, ...]
    """From order 2 on: number of the n-gram less its last character, times the size of the alphabet and one, plus that character; sorted."""
    probabilities: tuple[npt.NDArray[np.float32], ...]
    """From order 1 on: of the last character after the others, shape (n-grams of the order,)."""
    backoff: tuple[npt.NDArray[np.float32], ...]
    """From order 2 on: T / (N + T) of each context, shape (n-grams of the order below,); 1 where nothing follows it."""

    @classmethod
    def fit(cls, texts: Sequence[str], order: int) -> Self:
        """Count the n-grams of up to `order` characters. The same texts in the same order give the same model, bit by bit."""
        points, places, _ = _join(texts)
        alphabet = np.unique(points)
        size = len(alphabet) + 1
        characters = np.searchsorted(alphabet, points)
        counts = np.bincount(characters[places > 0], minlength=size)
        seen = np.count_nonzero(counts)
        probabilities = [((counts + seen / size) / max(1, counts.sum() + seen)).astype(np.float32)]
        keys, backoff, grams = [], [], characters
        for length in range(2, order + 1):
            ends = np.flatnonzero(places >= length - 1)
            found, first, numbers, counts = np.unique(
                grams[ends - 1] * size + characters[ends], return_index=True, return_inverse=True, return_counts=True
            )
            contexts = found // size
            shape = len(probabilities[-1])
            kinds = np.bincount(contexts, minlength=shape)
            totals = np.bincount(contexts, weights=counts, minlength=shape) + kinds
            lower = probabilities[-1][grams[ends[first]]]
            keys.append(found)
            probabilities.append(((counts + kinds[contexts] * lower) / totals[contexts]).astype(np.float32))
            backoff.append(np.where(kinds > 0, kinds / np.maximum(totals, 1), 1.0).astype(np.float32))
            grams = np.full(len(characters), -1, np.int64)
            grams[ends] = numbers
        return cls(alphabet, tuple(keys), tuple(probabilities), tuple(backoff))

    def perplexities(self, texts: Sequence[str]) -> Floats:
        """exp(-mean log P) over the characters of each text, shape (n,); NaN for an empty one.

        >>> model = NGrams.fit(["the cat sat on the mat"] * 9, 4)
        >>> [float(round(value, 1)) for value in model.perplexities(["the mat sat on the cat", "xyzzy"])]
        [1.2, 374.8]
        """
        points, places, owners = _join(texts)
        size = len(self.alphabet) + 1
        characters = np.searchsorted(self.alphabet, points)
        characters[self.alphabet[np.minimum(characters, size - 2)] != points] = size - 1
        likely = self.probabilities[0][characters].astype(np.float64)
        grams = characters
        for length, (keys, probabilities, backoff) in enumerate(zip(self.keys, self.probabilities[1:], self.backoff, strict=True), 2):
            ends = np.flatnonzero(places >= length - 1)
            ends = ends[grams[ends - 1] >= 0]  # after a context that was never seen, the shorter one decides
            contexts = grams[ends - 1]
            wanted = contexts * size + characters[ends]
            numbers = np.searchsorted(keys, wanted)
            known = numbers < len(keys)
            known[known] = keys[numbers[known]] == wanted[known]
            likely[ends] *= backoff[contexts]
            likely[ends[known]] = probabilities[numbers[known]]
            grams = np.full(len(characters), -1, np.int64)
            grams[ends] = np.where(known, numbers, -1)
        predicted = places > 0
        sums = np.bincount(owners[predicted], weights=np.log(likely[predicted]), minlength=len(texts))
        lengths = np.bincount(owners[predicted], minlength=len(texts))
        found: Floats = np.exp(-np.divide(sums, lengths, out=np.full(len(texts), np.nan), where=lengths > 0))
        return found

    def to_bytes(self) -> bytes:
        """The inverse of `from_bytes`."""
        arrays: dict[str, Any] = {"alphabet": self.alphabet}
        for name in ("keys", "probabilities", "backoff"):
            arrays |= {f"{name}{number}": array for number, array in enumerate(getattr(self, name))}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`."""
        with np.load(io.BytesIO(data)) as arrays:
            order = sum(name.startswith("probabilities") for name in arrays.files)
            return cls(
                arrays["alphabet"],
                tuple(arrays[f"keys{n}"] for n in range(order - 1)),
                tuple(arrays[f"probabilities{n}"] for n in range(order)),
                tuple(arrays[f"backoff{n}"] for n in range(order - 1)),
            )


def _join(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Ints, Ints]:
    """All texts, a space before each: code points, place of each in its text (0 for that space), number of its text."""
    points = np.frombuffer("".join(f" {text}" for text in texts).encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    owners = np.repeat(np.arange(len(texts)), lengths)
    places = np.arange(len(points)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return points, places, owners
