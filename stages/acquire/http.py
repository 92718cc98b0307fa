"""Fetching over HTTP from servers that may be slow, broken or hostile, politely.

Only `http` and `https` are followed. A transfer is bounded in bytes and in time: by a timeout for every answer of the server, and by
a deadline on the clock, since a server that sends one byte a second never runs into the former.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from manifests.store import Store
from pipeline.contract import ItemError
from stages.acquire.source import download_path, extension

T = TypeVar("T")

BACKOFF = 2.0
"""Seconds before the first retry; doubled for each further one."""
_LONGEST_WAIT = 300.0  # seconds: a server that asks for more is left alone until the next run
_REDIRECTS = 10
_CHUNK = 1 << 16
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_PAGES = {"text/html", "application/xhtml+xml"}


class _Session(requests.Session):
    """Left alone, requests looks at redirects even if told not to follow them, and reads their bodies whole, however long."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _TransientError(Exception):
    def __init__(self, error: ItemError, after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


@dataclass(frozen=True)
class Fetched:
    """A small file in memory, and where it was found after all redirects."""

    data: bytes
    url: str
    content_type: str


@dataclass
class Fetcher:
    """Fetches for one crawl; shared by its threads."""

    user_agent: str
    delay: float = 0.0  # seconds between two requests to one host
    retries: int = 3
    timeout: float = 30.0  # seconds to connect, and for each answer
    deadline: float = 3600.0  # seconds for one transfer
    max_bytes: int = 4 << 30
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the crawl is given up: waiting threads end."""
    _next: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def download(self, store: Store, url: str) -> str:
        """Bring `url` into the corpus, unless it is there. Returns the path relative to the root.

        Raises:
            ItemError: `bad_url`, `unsupported_scheme`, `unsupported_redirect`, `too_large`, `timeout`, `truncated`, `not_audio`
                (a web page came), `download_failed`.
        """
        path = download_path(url, extension(url))
        if store.exists(path):
            return path

        def save(body: _Body) -> None:
            if body.content_type in _PAGES:
                raise ItemError("not_audio", f"{url}: the server sent a web page ({body.content_type})")
            with store.staged(path) as temporary, temporary.open("wb") as file:
                for chunk in body.chunks(self.max_bytes):
                    file.write(chunk)
                if not file.tell():
                    raise _TransientError(ItemError("download_failed", f"{url}: the server sent an empty file"))

        self._persist(url, self.deadline, save)
        return path

    def read(self, url: str, max_bytes: int, deadline: float) -> Fetched:
        """A small file, such as a feed. Raises ItemError as `download` does."""
        return self._persist(url, deadline, lambda body: Fetched(b"".join(body.chunks(max_bytes)), body.url, body.content_type))

    def _persist(self, url: str, deadline: float, receive: Callable[[_Body], T]) -> T:
        """Try, and try again what may pass."""
        _check(url, url)
        for attempt in range(self.retries + 1):
            given_up = threading.Event()
            self.wait_turn(url)  # its turn may come late: that is not the server's time
            try:
                return within(deadline, partial(self._transfer, url, receive, given_up), given_up, self.stop, url)
            except _TransientError as failure:
                pause = max(failure.after, BACKOFF * 2**attempt)
                if attempt == self.retries or pause > _LONGEST_WAIT or self.stop.wait(pause):
                    raise failure.error from failure
        raise AssertionError

    def _transfer(self, url: str, receive: Callable[[_Body], T], given_up: threading.Event) -> T:
        """One attempt, redirects included. Redirects are followed here, because requests would go wherever they lead."""
        here = url
        try:
            with _Session() as session:
                session.headers.update({"User-Agent": self.user_agent, "Accept-Encoding": "identity"})
                for hop in range(_REDIRECTS + 1):
                    if hop:
                        self.wait_turn(here)
                    with self._ask(session, here) as response:
                        if not (location := requests.Session.get_redirect_target(session, response)):
                            _check_status(url, response)
                            return receive(_Body(url, here, response, given_up))
                    here = _check(join(here, location), url, "unsupported_redirect")
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise _TransientError(ItemError("timeout", f"{url}: no answer for {self.timeout:g} seconds")) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _TransientError(ItemError("download_failed", f"{url}: {plain_message(error)}")) from error
        raise ItemError("download_failed", f"{url}: more than {_REDIRECTS} redirects")

    def _ask(self, session: requests.Session, url: str) -> requests.Response:
        try:
            return session.get(url, stream=True, allow_redirects=False, timeout=self.timeout)
        except ValueError as error:  # an address that is none: raised by requests, urllib3 and the encoding of host names
            raise ItemError("bad_url", f"{url}: {error}") from error

    def wait_turn(self, url: str) -> None:
        """Sleep until it is polite to ask this host again."""
        if self.delay <= 0:
            return
        host = urlsplit(url).netloc.rpartition("@")[2].lower()
        with self._lock:
            turn = max(time.monotonic(), self._next.get(host, 0.0))
            self._next[host] = turn + self.delay
        self.stop.wait(max(0.0, turn - time.monotonic()))


@dataclass
class _Body:
    """What a server sends."""

    asked: str
    url: str
    response: requests.Response
    given_up: threading.Event

    @property
    def content_type(self) -> str:
        return self.response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        """The bytes, as they come. Raises ItemError `too_large` or `truncated`."""
        too_large = ItemError("too_large", f"{self.asked}: larger than {max_bytes:,} bytes")
        if (self.response.raw.length_remaining or 0) > max_bytes:
            raise too_large
        size = 0
        while chunk := self._next_chunk():
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            if self.given_up.is_set():
                raise ItemError("timeout", f"{self.asked}: given up")
            yield chunk

    def _next_chunk(self) -> bytes:
        try:  # read1 gives what is there: read would wait until a chunk is full, however slowly it fills
            chunk: bytes = self.response.raw.read1(_CHUNK, decode_content=True)
        except urllib3.exceptions.ProtocolError as error:  # less came than Content-Length or the chunks promised
            raise _TransientError(ItemError("truncated", f"{self.asked}: the server broke off before the end")) from error
        return chunk


def within(seconds: float, work: Callable[[], T], given_up: threading.Event, stop: threading.Event, what: str) -> T:
    """Run `work` in a thread of its own and give it up after `seconds`: the only bound that holds against every server.

    `given_up` is set then, so that the work ends by itself at the next byte; it is a daemon, and the process never waits for it.

    Raises:
        ItemError: `timeout`.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by outcome.result() in the thread that asked
            outcome.set_exception(error)

    threading.Thread(target=run, name="silver-fetch", daemon=True).start()
    end = time.monotonic() + seconds
    while not outcome.done() and time.monotonic() < end and not stop.is_set():
        wait([outcome], timeout=min(1.0, max(0.0, end - time.monotonic())))
    if outcome.done():
        return outcome.result()
    given_up.set()
    raise ItemError("timeout", f"{what}: not done after {seconds:g} seconds")


def join(base: str, reference: str) -> str:
    """An absolute address. Raises ItemError `bad_url`."""
    try:
        return urljoin(base, reference.strip())
    except ValueError as error:
        raise ItemError("bad_url", f"{reference[:200]!r}: {error}") from error


def plain_message(error: BaseException) -> str:
    """The innermost cause in words: no addresses of objects, the same for the same failure."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return re.sub(r"<[^>]* at 0x[0-9a-f]+>|\w+\(host=[^)]*\)", "", str(error)).strip(": ") or type(error).__name__


def _check(url: str, asked: str, reason: str = "unsupported_scheme") -> str:
    """The URL, if it is one that is followed."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise ItemError("bad_url", f"{url}: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise ItemError(reason, f"{asked}: only http and https are fetched, not {url[:200]}")
    if not host:
        raise ItemError("bad_url", f"{url}: no host")
    return url


def _check_status(url: str, response: requests.Response) -> None:
    if response.status_code in _TRANSIENT:
        raise _TransientError(
            ItemError("download_failed", f"{url}: {_status(response)}"), _retry_after(response.headers.get("Retry-After", ""))
        )
    if response.status_code != 200:
        raise ItemError("download_failed", f"{url}: {_status(response)}")


def _status(response: requests.Response) -> str:
    return f"HTTP {response.status_code} {response.reason or ''}".strip()


def _retry_after(value: str) -> float:
    """Seconds, from seconds or a date (RFC 9110, 10.2.3); 0 if it is neither.

    >>> _retry_after("7"), _retry_after("soon")
    (7.0, 0.0)
    """
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
