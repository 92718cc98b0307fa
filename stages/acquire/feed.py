"""Podcast feeds (RSS, Atom). Feeds are hostile text: they are parsed from bytes in memory, and nothing in them is opened but over HTTP."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import Counter
from dataclasses import replace
from typing import Any
from xml.parsers import expat

from manifests.store import Store
from pipeline.contract import ItemError
from stages.acquire.http import Fetched, Fetcher, join, within
from stages.acquire.source import Candidate, Source, clean, estimated_seconds, extension

LARGEST_FEED = 64 << 20  # bytes
_LARGEST_REPAIRED = 4 << 20
"""Bytes up to which a feed may be malformed: feedparser repairs the text, at some four seconds a megabyte."""
_PARSER_ERRORS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, RecursionError)
"""What feedparser is known to raise about odd text (`&#xD800;` is a ValueError). It works in memory, so that is all they can mean."""


def read(url: str, store: Store, fetcher: Fetcher) -> list[Candidate]:
    """The episodes of a feed, in its order.

    Raises:
        ItemError: the feed cannot be fetched (reasons of `Fetcher.download`) or is no feed (`feed_failed`).
    """
    deadline = min(fetcher.deadline, 10 * fetcher.timeout)
    try:
        fetched = fetcher.read(url, LARGEST_FEED, deadline)
    except ItemError as error:
        raise ItemError("feed_failed" if error.reason == "download_failed" else error.reason, error.detail) from error
    episodes = within(deadline, lambda: parse(fetched, url), threading.Event(), fetcher.stop, url)
    return [_candidate(episode, size, store, fetcher) for episode, size in episodes]


def parse(fetched: Fetched, feed_url: str) -> list[tuple[Source, int]]:
    """What a feed says of its episodes, with the bytes it says they have; one without audio is a failed source (`no_enclosure`).

    Raises:
        ItemError: `feed_failed`.
    """
    import feedparser

    def refused(why: object) -> ItemError:
        return ItemError("feed_failed", f"{feed_url}: this is no RSS or Atom feed ({why}); it starts with {fetched.data[:60]!r}")

    if len(fetched.data) > _LARGEST_REPAIRED:
        try:
            expat.ParserCreate(namespace_separator=" ").Parse(fetched.data, True)
        except expat.ExpatError as error:
            raise refused(error) from error
    headers = {"content-location": fetched.url, "content-type": fetched.content_type}
    try:  # given bytes, feedparser would take them for the name of a file and open it: so it gets a stream
        tree = feedparser.parse(io.BytesIO(fetched.data), response_headers=headers, sanitize_html=False, resolve_relative_uris=False)
    except _PARSER_ERRORS as error:
        raise refused(error) from error
    if not tree.get("version"):
        raise refused(type(tree["bozo_exception"]).__name__ if tree.get("bozo_exception") else "nothing in it says so")
    names = Counter(entry.get("id") for entry in tree.entries)
    return [_episode(entry, tree.feed, index, feed_url, fetched.url, names) for index, entry in enumerate(tree.entries)]


def _episode(entry: Any, feed: Any, index: int, feed_url: str, base: str, names: Counter[str]) -> tuple[Source, int]:
    name = clean(entry.get("id") or entry.get("link") or entry.get("title") or index)
    about = {
        "version": _version(feed_url, entry) if names[entry.get("id")] == 1 else "",
        "title": entry.get("title"),
        "channel": feed.get("title"),
        "language": entry.get("language") or feed.get("language"),
        "licence": _licence(entry) or _licence(feed),
        "published": _iso(entry.get("published_parsed") or entry.get("updated_parsed")),
        "seconds": seconds(entry.get("itunes_duration")),
    }
    enclosure = _enclosure(entry)
    if enclosure is None:
        uri = f"{feed_url}#{name}"
        return Source(uri=uri, reason="no_enclosure", detail=f"the item {name!r} of {feed_url} names no audio", **about), 0
    size = str(enclosure.get("length") or enclosure.get("filesize") or "")
    try:
        uri = join(base, enclosure["href"])
    except ItemError as error:
        return Source(uri=f"{feed_url}#{name}", reason=error.reason, detail=error.detail, **about), 0
    return Source(uri=uri, **about), int(size) if size.isascii() and size.isdecimal() and len(size) < 14 else 0


def _version(feed_url: str, entry: Any) -> str:
    """The feed's own name of an item: hosts put tokens into addresses, which change. With its date: some names never change."""
    if not entry.get("id"):
        return ""
    return "guid:" + hashlib.sha256(f"{feed_url} {entry.id} {entry.get('published')}".encode(errors="replace")).hexdigest()[:32]


def _enclosure(entry: Any) -> Any | None:
    """The audio of an item: what is called audio, else video, else what has the name of either."""
    media = [{"href": item.get("url"), **item} for item in entry.get("media_content", [])]
    links = [link for link in [*entry.get("enclosures", []), *media] if link.get("href")]
    for kind in ("audio/", "video/"):
        for link in links:
            if str(link.get("type", "")).lower().startswith(kind):
                return link
    return next((link for link in links if extension(link["href"]) or not link.get("type")), None)


def _licence(node: Any) -> str | None:
    """`creativeCommons:license`, `<link rel="license">`, or the copyright line."""
    links = (link.get("href") for link in node.get("links", []) if link.get("rel") == "license")
    return clean(node.get("license") or next((href for href in links if href), None) or node.get("rights"))


def _iso(time: Any) -> str | None:
    """ISO 8601 of a UTC time tuple; by hand, because a feed may name the year 0."""
    return "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}Z".format(*time[:6]) if time else None


def seconds(duration: object) -> float:
    """Seconds of an `itunes:duration` (seconds, M:SS or H:MM:SS); 0 if it is none.

    >>> seconds("1:02:03"), seconds("90"), seconds("an hour")
    (3723.0, 90.0, 0.0)
    """
    total = 0.0
    for field in str(duration or "").strip().split(":"):
        try:
            total = total * 60 + float(field)
        except ValueError:
            return 0.0
    return total if 0 < total < 1e7 else 0.0


def _candidate(episode: Source, size: int, store: Store, fetcher: Fetcher) -> Candidate:
    def fetch() -> list[Source]:
        if episode.reason:
            return [episode]
        try:
            media = fetcher.download(store, episode.uri)
        except ItemError as error:  # the row keeps what the feed says of the episode
            return [replace(episode, reason=error.reason, detail=error.detail)]
        return [replace(episode, media=media, seconds=episode.seconds or estimated_seconds(extension(episode.uri), size))]

    return Candidate(uri=episode.uri, version=episode.version, channel=episode.channel, fetch=fetch)
