"""How a row names its audio, and how that audio is opened. Names are hostile: any bytes but NUL, FIFOs, devices, loops.

`media_uri` is one of
`sources/...`    a download, relative to the corpus root
`/...`           a local path
`file:///...`    a local path that is not UTF-8 (a manifest holds UTF-8 only): its bytes, percent-encoded
`scheme://...`   anything else fsspec reaches (`s3://bucket/talk.mp3`)
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

import fsspec

from manifests.store import Store
from pipeline.contract import ItemError

SOURCES = "sources"
"""Folder of the downloads, under the corpus root."""
_FILE = "file://"


def media_uri(path: str) -> str:
    r"""The name of a local file, reversible for every path that a file system can hold.

    >>> media_uri("/data/a b.mp3"), media_uri("/data/\udcff.mp3")
    ('/data/a b.mp3', 'file:///data/%FF.mp3')
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return _FILE + quote_from_bytes(os.fsencode(path))
    return path


def local_path(uri: str) -> str | None:
    """The inverse of `media_uri`: the local path that a media URI names, None if it is not local."""
    if uri.startswith(_FILE):
        return os.fsdecode(unquote_to_bytes(uri[len(_FILE) :]))
    return uri if uri.startswith("/") else None


def open_media(store: Store, media_uri: str) -> BinaryIO:
    """The audio of a row, opened for reading and seeking. Never waits for a FIFO or a device.

    Raises:
        ItemError: `not_found`, `unreadable` (permission denied) or `not_a_file` (folder, FIFO, device, socket, loop of links).
        OSError: anything else, which may pass (a network file system that went away).
    """
    path = local_path(media_uri)
    try:
        if path is not None:
            return open_regular(path)
        if media_uri.startswith(f"{SOURCES}/"):
            return open_regular(store.path(media_uri)) if store.local else store.open(media_uri)
        return cast("BinaryIO", fsspec.open(media_uri, "rb").open())
    except FileNotFoundError as error:
        raise ItemError("not_found", f"{media_uri} is not there any more") from error
    except PermissionError as error:
        raise ItemError("unreadable", f"{media_uri} may not be read: {error.strerror or error}") from error


def open_regular(path: str) -> BinaryIO:
    """A regular file, opened. The kind is asked before opening (which alone can start a device) and once more after it."""
    try:
        _require_regular(path, Path(path).stat().st_mode)
        # Without O_NONBLOCK the open itself would wait for the writer of a FIFO put there since.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ItemError("not_a_file", f"{path!r} is a loop of links") from error
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except ItemError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _require_regular(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ItemError("not_a_file", f"{path!r} is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a regular file")


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
