"""Where the audio comes from: folders, web addresses, podcast feeds, and all that yt-dlp reads.

One file a kind of source lists candidates and knows how to fetch one; this file decides which are new, fetches them on a few
threads, and makes rows of them. Nothing that another stage may ask for is decided here: a file that is no audio after all is
found out by `decode`.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import fsspec
import pyarrow as pa
from pydantic import Field, field_validator

from manifests.part import PartRef, read_part, to_table
from manifests.schema import ROW, Row, extend, source_id
from manifests.takedown import TAKEN_DOWN, Requests, read_takedowns
from pipeline.contract import CorpusContext, CorpusStage, ItemError, SilverError, StageParams, operational
from stages.acquire import feed, folder, ytdlp
from stages.acquire.http import Fetcher
from stages.acquire.record import Record
from stages.acquire.source import AUDIO, VIDEO, Candidate, Source, clean, estimated_seconds, extension, language

T = TypeVar("T")
R = TypeVar("R")

USER_AGENT = "silver/0.1 (builds speech corpora)"


class Acquire(CorpusStage):
    """Finds recordings in folders, on the web, in podcast feeds and through yt-dlp; fetches what is new.

    A source that fails is a dropped row with its reason, and is tried again in the next run. A source that was acquired is never
    fetched again. A file of a folder that changed becomes a new source, and the old row is dropped as `superseded`.

    The same address listed twice in one crawl (an episode in two feeds) is one source: a second row would have the same identity,
    so it is counted in the report and not in the manifest.
    """

    name, version = "acquire", "1"
    adds = pa.schema([("media_uri", pa.string()), ("media_version", pa.string()), ("text_source", pa.string())])
    packages = ("yt-dlp", "feedparser", "requests")
    light = True

    class Params(StageParams):
        """Sources, which may be combined; what is true of all of them; and manners."""

        path: str | None = operational(
            None, "a folder (searched recursively), file or glob with audio or video; a path or a URI (s3://...)"
        )
        urls: tuple[str, ...] = operational((), "addresses of audio files (http, https)")
        urls_file: str | None = operational(None, "a text file with one such address a line; # starts a comment line")
        feeds: tuple[str, ...] = operational((), "addresses of podcast feeds (RSS, Atom)")
        ytdlp: tuple[str, ...] = operational((), "whatever yt-dlp reads: a channel, playlist, video or page")
        language: str | None = Field(
            None,
            description="expected language (BCP 47) of every source; without it, what the source says of itself (hosts of podcasts say en-us by default)",
        )
        licence: str | None = Field(None, description="licence of sources that do not say theirs")
        channel: str | None = Field(None, description="channel of sources that do not say theirs; else the folder they lie in")
        limit: int | None = operational(None, "new sources to acquire at most in one run", ge=0)
        workers: int = operational(8, "transfers at the same time", ge=1, le=64)
        delay: float = operational(0.5, "seconds between two requests to the same host", ge=0)
        retries: int = operational(3, "further attempts after a failure that may pass", ge=0, le=20)
        timeout: float = operational(30.0, "seconds to wait for a connection, and for each answer", gt=0)
        deadline: float = operational(3600.0, "seconds that one transfer may take in all", gt=0)
        max_bytes: int = operational(4 << 30, "largest file that is downloaded, in bytes", ge=1)
        user_agent: str = operational(USER_AGENT, "how requests introduce themselves; put a contact address in it")
        ratelimit: int | None = operational(None, "yt-dlp: bytes a second at most, for one transfer", ge=1)
        sleep_interval: float = operational(0.0, "yt-dlp: seconds before each download", ge=0)
        cookies: str | None = operational(None, "yt-dlp: a cookies.txt file (Netscape format) for sites that want a login")

        @field_validator("urls", "feeds", "ytdlp", mode="before")
        @classmethod
        def _one_or_many(cls, value: object) -> object:
            """A single address need not be written as a list."""
            return (value,) if isinstance(value, str) else value

    params: Params

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Yield the parts of earlier runs, then new ones in the order of the lists, then what failed."""
        del parts  # the first stage
        params = self.params
        if not (params.path or params.urls or params.urls_file or params.feeds or params.ytdlp):
            raise SilverError("acquire: no source is set; set acquire.path=FOLDER, or acquire.urls, urls_file, feeds or ytdlp")
        schema = extend(ROW, self.adds)
        ignored: Counter[str] = Counter()
        record = Record.read(context.store, self.name, context.previous)
        folders: set[str] = set()
        files = list(folder.scan(params.path, context.store, ignored, folders)) if params.path else []
        changed = {file.uri for file in files if file.version and file.uri in record.uris and not record.knows(file)}
        yield from record.earlier({file.uri: (file.version, source_id(file.uri, file.version)) for file in files if file.version})

        requests = Requests(tuple(read_takedowns(context.store)))
        crawl = _Crawl(record, params.workers, params.limit, changed, requests, params.channel, read=folders)
        group: list[Source] = []
        files.sort(key=lambda file: file.uri not in changed)
        for source in crawl.run([lambda: files, *self._lists(context, crawl)]):
            group.append(source)
            if sum(member.seconds for member in group) >= context.part_seconds:
                yield to_table([self._row(member) for member in group], schema)
                context.report(crawl.summary())
                group = []
        if group:
            yield to_table([self._row(member) for member in group], schema)
        yield from self._failures(crawl, record, schema)
        skipped = f"; not audio: {', '.join(f'{count} {kind}' for kind, count in ignored.most_common(5))}" if ignored else ""
        if not (record.kept or crawl.new or crawl.failures or record.failures):
            raise SilverError(f"acquire: no audio found{skipped}; known are the extensions {' '.join(sorted(AUDIO | VIDEO))}")
        context.report(crawl.summary() + skipped)

    def _lists(self, context: CorpusContext, crawl: _Crawl) -> Iterator[Callable[[], Iterable[Candidate]]]:
        """Each list of candidates, not yet read."""
        params, store = self.params, context.store
        fetcher = Fetcher(
            params.user_agent, params.delay, params.retries, params.timeout, params.deadline, params.max_bytes, stop=crawl.stop
        )  # fmt: skip
        addresses = [*params.urls, *_lines(params.urls_file)]
        yield lambda: [Candidate(uri=url, channel=params.channel, fetch=partial(_download, url, context, fetcher)) for url in addresses]
        for url in params.feeds:
            yield partial(crawl.listed, url, partial(feed.read, url, store, fetcher))
        cookies = ytdlp.read_cookies(params.cookies) if params.ytdlp and params.cookies else None
        options = ytdlp.Options(params.ratelimit, params.sleep_interval, cookies, crawl.requests)
        for url in params.ytdlp:
            if url in crawl.record.uris:  # a single video, and it is there
                crawl.known += 1
                continue
            yield partial(crawl.listed, url, partial(ytdlp.read, url, store, fetcher, options))

    def _failures(self, crawl: _Crawl, record: Record, schema: pa.Schema) -> Iterator[PartRef | pa.Table]:
        """One part of what failed; and of what failed earlier and was not tried now, so that it is not lost."""
        rows = {uri: row for uri, row in record.failures.items() if uri not in crawl.tried | crawl.read | record.uris}
        rows |= {uri: self._row(source) for uri, source in crawl.failures.items()}
        if not rows:
            return
        table = to_table([rows[uri] for uri in sorted(rows)], schema)
        same = (ref for ref in record.failed_parts if read_part(record.store, ref).equals(table))
        yield next(same, table)

    def _row(self, source: Source) -> Row:
        params = self.params
        return {
            "source_id": source.source_id,
            "source_uri": source.uri,
            "title": clean(source.title),
            "channel": clean(source.channel or params.channel or source.folder),
            "language": params.language or language(source.language),
            "licence": clean(source.licence or params.licence),
            "published": source.published,
            "media_uri": source.media,
            "media_version": source.version,
            "text_source": source.text,
            "drop_stage": self.name if source.reason else None,
            "drop_reason": source.reason,
            "drop_detail": clean(source.detail),
        }


