"""Held-out sets: recordings with gold transcripts that nothing is trained on, in windows that any labeller hears at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import soundfile

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import ItemError, SilverError
from stages.audio import SAMPLE_RATE, audio_path
from stages.decode import Recording
from stages.ffmpeg import Media
from stages.gold import Utterance, read_gold
from stages.normalise.scoring import scoring_words

FOLDER = "heldout"
"""Of a corpus root: recordings of its held-out sets, and what was found out about them."""
LONGEST = 28.0
"""Seconds of a window that utterances are joined to: Whisper hears 30 s, and pads what is shorter."""
HEARD = 30.0
"""Seconds that a labeller hears at once; of a longer utterance it would miss the end."""
GAP = 1.0
"""Seconds between two utterances of one window at most: in a longer pause somebody may speak who is not in the gold."""
SLACK = 0.1
"""Seconds by which the last utterance may pass the end of its recording: times are rounded."""
MAX_HOURS = 24.0


@dataclass(frozen=True)
class Window:
    """One or more utterances of one speaker, one after the other; times are seconds in the recording."""

    recording_id: str
    audio_path: str
    """Relative to the corpus root."""
    start: float
    end: float
    texts: tuple[str, ...]
    """What was said, one entry an utterance."""
    language: str | None
    speaker: str | None
    channel: str | None
    source: str
    """File it lies in, as the gold names it."""
    where: str
    """File and line of the gold, of the first utterance."""

    @property
    def text(self) -> str:
        """All that was said."""
        return " ".join(self.texts)

    @property
    def row(self) -> Row:
        """As a labeller takes it."""
        return {"audio_path": self.audio_path, "start": self.start, "end": self.end, "language": self.language}


@dataclass(frozen=True)
class HeldOut:
    """One set, as its gold file describes it. Pickles; once its recordings are in a store, the files are not needed any more."""

    name: str
    path: str
    utterances: tuple[Utterance, ...]
    """`audio` of each is absolute."""
    files: dict[str, str] = field(compare=False)
    """sha256 of each audio file."""
    digest: str
    """16 hex, of the utterances and the bytes of the audio; where the files lie plays no part."""

    @staticmethod
    def read(path: str | Path, language: str | None = None) -> HeldOut:
        """Read a gold file (see `stages.gold.read_gold`) and look that its audio is there. Lines without a language have the given one.

        Raises:
            SilverError: no such file, a line that cannot be understood, an utterance too long to be heard at once, missing audio, or
                nothing said in all of it.
        """
        source = Path(path).expanduser().absolute()
        utterances = [_located(item, source.parent, language) for item in read_gold(str(source))]
        if not any(scoring_words(item.text, item.language) for item in utterances):
            raise SilverError(f"no utterance of the gold {source} has a word in it, so no error rate can be told")
        for item in utterances:
            if item.start is not None and item.end is not None:
                _hearable(item, item.start, item.end)
        files = {audio: _file_hash(audio, os.stat(audio).st_mtime_ns) for audio in dict.fromkeys(item.audio for item in utterances)}
        told = [[files[item.audio], item.start, item.end, item.text, item.language, item.speaker, item.channel] for item in utterances]
        return HeldOut(source.stem, str(source), tuple(utterances), files, short_digest(told))

    def windows(self, store: Store, longest: float | None = LONGEST) -> list[Window]:
        """The set in windows of at most `longest` seconds (None: each utterance by itself), by recording and time.

        The first call decodes the audio into `heldout/` of the corpus root; later ones, on any machine, find it there.

        Raises:
            SilverError: audio that cannot be decoded, or an utterance that lies outside of its recording.
        """
        recordings = self._recordings(store)
        found = [_window(item, *recordings[self.files[item.audio]]) for item in self.utterances]
        order = {audio: place for place, audio in enumerate(self.files)}
        found.sort(key=lambda window: (order[window.source], window.start, window.end))
        return list(_joined(found, longest)) if longest is not None else found

    def _recordings(self, store: Store) -> dict[str, tuple[str, float]]:
        """sha256 of the samples, and seconds, of each audio file, by the hash of the file."""
        index = f"{FOLDER}/{self.digest}/recordings.json"
        if store.exists(index):
            return {file: (sha256, seconds) for file, (sha256, seconds) in json.loads(store.read(index)).items()}
        made = {sha256: _decode(store, audio) for audio, sha256 in self.files.items()}
        for item in self.utterances:
            _window(item, *made[self.files[item.audio]])  # what lies outside of its recording is found before anything is said to be well
        store.write(index, json.dumps(made).encode())
        return made


def _located(item: Utterance, folder: Path, language: str | None) -> Utterance:
    audio = folder / Path(item.audio).expanduser()
    if not audio.is_file():
        raise SilverError(
            f"{item.where}: there is no audio file {audio}; its path is taken from the folder of the gold, unless it is absolute"
        )
    return Utterance(**(asdict(item) | {"audio": str(audio), "language": item.language or language}))


def _hearable(item: Utterance, start: float, end: float) -> None:
    if end - start > HEARD:
        raise SilverError(
            f"{item.where} is {end - start:.1f} s long, and labellers hear {HEARD:.0f} s at once: cut it at a pause, with a start and an end each"
        )
    if end <= start:
        raise SilverError(f"{item.where}: from {start} to {end} s there is nothing to hear")


def _window(item: Utterance, sha256: str, seconds: float) -> Window:
    start, end = (0.0, seconds) if item.start is None or item.end is None else (item.start, item.end)
    if start < 0 or end > seconds + SLACK:
        raise SilverError(f"{item.where}: {start:g} to {end:g} s lies outside of {item.audio}, which has {seconds:.2f} s")
    end = min(end, seconds)
    _hearable(item, start, end)
    return Window(
        sha256[:16], f"{FOLDER}/{audio_path(sha256)}", start, end, (item.text,), item.language, item.speaker, item.channel, item.audio, item.where
    )  # fmt: skip


def _joined(windows: Iterable[Window], longest: float) -> Iterator[Window]:
    held: Window | None = None
    for window in windows:
        if held is not None and _belongs(held, window, longest):
            held = Window(**(vars(held) | {"end": max(held.end, window.end), "texts": held.texts + window.texts}))
            continue
        if held is not None:
            yield held
        held = window
    if held is not None:
        yield held


def _belongs(held: Window, window: Window, longest: float) -> bool:
    same = all(getattr(held, name) == getattr(window, name) for name in ("audio_path", "language", "speaker", "channel", "source"))
    return same and held.end <= window.start <= held.end + GAP and window.end - held.start <= longest


def _decode(store: Store, audio: str) -> tuple[str, float]:
    """The file in the store, as the corpus keeps recordings; sha256 of the samples and seconds."""
    recording = Recording()

    def target() -> str | None:
        path = f"{FOLDER}/{audio_path(recording.digest)}"
        return None if store.exists(path) else path

    try:
        with open(audio, "rb") as handle, closing(Media(handle, audio)) as media, store.staged(target) as temporary:
            recording.write(media, temporary, max_samples=round(MAX_HOURS * 3600 * SAMPLE_RATE), max_hours=MAX_HOURS)
            if not recording.samples:
                raise ItemError("damaged", "no sound could be decoded")
    except (ItemError, soundfile.LibsndfileError) as error:
        raise SilverError(f"the held-out audio {audio} cannot be used: {error}") from error
    return recording.digest, recording.duration


@cache
def _file_hash(path: str, _changed: int) -> str:
    """Each round of a recipe asks for the same gold: it is read again only if it changed."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise SilverError(f"the held-out audio {path} cannot be read: {error}") from error


def short_digest(value: object) -> str:
    """16 hex of the sha256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]
