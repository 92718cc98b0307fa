"""The corpus root: a folder or an object store, reached by paths relative to it.

Commit is atomic: a file is there whole or not at all. In a folder: a temporary file under `<root>/tmp` (the same file
system), fsync, `os.replace`. On an object store: one upload to the final key.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

TEMPORARY = "tmp"


class Store:
    """Files of one corpus. `root` is a path or an fsspec URI (`s3://bucket/corpus`). Pickles as its root."""

    def __init__(self, root: str) -> None:
        self.fs, self._base = fsspec.core.url_to_fs(os.path.expanduser(root) if "://" not in root else root)
        self.local = "file" in ([self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol)
        self.root = str(Path(self._base).absolute()) if self.local else root.rstrip("/")
        if self.local:
            self._base = self.root

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

    def path(self, relative: str) -> str:
        """Where `relative` lies, in the form that `self.fs` takes (for a folder, an absolute path)."""
        if relative.startswith("/") or ".." in relative.split("/"):
            msg = f"{relative!r} is not a path inside the corpus root"
            raise ValueError(msg)
        return f"{self._base.rstrip('/')}/{relative}" if relative else self._base

    def uri(self, relative: str) -> str:
        """The same with its scheme, for DuckDB, pyarrow and people."""
        return self.path(relative) if self.local else str(self.fs.unstrip_protocol(self.path(relative)))

    def exists(self, relative: str) -> bool:
        """True if the file or folder is there."""
        return os.path.lexists(self.path(relative)) if self.local else bool(self.fs.exists(self.path(relative)))

    def names(self, relative: str) -> list[str]:
        """Sorted names directly under a folder; empty if it is not there."""
        path = self.path(relative)
        if self.local:
            return sorted(os.listdir(path)) if os.path.isdir(path) else []
        if not self.fs.exists(path):
            return []
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(path, detail=False))

    def read(self, relative: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        if self.local:
            return Path(self.path(relative)).read_bytes()
        return cast("bytes", self.fs.cat_file(self.path(relative)))

    def open(self, relative: str) -> BinaryIO:
        """The file, opened for reading and seeking."""
        return cast("BinaryIO", open(self.path(relative), "rb") if self.local else self.fs.open(self.path(relative), "rb"))

    def write(self, relative: str, data: bytes) -> None:
        """Write a small file atomically."""
        with self.staged(relative) as temporary:
            temporary.write_bytes(data)

    @contextmanager
    def staged(self, relative: str | Callable[[], str | None]) -> Iterator[Path]:
        """A local path to write a new file to; it becomes `relative` when the block ends, and vanishes when it raises.

        Where the name depends on what was written (its hash), `relative` is a function, asked when the block ends: None discards the file.
        """
        if self.local:
            folder = Path(self.path(TEMPORARY))
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f"{uuid.uuid4().hex}{Path(relative).suffix if isinstance(relative, str) else ''}"
            try:
                yield temporary
                if (final := relative if isinstance(relative, str) else relative()) is not None:
                    with temporary.open("rb") as handle:
                        os.fsync(handle.fileno())
                    target = Path(self.path(final))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="silver-") as folder_name:
                temporary = Path(folder_name) / f"upload{Path(relative).suffix if isinstance(relative, str) else ''}"
                yield temporary
                if (final := relative if isinstance(relative, str) else relative()) is not None:
                    self.fs.put_file(str(temporary), self.path(final))

    def create(self, relative: str, data: bytes) -> bool:
        """Write a small file only if it is not there; False if it is. The primitive of the lock."""
        path = self.path(relative)
        if not self.local:
            try:
                self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True
        # A link to a finished file: nobody ever reads a lock half written.
        folder = Path(self.path(TEMPORARY))
        folder.mkdir(parents=True, exist_ok=True)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        temporary = folder / uuid.uuid4().hex
        try:
            temporary.write_bytes(data)
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def copy(self, source: str, target: str) -> None:
        """Copy a file that will not change inside the root, atomically. In a folder: a second name for the same bytes."""
        if self.local:
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(self.path(source), self.path(target))
        else:
            self.fs.cp_file(self.path(source), self.path(target))

    def remove(self, relative: str) -> None:
        """Remove a file or a folder with all below it; nothing happens if it is not there."""
        path = self.path(relative)
        if not self.local:
            if self.fs.exists(path):
                self.fs.rm(path, recursive=True)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)

    def clean_temporary(self) -> None:
        """Remove what killed processes left behind. Only the holder of the lock may call it."""
        self.remove(TEMPORARY)
