"""All that yt-dlp reads: YouTube and 1,800 other sites; channels, playlists, pages.

A list is read without visiting its entries, so that what is in the record already costs nothing (yt-dlp's download archive does the
same; here the manifest is the archive). Text that comes back is hostile: no name of a site, a title or a file gets into a path.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from manifests.store import Store
from manifests.takedown import NOTHING, TAKEN_DOWN, Requests
from pipeline.contract import ItemError, SilverError
from stages.acquire.http import Fetcher, within
from stages.acquire.source import Candidate, Source, download_path, estimated_seconds, extension

_DEEPEST = 4
"""Lists in lists: a channel has tabs, a tab has playlists, a playlist has videos."""


@dataclass(frozen=True)
class Options:
    """What is passed on to yt-dlp beside the crawl's own manners."""

    ratelimit: int | None = None  # bytes a second
    sleep_interval: float = 0.0  # seconds before each download
    cookies: str | None = None  # the text of a Netscape cookies.txt
    requests: Requests = NOTHING  # what was taken down is not downloaded


def read_cookies(path: str) -> str:
    """The text of a cookies file, checked. yt-dlp gets a copy: it would write to the file, from several threads.

    Raises:
        SilverError: the file cannot be read, or is none.
    """
    from yt_dlp.cookies import YoutubeDLCookieJar

    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        YoutubeDLCookieJar(io.StringIO(text)).load()
    except (OSError, ValueError) as error:  # LoadError is an OSError
        raise SilverError(f"acquire: {path} cannot be read as cookies ({error}); export them in Netscape format (cookies.txt)") from error
    return text


def read(url: str, store: Store, fetcher: Fetcher, options: Options) -> list[Candidate]:
    """What is behind an address, in the order of the site.

    Raises:
        ItemError: `download_failed` with what yt-dlp says, `timeout`.
    """
    fetcher.wait_turn(url)
    given_up = threading.Event()

    def work() -> list[Candidate]:
        with _ytdlp(fetcher, options, given_up) as ydl:
            found = ydl.ask(lambda: ydl.tool.extract_info(url, download=False), url)
            problems = list(ydl.errors)
            candidates = []
            for uri, version, info, extra in _flatten(ydl, found, url, _DEEPEST, problems):
                fetch = partial(_fetch_within, uri, version, info, extra, store, fetcher, options)
                candidates.append(Candidate(uri=uri, version=version, fetch=fetch))
        if problems:  # the list is not whole: what was read of it counts, and it is tried again
            failed = Source(
                uri=url, reason="download_failed", detail=f"{url}: {len(problems)} entries not read: {plain_error(problems[0])}"
            )
            candidates.append(Candidate(uri=url, fetch=lambda: [failed]))
        return candidates

    return within(fetcher.deadline, work, given_up, fetcher.stop, url)


def _flatten(ydl: _YtDlp, found: Any, url: str, depth: int, problems: list[str]) -> Iterator[tuple[str, str, Any, Any]]:
    """(address, name in the archive, what yt-dlp knows, what the list adds) of each video. `problems` collects what was not read."""
    if "entries" not in found:
        address = _address(found, url)
        yield address, _archive_id(ydl.tool, found, address), found, {}
        return
    page = found.get("webpage_url") or url
    extra = {f"playlist_{key}": found.get(key) for key in ("title", "channel", "uploader") if found.get(key)}
    for index, entry in enumerate(found["entries"], 1):
        if not entry:  # it failed, which ydl.errors holds
            continue
        if "entries" in entry:
            yield from _flatten(ydl, entry, page, depth, problems)
        elif entry.get("_type", "video") == "video":
            # Several videos in one page: the page alone does not name them, and neither does a number, which moves with the next one.
            address = _address(entry, page)
            if address == page:
                numbered = entry.get("extractor_key") in {"Generic", "HTML5MediaEmbed"}
                address = f"{page}#{(entry.get('url') if numbered else entry.get('id')) or index}"
            yield address, _archive_id(ydl.tool, entry, address), entry, extra
        else:
            extractor = ydl.tool.get_info_extractor(entry["ie_key"]) if entry.get("ie_key") else None
            reference = dict(entry) if extractor else entry | {"url": urljoin(page, entry["url"])}
            address = plain_address(reference["url"])
            if depth and extractor and extractor.ie_key() != "Generic" and not extractor.is_single_video(address):
                try:  # a list in the list: the tabs of a channel
                    inner = ydl.ask(partial(ydl.tool.extract_info, reference["url"], download=False, ie_key=reference["ie_key"]), address)
                    problems += ydl.errors
                    yield from _flatten(ydl, inner, address, depth - 1, problems)
                except ItemError as error:
                    problems.append(error.detail)
            else:
                yield address, _archive_id(ydl.tool, reference, address), reference, extra


