"""One writer a corpus root: a lock file that is created if absent, refreshed while its holder lives, and expires when it does not."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from manifests.store import Store
from pipeline.contract import SilverError

LOCK = "runs/.lock"
EXPIRY = 90.0  # seconds after the last refresh
REFRESH = 15.0


class RootLock:
    """`with RootLock(store): ...` for whoever writes to a root.

    Raises:
        SilverError: another run holds it; the message says which.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._me = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> Self:
        for _attempt in range(3):
            if self._store.create(LOCK, self._content()):
                self._thread.start()
                return self
            holder = self._holder()
            if holder and not _dead(holder):
                raise SilverError(
                    f"{self._store.root} is in use by process {holder['pid']} on {holder['host']} "
                    f"(lock {LOCK}, refreshed {time.time() - holder['refreshed']:.0f} s ago); wait for it, or use another root"
                )
            self._store.remove(LOCK)
        raise SilverError(f"{self._store.root}: the lock {LOCK} changes hands faster than it can be taken; is another run starting?")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._holder().get("token") == self._me["token"]:
            self._store.remove(LOCK)

    def _content(self) -> bytes:
        return json.dumps(self._me | {"refreshed": time.time()}).encode()

    def _holder(self) -> dict[str, Any]:
        try:
            holder: dict[str, Any] = json.loads(self._store.read(LOCK))
        except FileNotFoundError:
            return {}
        return holder

    def _refresh(self) -> None:
        while not self._stop.wait(REFRESH):
            try:
                if self._holder().get("token") != self._me["token"]:
                    return  # this process slept past the expiry and another took over: never take it back
                self._store.write(LOCK, self._content())
            except OSError:
                continue  # disk full, network gone: the work itself will say so; the lock lives until it expires


def _dead(holder: dict[str, Any]) -> bool:
    if time.time() - holder["refreshed"] > EXPIRY:
        return True
    return bool(holder["host"] == socket.gethostname() and _born(holder["pid"]) != holder["born"])


def _born(pid: int) -> str:
    """Start time of a process in clock ticks since boot: tells it from a later one with the same id. Empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
