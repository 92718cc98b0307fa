"""Nothing that a student is tested on may have trained it: not the recording, its speaker, its channel, its sentences, nor a copy of its audio."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeVar

import soundfile

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import SilverError
from stages.acquire.media import local_path
from stages.audio import read_audio
from stages.heldout.fingerprint import VERSION, Index, Match
from stages.heldout.sets import FOLDER, HeldOut, Window
from stages.normalise.languages import split
from stages.normalise.scoring import scoring_words

T = TypeVar("T")

WORDS = 6
"""Words of an utterance from which on it says something that it was trained on: shorter ones ("thank you very much") are said by everybody."""
REPEATED = 0.02
"""Share of such utterances that may be in the training texts word for word. A student may know them by heart, so this much of the set's errors
may be gone without it having learned to listen: little beside the gains that are to be shown, and more than formulas take up in speech."""
SAVED = 64
"""Groups of recordings after which what was compared is written down."""
SHOWN = 3
"""Examples of a leak in a message."""

FIXES = {
    "recording": "take it out of the gold, or out of what is acquired",
    "speaker": "let a set have all of a speaker, or none; if these are two people, give them two names",
    "channel": "let a set have all of a channel, or none; if these are two channels, give them two names",
    "text": "take these utterances out of the gold, or the segments that say the same out of the training data",
    "audio": "these are copies, encoded anew: take one of the two out",
}


@dataclass(frozen=True)
class Leak:
    """Something of a held-out set that is trained on."""

    kind: str
    """One of `FIXES`."""
    count: int
    """Recordings, speakers, channels, utterances or windows of the set."""
    share: float
    """Of all those of the set that could be compared."""
    examples: tuple[tuple[str, str], ...]
    """What it is in the set, and in the training data."""

    @property
    def fatal(self) -> bool:
        """True if the set may not be used: any leak, but for few repeated sentences."""
        return self.kind != "text" or self.share > REPEATED

    @property
    def what(self) -> str:
        """What it is, and where."""
        examples = "; ".join(f"{held} is {trained}" for held, trained in self.examples[:SHOWN])
        more = f" and {self.count - SHOWN} more" if self.count > SHOWN else ""
        limit = f" (at most {REPEATED:.0%} may be: they may be known by heart)" if self.kind == "text" else ""
        return f"same {self.kind}, {self.count} or {self.share:.1%}{limit}: {examples}{more}"

    def __str__(self) -> str:
        return f"{self.what}. Fix: {FIXES[self.kind]}."


def check(rows: Iterable[Row], sets: Sequence[HeldOut], store: Store, each: Callable[..., Iterable[Any]] = map) -> dict[str, list[Leak]]:
    """The leaks of each set (by its path) that are small enough; all others end it. `rows` and `each` as in `leaks`.

    Raises:
        SilverError: something of a set is trained on; the message says what, where, and what to do.
    """
    trained = list(rows)
    found = {held.path: leaks(trained, held, store, each) for held in sets}
    lines = [
        f"the held-out set {path} is not held out from the training data:\n" + "\n".join(f"  {leak}" for leak in some if leak.fatal)
        for path, some in found.items()
        if any(leak.fatal for leak in some)
    ]
    if lines:
        raise SilverError("\n".join(lines))
    return found


def apart(
    dev: HeldOut, tests: Iterable[HeldOut], store: Store, report: Callable[[str], None], each: Callable[..., Iterable[Any]] = map
) -> None:
    """What chooses a student's epochs and rounds must have nothing that judges it: no recording, no copy of its audio, no sentences but few. Speakers
    and channels it may share, and `report` is told of them: a test set may be of the dev set's domain.

    Raises:
        SilverError: they are not apart.
    """
    rows = [
        {
            "recording_id": window.recording_id, "audio_path": window.audio_path, "source_uri": window.source, "channel": window.channel,
            "speaker": window.speaker, "language": window.language, "text": window.text,
        }
        for window in dev.windows(store)
    ]  # fmt: skip
    lines = []
    for test in tests:
        for leak in leaks(rows, test, store, each):
            if leak.fatal and leak.kind not in ("speaker", "channel"):
                lines.append(f"the dev set {dev.path} has what the test set {test.path} has: {leak.what}. Fix: let one of the two have it.")
            else:
                report(f"dev and {test.name}: {leak.what}")
    if lines:
        raise SilverError("\n".join(lines))


def leaks(rows: Iterable[Row], held: HeldOut, store: Store, each: Callable[..., Iterable[Any]] = map) -> list[Leak]:
    """What of a set is in the training data, large or small, the plainest first.

    `rows` are those that are trained on: `recording_id`, `audio_path`, `source_uri`, `channel`, `speaker`, `language`, and `train_text` or, without
    it, `text`. What goes over audio or many texts goes through `each(function, items)`, which is `map` over the workers. The audio of a
    recording is compared once with a set: what was found is kept in `heldout/<digest of the set>/`.
    """
    trained = list(rows)
    windows = held.windows(store)
    if missing := {row["recording_id"] for row in trained if row["audio_path"] is None}:
        raise SilverError(
            f"{len(missing)} recordings, such as {min(missing)}, have no audio_path, so it cannot be told whether they are held out"
        )
    same = {window.recording_id for window in windows}  # need no fingerprint
    others = {row["audio_path"] for row in trained if row["recording_id"] not in same}
    found = [
        _recordings(trained, held, windows),
        _named(trained, windows, "speaker"),
        _named(trained, windows, "channel"),
        _texts(trained, held, each),
        _audio(sorted(others), held, windows, store, each),
    ]
    return [leak for leak in found if leak is not None]


def _recordings(rows: Sequence[Row], held: HeldOut, windows: Sequence[Window]) -> Leak | None:
    """By the hash of the samples, or the file."""
    trained = {row["recording_id"]: row for row in rows}
    by_uri = {row["source_uri"]: row for row in trained.values()}
    by_file = {os.path.realpath(path): row for uri, row in by_uri.items() if (path := local_path(uri)) is not None}
    called = {item.audio: item.recording for item in held.utterances}
    found = {}
    recordings = {window.source: window.recording_id for window in windows}
    for source, recording in recordings.items():
        row = trained.get(recording) or by_file.get(os.path.realpath(source)) or by_uri.get(called[source])
        if row is not None:
            found[source] = f"{row['recording_id']} ({row['source_uri']})"
    return _leak("recording", found, len(recordings))


def _named(rows: Sequence[Row], windows: Sequence[Window], kind: str) -> Leak | None:
    """By the name of a speaker or channel, however it is spelled in capitals and spaces."""
    trained = {_spelled(row[kind]): row["recording_id"] for row in rows if row.get(kind)}
    names = {name: window for window in windows if (name := getattr(window, kind))}
    found = {f"{name!r} ({window.where})": f"in {trained[_spelled(name)]}" for name, window in names.items() if _spelled(name) in trained}
    return _leak(kind, found, len(names))


def _spelled(name: str) -> str:
    return " ".join(name.casefold().split())


def _texts(rows: Sequence[Row], held: HeldOut, each: Callable[..., Iterable[Any]]) -> Leak | None:
    """By utterances of `WORDS` words or more that are in a training text word for word, in the scoring form."""
    said: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item in held.utterances:
        words = tuple(scoring_words(item.text, item.language))
        if len(words) >= WORDS:
            said[words].append(item.where)
    languages = {_base(item.language) for item in held.utterances}
    texts = {
        (row["language"], text): row["recording_id"]
        for row in rows
        if (text := row.get("train_text") or row.get("text")) and (None in languages or _base(row["language"]) in {*languages, None})
    }
    needles = defaultdict(list)
    for words in said:
        needles[words[:WORDS]].append(words)
    found: dict[str, str] = {}
    for repeated in each(partial(_repeated, dict(needles)), _batched(texts, 2000)) if needles else ():
        for words, key in repeated:
            for where in said[words]:
                found.setdefault(f"{where} ({' '.join(words)[:60]!r})", f"in {texts[key]}")
    return _leak("text", found, sum(map(len, said.values())))


def _base(language: str | None) -> str | None:
    return split(language)[0] if language else None


def _repeated(
    needles: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]], texts: Sequence[tuple[str | None, str]]
) -> list[tuple[tuple[str, ...], tuple[str | None, str]]]:
    """Which of the utterances are in which of the texts. Each word of a text is looked at once."""
    return [(words, key) for key in texts for words in within(needles, tuple(scoring_words(key[1], key[0])))]


def within(needles: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]], text: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Utterances that a text holds word for word. `needles`: utterances of `WORDS` words or more by their first `WORDS` words."""
    for at in range(len(text) - WORDS + 1):
        for words in needles.get(text[at : at + WORDS], ()):
            if text[at : at + len(words)] == words:
                yield words