def _address(info: Any, otherwise: str) -> str:
    return plain_address(info.get("webpage_url") or otherwise)


def plain_address(url: str) -> str:
    """The address without what extractors of yt-dlp tell one another behind its end."""
    import yt_dlp

    return str(yt_dlp.utils.unsmuggle_url(url)[0])


def _archive_id(tool: Any, info: Any, address: str) -> str:
    """yt-dlp's own name of a video (`youtube dQw4w9WgXcQ`), if it is of a site that yt-dlp knows; else it is but a file's name."""
    key = info.get("extractor_key") or info.get("ie_key")
    if key and tool.get_info_extractor(key).suitable(address) and key != "Generic":
        return f"ytdlp:{tool._make_archive_id(info)}"  # noqa: SLF001 - the name that its archive files hold
    return f"ytdlp:{hashlib.sha256(address.encode(errors='surrogateescape')).hexdigest()[:32]}"


def _fetch_within(uri: str, version: str, info: Any, extra: Any, store: Store, fetcher: Fetcher, options: Options) -> list[Source]:
    fetcher.wait_turn(uri)
    given_up = threading.Event()

    def work() -> list[Source]:
        with _ytdlp(fetcher, options, given_up) as ydl:
            return _fetch(ydl, uri, version, info, extra, store)

    return within(fetcher.deadline, work, given_up, fetcher.stop, uri)


def _fetch(ydl: _YtDlp, uri: str, version: str, info: Any, extra: Any, store: Store) -> list[Source]:
    """One video; or several, where the address turns out to be a page that holds several."""
    ydl.tool.params["extract_flat"] = False
    found = ydl.ask(lambda: ydl.tool.process_ie_result(dict(info), download=False, extra_info=dict(extra)), uri)
    if "entries" not in found:
        address = uri if "#" in uri else _address(found, uri)
        return [source(found, address, version, _download(ydl, found, address, store))]
    problems = list(ydl.errors)
    sources = []
    for address, _, video, _ in _flatten(ydl, found, uri, 0, problems):
        try:
            sources.append(source(video, address, version, _download(ydl, video, address, store)))
        except ItemError as error:
            sources.append(Source(uri=address, reason=error.reason, detail=error.detail))
    if problems or not sources:
        detail = plain_error(problems[0]) if problems else "it holds nothing to download"
        sources.append(Source(uri=uri, reason="download_failed", detail=f"{uri}: {detail}"))
    return sources


def source(info: Any, uri: str, version: str, media: str) -> Source:
    """What yt-dlp says of a video, as a source."""
    stamp, day = info.get("release_timestamp") or info.get("timestamp"), str(info.get("release_date") or info.get("upload_date") or "")
    published = None
    if isinstance(stamp, int | float) and 0 < stamp < 4e9:
        published = datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    elif re.fullmatch(r"[0-9]{8}", day):
        published = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    size = info.get("filesize") or info.get("filesize_approx") or 0
    return Source(
        uri=uri,
        media=media,
        version=version,
        seconds=float(info.get("duration") or 0) or estimated_seconds(extension(media), int(size)),
        title=info.get("title"),
        channel=_channel(info),
        language=info.get("language"),
        licence=info.get("license"),
        published=published,
    )


def _channel(info: Any) -> str | None:
    return next((info[key] for key in ("channel", "uploader", "creator", "playlist_channel", "playlist_title") if info.get(key)), None)


