"""ROVER: labels vote word by word.

Fiscus 1997, "A post-processing system to yield reduced word error rates: Recognizer Output Voting Error Reduction": the labels are aligned
one after another into a network of slots; in each slot the word (or the gap) with the highest share of votes and confidence wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.pairing import pair
from stages.words import written_words


@dataclass(frozen=True)
class Label:
    """What one labeller wrote. `scores`: the probability of each of the `written_words`; None where it is not known."""

    text: str
    scores: Sequence[float | None]


@dataclass(frozen=True)
class _Word:
    """One word as it is written, with the space before it, and what is said for it: none, one or several spoken words."""

    written: str
    spoken: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class _Arc:
    """One spoken word of a label in a slot; `first` if its written word begins with it."""

    spoken: str
    word: _Word
    first: bool


_Slot = dict[int, _Arc]  # by label; a label that is not in it has a gap there


def rover(labels: Sequence[Label], spoken: Callable[[str], Sequence[str]], alpha: float, null_confidence: float) -> str:
    """The text that the labels vote for.

    Words are compared by what is said for them (`spoken`), and written as the label does that is surest of them. A word scores
    `alpha` * its share of the votes + (1 - `alpha`) * the mean confidence of those who wrote it; `null_confidence` is that of a gap. Of
    equals, the one of the earlier label wins.

    >>> labels = [Label(text, [0.9] * len(text.split())) for text in ("The cat sat", "the cat sad down", "The bat sat down.")]
    >>> rover(labels, lambda word: [word.lower().strip(".")], 0.8, 0.5)
    'The cat sat down'
    """
    words = [_words(label, spoken) for label in labels]
    network: list[_Slot] = []
    for index, label in enumerate(words):
        network = _aligned(network, [_Arc(part, word, at == 0) for word in label for at, part in enumerate(word.spoken)], index)
    winners = [(slot, winner) for slot in network if (winner := _winner(slot, len(labels), alpha, null_confidence)) is not None]
    return _written(winners).strip()


def _words(label: Label, spoken: Callable[[str], Sequence[str]]) -> list[_Word]:
    """The words of a label; one that nothing is said for (a dash) is part of the word before it."""
    words: list[_Word] = []
    at = 0
    for written, score in zip(written_words(label.text), label.scores, strict=True):
        end = label.text.index(written, at) + len(written)
        text, parts = label.text[at:end], tuple(spoken(written))
        at = end
        if parts or not words:
            words.append(_Word(text, parts, _probability(score)))
        else:
            words[-1] = _Word(words[-1].written + text, words[-1].spoken, words[-1].score)
    return words


def _probability(score: float | None) -> float:
    """Of what is not known, neither high nor low."""
    return min(1.0, max(0.0, score)) if score is not None and math.isfinite(score) else 0.5


def _aligned(network: list[_Slot], arcs: Sequence[_Arc], label: int) -> list[_Slot]:
    """The network with one more label in it."""
    said = [{arc.spoken for arc in slot.values()} for slot in network]
    free = [len(slot) < label for slot in network]  # where there is a gap already
    return [
        (network[slot] if slot is not None else {}) | ({label: arcs[arc]} if arc is not None else {})
        for slot, arc in pair(said, [arc.spoken for arc in arcs], free)
    ]


def _winner(slot: _Slot, count: int, alpha: float, null_confidence: float) -> str | None:
    """The spoken word that wins a slot, or None for a gap."""
    confidences: dict[str | None, list[float]] = {}
    for label in range(count):
        arc = slot.get(label)
        confidences.setdefault(arc.spoken if arc else None, []).append(arc.word.score if arc else null_confidence)
    return max(confidences, key=lambda said: alpha * len(confidences[said]) / count + (1 - alpha) * _mean(confidences[said]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _written(winners: Sequence[tuple[_Slot, str]]) -> str:
    """The winners as the labels wrote them: a written word that stands for several spoken ones only if all of them won."""
    text = ""
    at = 0
    while at < len(winners):
        slot, said = winners[at]
        fitting = [
            (arc.word.score, -label, arc.word)
            for label, arc in slot.items()
            if arc.spoken == said and arc.first and _won(winners[at : at + len(arc.word.spoken)], label, arc.word)
        ]
        if fitting:
            word = max(fitting, key=lambda entry: entry[:2])[2]
            text = _joined(text, word.written)
            at += len(word.spoken)
        else:
            text = _joined(text, said)
            at += 1
    return text


def _joined(text: str, word: str) -> str:
    """With a space between where the two would else be one word."""
    last = written_words(text)[-1:]
    apart = not last or word[:1].isspace() or written_words(last[0] + word)[:1] == last
    return text + word if apart else f"{text} {word}"


def _won(winners: Sequence[tuple[_Slot, str]], label: int, word: _Word) -> bool:
    return [said for _, said in winners] == list(word.spoken) and all(label in slot and slot[label].word is word for slot, _ in winners)