def _audio(
    recordings: Sequence[str], held: HeldOut, windows: Sequence[Window], store: Store, each: Callable[..., Iterable[Any]]
) -> Leak | None:
    """By fingerprint. Recordings that were compared with this set before are not read again."""
    path = f"{FOLDER}/{held.digest}/compared-{VERSION}.json"
    known: dict[str, Any] = json.loads(store.read(path)) if store.exists(path) else {}
    new = list(_batched((recording for recording in recordings if recording not in known), 8))
    for number, (group, matches) in enumerate(zip(new, each(partial(_compared, held, store), new), strict=True), 1):
        known |= {recording: [vars(match) for match in some] for recording, some in zip(group, matches, strict=True)}
        if number % SAVED == 0 or number == len(new):
            store.write(path, json.dumps(known).encode())
    found: dict[int, str] = {}
    for recording in recordings:
        for match in (Match(**values) for values in known[recording]):
            name = recording.rpartition("/")[2][:16]
            found.setdefault(match.window, f"in {name} from {match.start:.1f} s ({match.wrong:.0%} of the bits differ)")
    return _leak("audio", {windows[window].where: trained for window, trained in sorted(found.items())}, len(windows))


def _compared(held: HeldOut, store: Store, recordings: Sequence[str]) -> list[list[Match]]:
    index = _index(held, store.root)
    return [_matches(index, store, recording) for recording in recordings]


@lru_cache(maxsize=1)
def _index(held: HeldOut, root: str) -> Index:
    """Made once a worker: it is larger than the set's audio is long to read."""
    store = Store(root)
    return Index(read_audio(store, window.row) for window in held.windows(store))


def _matches(index: Index, store: Store, path: str) -> list[Match]:
    try:
        return index.matches(store, path)
    except (FileNotFoundError, soundfile.LibsndfileError) as error:
        raise SilverError(
            f"the recording {store.uri(path)} cannot be read, so it cannot be told whether it is held out: {error}"
        ) from error


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    source = iter(items)
    while batch := tuple(islice(source, size)):
        yield batch


def _leak(kind: str, found: Mapping[str, str], of: int) -> Leak | None:
    return Leak(kind, len(found), len(found) / max(1, of), tuple(found.items())) if found else None
