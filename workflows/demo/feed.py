"""The episodes as podcasts: one RSS feed a language, served from 127.0.0.1."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from workflows.demo.episodes import Episode

TYPES = {".mp3": "audio/mpeg", ".opus": "audio/ogg", ".m4a": "audio/mp4"}
LICENCE = "https://creativecommons.org/licenses/by-sa/3.0/"


def write_feeds(folder: Path, episodes: Sequence[Episode], address: str) -> list[str]:
    """One RSS 2.0 feed a language beside the episodes, for a folder that is served at `address`; their names."""
    names = []
    for language in sorted({episode.language for episode in episodes}):
        items = "".join(_item(episode, number, address) for number, episode in enumerate(episodes) if episode.language == language)
        names.append(f"{language}.xml")
        (folder / names[-1]).write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
            'xmlns:creativeCommons="http://backend.userland.com/creativeCommonsRssModule"><channel>\n'
            f"<title>Voice prompts ({language})</title><language>{language}</language><link>https://www.asterisk.org/</link>"
            "<description>Recorded prompts of a telephone exchange, one after the other</description>"
            "<itunes:author>Asterisk core sounds</itunes:author><itunes:explicit>false</itunes:explicit>"
            f"<creativeCommons:license>{LICENCE}</creativeCommons:license>\n{items}</channel></rss>\n",
            encoding="utf-8",
        )
    return names


def _item(episode: Episode, number: int, address: str) -> str:
    url, length = quoteattr(f"{address}/{episode.path.name}"), episode.path.stat().st_size
    enclosure = f"<enclosure url={url} length='{length}' type='{TYPES[episode.path.suffix]}'/>"
    return (
        f"<item><title>{escape(episode.title)}</title><guid isPermaLink='false'>{episode.path.name}</guid>"
        f"<pubDate>{formatdate(1767225600 + number * 86400)}</pubDate><itunes:duration>{episode.seconds:.0f}</itunes:duration>{enclosure}</item>\n"
    )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder; yields its address. Port 0: any that is free."""
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