@dataclass
class _Crawl:
    """Fetches new candidates on a few threads. What comes out does not depend on which thread was faster."""

    record: Record
    workers: int
    limit: int | None
    changed: set[str]
    """Files that take the place of an older version. They come first and beside the limit, or the old would leave without the new."""
    requests: Requests
    """What was taken down is not fetched."""
    channel: str | None
    """Of sources that do not say theirs."""
    stop: threading.Event = field(default_factory=threading.Event)
    failures: dict[str, Source] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)  # candidates
    read: set[str] = field(default_factory=set)  # lists
    new: int = 0
    known: int = 0
    twice: int = 0

    def run(self, lists: Sequence[Callable[[], Iterable[Candidate]]]) -> Iterator[Source]:
        """The new sources, in the order of the lists. Failures are collected aside."""
        acquired: set[str] = set()
        with self._pool() as listing, self._pool() as fetching:
            candidates = self._fresh(chain.from_iterable(_ordered(listing, _read, lists, lambda waiting: 2 * self.workers - waiting)))
            for sources in _ordered(fetching, partial(_attempt, self.requests, self.channel), candidates, self._room):
                for source in sources:
                    if source.reason:
                        self.failures.setdefault(source.uri, source)
                    elif source.uri in acquired or (source.uri in self.record.uris and source.uri not in self.changed):
                        self.twice += 1
                    else:
                        acquired.add(source.uri)
                        self.new += 1
                        yield source

    def listed(self, url: str, read: Callable[[], list[Candidate]]) -> list[Candidate]:
        """The candidates of a list that is itself fetched; where that fails, the list is what failed."""
        try:
            candidates = read()
        except ItemError as error:
            failed = Source(uri=url, reason=error.reason, detail=error.detail)
            return [Candidate(uri=url, fetch=lambda: [failed])]
        self.read.add(url)
        return candidates

    def summary(self) -> str:
        """How far it is, in one line."""
        twice = f", {self.twice} listed twice" if self.twice else ""
        return f"{self.new} new sources, {self.known} known{twice}, {len(self.failures)} failed"

    def _fresh(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Those that are in no earlier part and were not in this crawl before."""
        for candidate in candidates:
            if self.record.knows(candidate):
                self.known += 1
            elif candidate.uri in self.tried:
                self.twice += 1
            else:
                self.tried.add(candidate.uri)
                yield candidate

    def _room(self, waiting: int) -> int:
        """How many more transfers may be started."""
        room = 4 * self.workers - waiting
        return room if self.limit is None else min(room, self.limit + len(self.changed) - self.new - waiting)

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that end at once when the crawl does, finished or not."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            yield pool
        finally:
            self.stop.set()
            pool.shutdown(cancel_futures=True)


def _ordered(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], room: Callable[[int], int]) -> Iterator[R]:
    """The results in the order of the items. `room` says how many more may be started while so many are waited for."""
    waiting: deque[Future[R]] = deque()
    rest = iter(items)
    while True:
        for item in islice(rest, max(0, room(len(waiting)))):
            waiting.append(pool.submit(work, item))
        if not waiting:
            return
        yield waiting.popleft().result()


def _read(read: Callable[[], Iterable[Candidate]]) -> Iterable[Candidate]:
    return read()


def _attempt(requests: Requests, channel: str | None, candidate: Candidate) -> list[Source]:
    if gone := requests.match({"source_uri": candidate.uri, "channel": candidate.channel}):
        return [Source(uri=candidate.uri, reason=TAKEN_DOWN, detail=gone.told)]
    try:
        return [_unless_taken_down(requests, channel, source) for source in candidate.fetch()]
    except ItemError as error:
        return [Source(uri=candidate.uri, reason=error.reason, detail=error.detail)]


def _unless_taken_down(requests: Requests, channel: str | None, source: Source) -> Source:
    """A page may hold what was taken down, and a file may say only inside whose it is."""
    gone = (
        None if source.reason else requests.match({"source_uri": source.uri, "channel": clean(source.channel or channel or source.folder)})
    )
    return Source(uri=source.uri, reason=TAKEN_DOWN, detail=gone.told) if gone else source


def _download(url: str, context: CorpusContext, fetcher: Fetcher) -> list[Source]:
    media = fetcher.download(context.store, url)
    size = context.store.fs.size(context.store.path(media)) or 0
    return [Source(uri=url, media=media, seconds=estimated_seconds(extension(url), size))]


def _lines(path: str | None) -> list[str]:
    """The addresses in a text file."""
    if path is None:
        return []
    try:
        with fsspec.open(path, "rb") as file:
            text = file.read().decode("utf-8-sig", errors="backslashreplace")
    except OSError as error:
        raise SilverError(
            f"acquire: {path} cannot be read ({error.strerror or error}); acquire.urls_file is a text file with one address a line"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
