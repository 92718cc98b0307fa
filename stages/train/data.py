"""What a student hears: packed shards read through webdataset, each sample with the text that its round trains on, in batches of like length.

The order is that of a seed and an epoch: the same every time, and another in each epoch. Shards are dealt out to the workers; where there
are fewer shards than workers, samples are.
"""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any, TypeVar

import numpy as np
import soundfile

from manifests.release import AUDIO
from manifests.store import Store
from pipeline.contract import SilverError
from stages.audio import SAMPLE_RATE, Samples
from stages.words import written_words

BUFFER = 512
"""Utterances that are sorted by length together: enough for batches of like length, few enough to stay in a random order (and in memory)."""
PAUSE = 0.3
"""Seconds between utterances that are trained on as one window."""

T = TypeVar("T")


@dataclass(frozen=True)
class Utterance:
    """Samples at 16 kHz, and what is said in them."""

    samples: Samples
    text: str
    language: str | None
    scores: Sequence[float] | None = None
    """Of each of the `written_words` of the text, how probable it is; None where that is not known."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Share:
    """Which share of the data a worker reads."""

    worker: int = 0
    workers: int = 1


Lesson = tuple[str, str | None, Sequence[float] | None]
"""Text, language and scores of an utterance."""
Shard = tuple[str, str]
"""Root of a corpus, and the shard's path in it."""


def utterances(
    shards: Sequence[Shard], texts: Mapping[tuple[str, str], Lesson], seed: int, epoch: int, share: Share
) -> Iterator[Utterance]:
    """The utterances of an epoch. `texts` maps root and key of what is trained on to what is learned of it; samples without one are passed over.

    Raises:
        SilverError: a shard is missing or damaged.
    """
    order = sorted(shards)
    random.Random(f"{seed} {epoch}").shuffle(order)  # noqa: S311 - a reproducible choice
    by_shard = len(order) >= share.workers
    mine = order[share.worker :: share.workers] if by_shard else order
    found = (((root, key), audio) for root, shard in mine for key, audio in _samples(Store(root), shard) if (root, key) in texts)
    for number, (key, audio) in enumerate(found):
        if by_shard or number % share.workers == share.worker:
            samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
            if rate != SAMPLE_RATE:
                raise SilverError(f"sample {key[1]} has {rate} Hz, and {SAMPLE_RATE} are expected")
            yield Utterance(samples, *texts[key])


def _samples(store: Store, shard: str) -> Iterator[tuple[str, bytes]]:
    """Key and audio, as a file in memory, of each sample of a shard."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        with store.open(shard) as handle:
            for sample in group_by_keys(tar_file_expander([{"url": shard, "stream": handle}])):
                (audio,) = (sample[name] for name in AUDIO if name in sample)
                yield sample["__key__"], audio
    except (OSError, ValueError, KeyError) as error:
        raise SilverError(
            f"the shard {store.uri(shard)} cannot be read ({error}); pack it again: run the recipe from its `shards`"
        ) from error


def joined(found: Iterable[Utterance], longest: float) -> Iterator[Utterance]:
    """Utterances of one language that come one after the other, as windows of up to `longest` seconds with pauses between them."""
    held: list[Utterance] = []
    for utterance in found:
        together = sum(item.seconds + PAUSE for item in held) + utterance.seconds
        if held and (together > longest or utterance.language != held[0].language):
            yield _join(held)
            held = []
        held.append(utterance)
    if held:
        yield _join(held)


def _join(held: Sequence[Utterance]) -> Utterance:
    pause = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    pieces = [piece for item in held for piece in (item.samples, pause)][:-1]
    scores = None
    if any(item.scores for item in held):
        scores = [score for item in held for score in item.scores or [1.0] * len(written_words(item.text))]
    return Utterance(np.concatenate(pieces), " ".join(item.text for item in held), held[0].language, scores)


def batches(found: Iterable[Utterance], seconds: float, seed: int, epoch: int) -> Iterator[list[Utterance]]:
    """Batches of like length, padded at most `seconds` long together, in a random order."""
    chance = random.Random(f"batches {seed} {epoch}")  # noqa: S311 - a reproducible choice
    buffer: list[Utterance] = []
    for utterance in found:
        buffer.append(utterance)
        if len(buffer) == BUFFER:
            yield from _sorted(buffer, seconds, chance)
            buffer = []
    yield from _sorted(buffer, seconds, chance)


def _sorted(buffer: list[Utterance], seconds: float, chance: random.Random) -> list[list[Utterance]]:
    made: list[list[Utterance]] = []
    for utterance in sorted(buffer, key=lambda item: -item.seconds):
        if made and made[-1][0].seconds * (len(made[-1]) + 1) <= seconds:
            made[-1].append(utterance)
        else:
            made.append([utterance])
    chance.shuffle(made)
    return made


def ahead(items: Iterator[Any], prepare: Callable[[Any], T], depth: int = 4) -> Generator[T, None, None]:
    """`prepare` of each item, made in a thread while the one before is worked on. Raises what the thread raised."""
    queue: Queue[tuple[bool, Any]] = Queue(depth)
    stop = threading.Event()

    def fill() -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                queue.put((True, prepare(item)))
            queue.put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised where the batches are read
            queue.put((False, error))

    thread = threading.Thread(target=fill, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            more, value = queue.get()
            if more:
                yield value
            elif value is not None:
                raise value
            else:
                return
    finally:
        stop.set()
        while not queue.empty():
            queue.get_nowait()