def _download(ydl: _YtDlp, video: Any, uri: str, store: Store) -> str:
    if gone := ydl.requests.match({"source_uri": uri, "channel": _channel(video)}):
        raise ItemError(TAKEN_DOWN, gone.told)
    if video.get("live_status") in {"is_live", "is_upcoming", "post_live"} or video.get("is_live"):
        raise ItemError("live", f"{uri}: a live stream that has not ended; the next run tries again")
    path = download_path(uri, extension(f"x.{video.get('ext')}"))
    if store.exists(path):
        return path
    with store.staged(path) as temporary:
        # Not by a template: yt-dlp would expand `%` and `$` in the name of the corpus root.
        ydl.tool.prepare_filename = lambda *_arguments, **_options: str(temporary)
        ydl.ask(lambda: ydl.tool.process_ie_result(video, download=True), uri)
        if ydl.errors or not temporary.exists() or not temporary.stat().st_size:
            raise ydl.failure(uri)
    return path


@dataclass
class _YtDlp:
    """yt-dlp, with its errors collected: it has a thousand authors, and says what went wrong only in words."""

    fetcher: Fetcher
    given_up: threading.Event
    requests: Requests
    tool: Any = None
    errors: list[str] = field(default_factory=list)

    def ask(self, call: Any, uri: str) -> Any:
        """The result of a call. Raises ItemError where there is none."""
        import yt_dlp

        self.errors.clear()
        try:
            result = call()
        except yt_dlp.utils.DownloadCancelled as error:  # by `progress`, the only one that does
            raise ItemError(getattr(error, "reason", "download_failed"), f"{uri}: {error.msg}") from error
        except yt_dlp.utils.DownloadError as error:
            self.errors.append(str(error))
            result = None
        if result is None:
            raise self.failure(uri)
        return result

    def failure(self, uri: str) -> ItemError:
        """The first error."""
        message = plain_error(self.errors[0]) if self.errors else "no data came"
        return ItemError("timeout" if "timed out" in message else "download_failed", f"{uri}: yt-dlp: {message}")

    def progress(self, status: Any) -> None:
        """Hook of yt-dlp, called between blocks."""
        import yt_dlp

        size = max(status.get("downloaded_bytes") or 0, status.get("total_bytes") or 0)
        if size > self.fetcher.max_bytes or self.given_up.is_set():
            error = yt_dlp.utils.DownloadCancelled(
                "given up" if self.given_up.is_set() else f"larger than {self.fetcher.max_bytes:,} bytes"
            )
            error.reason = "timeout" if self.given_up.is_set() else "too_large"
            raise error

    # The logger of yt-dlp: what is not an error is not wanted.
    def debug(self, message: str) -> None:
        pass

    info = warning = debug

    def error(self, message: str) -> None:
        self.errors.append(message)


def plain_error(message: str) -> str:
    """An error of yt-dlp without colours and without advice where to report it."""
    return re.sub(r"\x1b\[[0-9;]*m|^ERROR: |; please report this issue.*|\s*\(caused by .*", "", message, flags=re.DOTALL).strip()


@contextmanager
def _ytdlp(fetcher: Fetcher, options: Options, given_up: threading.Event) -> Iterator[_YtDlp]:
    """yt-dlp, set up for one question: it is not made for threads, so none share one."""
    import yt_dlp

    ours = _YtDlp(fetcher, given_up, options.requests)
    parameters = {
        "format": "bestaudio/best",
        "logger": ours,
        "progress_hooks": [ours.progress],
        "ignoreerrors": True,  # a fault of an extractor becomes an error of its item, told to the logger
        "enable_file_urls": False,
        "extract_flat": "in_playlist",
        "quiet": True,
        "noprogress": True,
        "fixup": "never",
        "nopart": True,
        "continuedl": False,
        "overwrites": True,
        "updatetime": False,
        "retries": fetcher.retries,
        "fragment_retries": fetcher.retries,
        "extractor_retries": fetcher.retries,
        "socket_timeout": fetcher.timeout,
        "ratelimit": options.ratelimit,
        "sleep_interval": options.sleep_interval,
        "sleep_interval_requests": fetcher.delay,
        "cookiefile": io.StringIO(options.cookies) if options.cookies else None,
        "http_headers": {"User-Agent": fetcher.user_agent} if fetcher.user_agent else {},
    }
    with yt_dlp.YoutubeDL(parameters) as ours.tool:
        yield ours
