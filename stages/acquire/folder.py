"""Audio that lies in a folder, here or on an object store. It is used where it is, not copied."""

from __future__ import annotations

import glob
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import fsspec

from manifests.store import Store
from pipeline.contract import ItemError, SilverError
from stages.acquire.media import media_uri, open_regular
from stages.acquire.source import AUDIO, VIDEO, Candidate, Source, clean, estimated_seconds, extension

TRANSCRIPTS = (".txt", ".vtt", ".srt")
"""Extensions of a transcript beside its audio (`talk.txt` beside `talk.mp3`), best first."""
_LONGEST_TRANSCRIPT = 16 << 20  # bytes; more is no transcript of one recording


def scan(path: str, store: Store, ignored: Counter[str], listed: set[str]) -> Iterator[Candidate]:
    """All audio and video under `path`: a folder (recursively), a file, a glob, or the URI of one of them. Sorted.

    Files with other extensions are counted in `ignored` by their extension, folders that could be read are added to `listed`. The corpus
    root itself is left out.

    Raises:
        SilverError: there is nothing at `path`.
    """
    if "://" in path and not path.startswith("file://"):
        yield from _scan_remote(path, ignored)
        return
    path = os.path.abspath(os.path.expanduser(path.removeprefix("file://")))
    found = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True, include_hidden=True), key=os.fsencode)
    if not found:
        raise SilverError(f"acquire: there is nothing at {path!r}; set acquire.path to a folder, a file or a glob")
    seen: set[tuple[int, int]] = set()
    excluded = os.path.realpath(store.root) if store.local else None
    top = path
    while glob.has_magic(top) and len(top) > 1 and not os.path.isdir(top):
        top = os.path.dirname(top)
    for entry in found:
        if os.path.isdir(entry):
            yield from _scan_folder(entry, top, excluded, seen, ignored, listed)
        elif entry == path or extension(entry):
            yield _local(entry, set(_names(os.path.dirname(entry))), top)
        elif not any(entry.lower().endswith(suffix) for suffix in TRANSCRIPTS):
            ignored[_kind(entry)] += 1


