"""The server around a `Desk`: read-only, for whoever has the token, and for nobody who reaches it by another name."""

from __future__ import annotations

import asyncio
import hmac
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import duckdb
from aiohttp import web

from pipeline.contract import SilverError
from workflows.report.page import SERVED_POLICY, as_json
from workflows.serve.desk import Desk

HEADERS = {
    "Content-Security-Policy": SERVED_POLICY + "; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(desk: Desk, token: str, names: set[str]) -> web.Application:
    """Routes under `/TOKEN/`: the page, `segments`, `count`, `sound/KEY` (waveform) and `audio/KEY` (MP3, by range).

    A request whose Host is none of `names` is refused, or a page of another site could reach this one by a name that it makes point here (DNS
    rebinding).
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            if _name(request.host) not in names:
                raise web.HTTPForbidden(text="This server does not answer to that name: give it with --name.\n")
            if not hmac.compare_digest(request.path.partition("/")[2].partition("/")[0].encode(), token.encode()):
                raise web.HTTPForbidden(text="The token is wrong: take the whole address that `silver serve` printed.\n")
            response = await handler(request)
        except web.HTTPException as refusal:
            response = refusal
        except (ValueError, KeyError) as error:
            response = web.Response(status=404 if isinstance(error, KeyError) else 400, text=f"{error}\n")
        except (duckdb.Error, OSError) as error:
            response = web.Response(status=500, text=f"{error}\n")
        response.headers.update(HEADERS)
        return response

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(desk.page), content_type="text/html")

    async def segments(request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(desk.search, dict(request.query)))

    async def count(request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(desk.count, dict(request.query)))

    async def sound(request: web.Request) -> web.Response:
        audio, peaks, why = await asyncio.to_thread(desk.sound, request.match_info["key"])
        return _json({"peaks": peaks, "why": why, "audio": audio is not None})

    async def audio(request: web.Request) -> web.Response:
        data, _, why = await asyncio.to_thread(desk.sound, request.match_info["key"])
        return ranged(request, data, "audio/mpeg") if data is not None else web.Response(status=404, text=f"{why}\n")

    app = web.Application(middlewares=[guard])
    app.add_routes(
        [
            web.get("/{token}/", page),
            web.get("/{token}/segments", segments),
            web.get("/{token}/count", count),
            web.get("/{token}/sound/{key}", sound),
            web.get("/{token}/audio/{key}", audio),
        ]
    )
    return app


def ranged(request: web.Request, data: bytes, kind: str) -> web.Response:
    """Bytes, or the one range of them that is asked for (RFC 9110, 14)."""
    if "Range" not in request.headers:
        return web.Response(body=data, content_type=kind, headers={"Accept-Ranges": "bytes"})
    try:
        wanted = request.http_range
    except ValueError:
        wanted = slice(len(data), None)  # not to be had
    start, stop, _ = wanted.indices(len(data))
    if start >= stop:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
    told = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
    return web.Response(status=206, body=data[start:stop], content_type=kind, headers=told)


def serve(root: str, token: str, host: str, port: int, names: set[str], ready: Callable[[str], None]) -> None:
    """Serve until the process is told to stop. `ready` gets the address, with the token, when it can be opened.

    Raises:
        SilverError: host and port cannot be had.
    """
    asyncio.run(_serve(application(Desk(root), token, names | own_names(host)), token, host, port, ready))


def own_names(host: str) -> set[str]:
    """Names by which this machine may be asked."""
    names = {"localhost", "127.0.0.1", "::1", host.lower()}
    return names if host in ("127.0.0.1", "localhost", "::1") else names | {socket.gethostname().lower(), socket.getfqdn().lower()}


async def _serve(app: web.Application, token: str, host: str, port: int, ready: Callable[[str], None]) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SilverError(
                f"{host}:{port} cannot be had ({error.strerror or error}): give another --port, or --port 0 for any"
            ) from error
        ready(f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}/{token}/")
        await over.wait()
    finally:
        await runner.cleanup()


def _name(host: str) -> str:
    """The Host header without its port."""
    return host.lower().rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.lower().partition(":")[0]


def _json(value: Any) -> web.Response:
    return web.Response(text=as_json(value), content_type="application/json")
