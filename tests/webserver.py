"""A real web server on this machine that can also hang, drip, break off, fail and redirect, and counts what it was asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class WebServer:
    """Use it as a context: `with WebServer() as web: web.file("/a.mp3", data)`; `web.url("/a.mp3")` is then there."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self._answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked[self.path] += 1
                web.headers.append(dict(self.headers))
                answer = web._answers.get(self.path)
                with suppress(OSError):  # the client went away
                    answer(self) if answer else self.send_error(404)

            def do_HEAD(self) -> None:
                self.send_error(405)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def file(self, path: str, body: bytes, kind: str = "audio/mpeg") -> str:
        """Serve these bytes."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            _head(request, 200, {"Content-Type": kind, "Content-Length": str(len(body))})
            request.wfile.write(body)

        return self._add(path, answer)

    def hang(self, path: str, body: bytes = b"") -> str:
        """Take the request and never answer; or send `body` of a longer file and then no more."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            if body:
                _head(request, 200, {"Content-Type": "audio/mpeg", "Content-Length": str(len(body) + 1)})
                request.wfile.write(body)
            self.closing.wait(60)

        return self._add(path, answer)

    def drip(self, path: str, *, headers: bool = False) -> str:
        """Send one byte every 50 ms: of the body, or of endless headers. No timeout between two answers ever passes."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            if headers:
                request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            else:
                _head(request, 200, {"Content-Type": "audio/mpeg", "Content-Length": "100000"})
            for _ in range(1200):
                request.wfile.write(b"x")
                request.wfile.flush()
                if self.closing.wait(0.05):
                    return

        return self._add(path, answer)

    def cut_off(self, path: str, body: bytes, sent: int, *, chunked: bool = False) -> str:
        """Promise the whole body and close the connection after `sent` bytes."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.protocol_version = "HTTP/1.1"
            promise = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
            _head(request, 200, {"Content-Type": "audio/mpeg", "Connection": "close", **promise})
            request.wfile.write(f"{len(body):x}\r\n".encode() * chunked + body[:sent])
            request.close_connection = True

        return self._add(path, answer)

    def redirect(self, path: str, to: str, status: int = 302, *, endless: bool = False) -> str:
        """Redirect; the answer has no body, or one without end."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            _head(request, status, {"Location": to} if endless else {"Location": to, "Content-Length": "0"})
            while endless and not self.closing.is_set():
                request.wfile.write(bytes(1 << 20))

        return self._add(path, answer)

    def fail(self, path: str, status: int, times: int, then: bytes = b"", headers: dict[str, str] | None = None) -> str:
        """Answer with this status so many times, then serve `then`."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            if self.asked[path] <= times:
                _head(request, status, {"Content-Length": "0", **(headers or {})})
            else:
                _head(request, 200, {"Content-Type": "audio/mpeg", "Content-Length": str(len(then))})
                request.wfile.write(then)

        return self._add(path, answer)

    def _add(self, path: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
        self._answers[path] = answer
        return self.url(path)


def _head(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