def _scan_folder(
    start: str, top: str, excluded: str | None, seen: set[tuple[int, int]], ignored: Counter[str], listed: set[str]
) -> Iterator[Candidate]:
    """Depth first, by name. `seen` holds the folders (device, inode) visited, so that a loop of links ends."""
    stack = [start]
    while stack:
        folder = stack.pop()
        try:
            info = os.stat(folder)
            if (info.st_dev, info.st_ino) in seen or os.path.realpath(folder) == excluded:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as entries:
                children = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield _failed(folder, "unreadable", f"{folder!r} cannot be listed: {error.strerror}")
            continue
        listed.add(media_uri(folder))
        names = {entry.name for entry in children}
        for entry in children:
            if _is_folder(entry):
                continue
            if extension(entry.name):
                yield _local(entry.path, names, top)
            elif not _is_transcript(entry.name, names):
                ignored[_kind(entry.name)] += 1
        stack.extend(entry.path for entry in reversed(children) if _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _local(path: str, names: set[str], top: str) -> Candidate:
    """A file under `top`; `names` are those beside it."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            open_regular(path).close()  # raises, and says what it is
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return _failed(path, "unreadable", f"{path!r} may not be read: permission denied")
        transcript = _transcript_of(path, names)
        version = _stamp(info) + (f"+{_stamp(os.stat(transcript))}" if transcript else "")
    except ItemError as error:
        return _failed(path, error.reason, error.detail)
    except OSError as error:
        reason = "not_found" if isinstance(error, FileNotFoundError) else "unreadable"
        return _failed(path, reason, f"{path!r} cannot be read: {error.strerror}")

    def fetch() -> list[Source]:
        suffix = extension(path)
        return [
            Source(
                uri=media_uri(path),
                media=media_uri(path),
                version=version,
                seconds=_wav_seconds(path, info.st_size) or estimated_seconds(suffix, info.st_size),
                title=PurePosixPath(path).stem,
                text=_read_transcript(transcript, lambda: open_regular(transcript)) if transcript else None,
                folder=_first_folder(path, top),
            )
        ]

    return Candidate(uri=media_uri(path), version=version, fetch=fetch, stays=True)


def _first_folder(path: str, top: str) -> str | None:
    """`show` of `top/show/2024/talk.mp3`."""
    below = path.removeprefix(top).strip("/").split("/") if path.startswith(top) else []
    return below[0] if len(below) > 1 else None


def _stamp(info: os.stat_result) -> str:
    return f"{info.st_size}-{info.st_mtime_ns}"


def _failed(path: str, reason: str, detail: str) -> Candidate:
    def fetch() -> list[Source]:
        raise ItemError(reason, detail)

    return Candidate(uri=media_uri(path), fetch=fetch, stays=True)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except PermissionError:  # a folder that may be entered but not listed
        return []


def _is_transcript(name: str, names: set[str]) -> bool:
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in TRANSCRIPTS and any(stem + media in names for media in (*AUDIO, *VIDEO))


def _transcript_of(path: str, names: set[str]) -> str | None:
    stem = os.path.splitext(path)[0]
    return next((stem + suffix for suffix in TRANSCRIPTS if os.path.basename(stem) + suffix in names), None)


def _read_transcript(name: str, opened: Callable[[], Any]) -> str | None:
    """The words of a transcript or of subtitles; None if it cannot be read (the audio is worth keeping without)."""
    try:
        with opened() as file:
            data = file.read(_LONGEST_TRANSCRIPT + 1)
    except (ItemError, OSError):
        return None
    if len(data) > _LONGEST_TRANSCRIPT:
        return None
    text = data.decode("utf-8-sig", errors="backslashreplace")
    return clean(text if name.lower().endswith(".txt") else subtitle_text(text), None)


def subtitle_text(text: str) -> str:
    r"""The words of SubRip or WebVTT subtitles.

    >>> subtitle_text("WEBVTT\n\nNOTE by hand\n\n1\n00:01.000 --> 00:02.000\n<i>Good</i>\nday.\n")
    'Good day.'
    """
    lines: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        before, arrow, after = block.partition("-->")
        if arrow and before.count("\n") <= 2:  # number and times; a NOTE or STYLE has no times
            lines += [re.sub(r"<[^<>]*>|\{\\[^{}]*\}", "", line).strip() for line in after.split("\n")[1:]]
    return " ".join(line for line in lines if line)


def _wav_seconds(path: str, size: int) -> float | None:
    """Duration by the byte rate in the header of a RIFF file; None if it is no such file."""
    if extension(path) not in {".wav", ".wave"}:
        return None
    try:
        with open_regular(path) as file:
            header = file.read(32)
    except (ItemError, OSError):
        return None
    rate = int.from_bytes(header[28:32], "little") if header[:4] == b"RIFF" and header[12:16] == b"fmt " else 0
    return max(1.0, size / rate) if rate else None


def _kind(name: str) -> str:
    return clean(os.path.splitext(name)[1].lower(), 10) or "no extension"


# -- other file systems, through fsspec ----------------------------------------------------------------------------


def _scan_remote(path: str, ignored: Counter[str]) -> Iterator[Candidate]:
    scheme = path.partition("://")[0].lower()
    if scheme in {"http", "https", "ftp"}:
        raise SilverError(f"acquire: acquire.path is a folder, not {path}; web addresses go to acquire.urls, feeds to acquire.feeds")
    try:
        fs, top = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise SilverError(f"acquire: {path} cannot be opened: {error}") from error
    found: dict[str, dict[str, Any]] = {}
    for entry in fs.glob(top) if not fs.exists(top) and glob.has_magic(top) else [top]:
        found |= fs.find(entry, detail=True)
    if not found:
        raise SilverError(f"acquire: there is nothing at {path}; set acquire.path to a folder, a file or a glob")
    for name, info in sorted(found.items()):
        if extension(name):
            yield _remote(fs, name, info, found, top)
        elif not _is_transcript(name, set(found)):
            ignored[_kind(name)] += 1


def _remote(fs: Any, name: str, info: dict[str, Any], found: dict[str, dict[str, Any]], top: str) -> Candidate:
    uri = str(fs.unstrip_protocol(name))
    stem = os.path.splitext(name)[0]
    transcript = next((stem + suffix for suffix in TRANSCRIPTS if stem + suffix in found), None)
    version = _remote_stamp(info) + (f"+{_remote_stamp(found[transcript])}" if transcript else "")

    def fetch() -> list[Source]:
        return [
            Source(
                uri=uri,
                media=uri,
                version=version,
                seconds=estimated_seconds(extension(name), int(info.get("size") or 0)),
                title=PurePosixPath(name).stem,
                text=_read_transcript(transcript, lambda: io.BytesIO(fs.cat_file(transcript))) if transcript else None,
                folder=_first_folder(name, top),
            )
        ]

    return Candidate(uri=uri, version=version, fetch=fetch, stays=True)


def _remote_stamp(info: dict[str, Any]) -> str:
    """What stores call it: an entity tag, or a time."""
    stamp = next(
        (info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created") if info.get(key)), ""
    )
    return f"{info.get('size')}-{str(stamp).strip(chr(34))}"
