"""yt-dlp against a local server. No site of the real web is reached: what YouTube says comes from answers recorded in yt-dlp itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yt_dlp
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.youtube import YoutubeIE

from manifests.store import Store
from manifests.takedown import Takedown, add
from pipeline.contract import SilverError
from stages.acquire.ytdlp import source
from tests.acquiring import Acquired
from tests.webserver import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def page(web: WebServer, path: str, *audio: str) -> str:
    body = (
        "<html><head><title>Two talks</title></head><body>" + "".join(f"<audio src='{name}'></audio>" for name in audio) + "</body></html>"
    )
    return web.file(path, body.encode(), "text/html")


def test_a_direct_file_a_page_and_a_feed(tmp_path: Path, web: WebServer) -> None:
    for name in ("direct", "one", "two", "linked"):
        web.file(f"/{name}.mp3", name.encode())
    pages = page(web, "/page.html", "one.mp3", "/two.mp3")
    feed = web.file(
        "/feed.xml", f"""<rss version="2.0"><channel><title>F</title><item><title>L</title><guid>g</guid>
        <enclosure url="{web.url("/linked.mp3")}" type="audio/mpeg"/></item></channel></rss>""".encode(), "application/rss+xml",
    )  # fmt: skip
    corpus = Acquired(tmp_path, ytdlp=[web.url("/direct.mp3"), pages, feed], language="en")
    assert [corpus.media(row) for row in corpus.rows] == [b"direct", b"one", b"two", b"linked"]
    assert [row["source_uri"] for row in corpus.rows] == [
        web.url("/direct.mp3"),
        f"{pages}#{web.url('/one.mp3')}",
        f"{pages}#{web.url('/two.mp3')}",
        web.url("/linked.mp3"),
    ]
    assert corpus.rows[1]["channel"] == "Two talks"
    assert {row["language"] for row in corpus.rows} == {"en"}

    parts, asked = corpus.parts, dict(web.asked)
    corpus.again()
    assert corpus.parts == parts
    assert {path for path in web.asked if web.asked[path] > asked[path]} == {"/page.html", "/feed.xml"}  # lists alone, no audio


def test_a_page_with_more_audio_than_before_gives_the_new_alone(tmp_path: Path, web: WebServer) -> None:
    for name in ("one", "two", "three"):
        web.file(f"/{name}.mp3", name.encode())
    corpus = Acquired(tmp_path, ytdlp=[page(web, "/page.html", "one.mp3", "two.mp3")])
    before = corpus.parts
    page(web, "/page.html", "three.mp3", "one.mp3", "two.mp3")
    corpus.again()
    assert corpus.parts[: len(before)] == before
    assert [corpus.media(row) for row in corpus.rows] == [b"one", b"two", b"three"]
    assert web.asked["/one.mp3"] == 1


def test_pages_of_the_same_name_on_two_sites_are_not_taken_for_one(tmp_path: Path, web: WebServer) -> None:
    web.file("/a/x.mp3", b"a")
    web.file("/a/y.mp3", b"A")
    web.file("/b/x.mp3", b"b")
    web.file("/b/y.mp3", b"B")
    pages = [page(web, f"/{site}/talk.html", "x.mp3", "y.mp3") for site in "ab"]
    corpus = Acquired(tmp_path, ytdlp=[*pages, web.url("/a/x.mp3"), web.url("/b/x.mp3")])
    assert [corpus.media(row) for row in corpus.rows] == [b"a", b"A", b"b", b"B", b"a", b"b"]


def test_hostile_servers(tmp_path: Path, web: WebServer) -> None:
    (tmp_path / "secret.mp3").write_bytes(b"secret")
    web.file("/fine.mp3", b"fine")
    bad = {
        web.url("/missing.mp3"): "download_failed",
        web.redirect("/redirect.mp3", f"file://{tmp_path}/secret.mp3"): "download_failed",
        f"file://{tmp_path}/secret.mp3": "download_failed",
        web.file("/empty.html", b"<html><body>Nothing here</body></html>", "text/html"): "download_failed",
        web.drip("/drip.mp3"): "timeout",
        web.hang("/hang.mp3"): "timeout",
        web.cut_off("/cut.mp3", b"x" * 9000, 5000): "download_failed",
        web.file("/large.mp3", b"x" * 500_000): "too_large",
        "what is this": "download_failed",
    }
    corpus = Acquired(tmp_path, ytdlp=[*bad, web.url("/fine.mp3")], timeout=1, deadline=8, max_bytes=200_000)
    assert corpus.reasons == bad
    assert [corpus.media(row) for row in corpus.live] == [b"fine"]
    assert len([p for p in Path(corpus.store.path("sources")).rglob("*") if p.is_file()]) == 1
    assert not any("\x1b" in (row["drop_detail"] or "") for row in corpus.rows)


def test_nothing_that_a_site_says_gets_into_a_path(tmp_path: Path, web: WebServer) -> None:
    name = "/..%2f..%2f..%2fetc%2f$HOME%20%25(title)s;rm.mp3"
    web.file(name, b"x")
    corpus = Acquired(tmp_path, ytdlp=[web.url(name)])
    assert [corpus.media(row) for row in corpus.rows] == [b"x"]
    assert Path(corpus.store.path(corpus.rows[0]["media_uri"])).resolve().is_relative_to(Path(corpus.store.root) / "sources")


def test_cookies_are_sent_and_their_file_left_alone(tmp_path: Path, web: WebServer) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n")
    before = cookies.read_bytes()
    Acquired(tmp_path, ytdlp=web.file("/x.mp3", b"x"), cookies=str(cookies))
    assert any("session=secret" in headers.get("Cookie", "") for headers in web.headers)
    assert cookies.read_bytes() == before
    cookies.write_text("no cookies at all")
    with pytest.raises(SilverError, match=r"cookies\.txt"):
        Acquired(tmp_path, ytdlp=web.url("/y.mp3"), cookies=str(cookies))


def test_a_root_with_odd_characters(tmp_path: Path, web: WebServer) -> None:
    odd = tmp_path / "a %(id)s $HOME b"
    odd.mkdir()
    corpus = Acquired(odd, ytdlp=[web.file("/x.mp3", b"x")])
    assert [corpus.media(row) for row in corpus.rows] == [b"x"]


def test_what_youtube_says_is_kept_by_an_answer_recorded_in_yt_dlp() -> None:
    recorded = next(test["info_dict"] for test in YoutubeIE._TESTS if "Creative Commons" in test.get("info_dict", {}).get("license", ""))
    kept = source(recorded, f"https://www.youtube.com/watch?v={recorded['id']}", f"ytdlp:youtube {recorded['id']}", "sources/ab/x.webm")
    assert kept.title == "William Fisher, CopyrightX: Lecture 3.2, The Subject Matter of Copyright: Drama and choreography"
    assert (kept.channel, kept.published) == ("The Berkman Klein Center for Internet & Society", "2015-01-28T05:14:36Z")
    assert (kept.licence, kept.seconds) == ("Creative Commons Attribution license (reuse allowed)", 721.0)


class RecordedChannel(InfoExtractor):
    """Answers as YouTube's channel page does in yt-dlp: a list of tabs, each a list of references to videos."""

    IE_NAME = "youtube:tab"
    _VALID_URL = r"https://channel\.invalid/(?P<id>\w+)"

    def _real_extract(self, url: str) -> dict[str, Any]:
        name = self._match_id(url)
        if name == "home":
            return self.playlist_result(
                [self.url_result(f"https://channel.invalid/{tab}", RecordedChannel) for tab in ("videos", "broken")], "UC1", "Home"
            )
        if name == "broken":
            raise yt_dlp.utils.ExtractorError("this tab is gone", expected=True)
        videos = [self.url_result(f"https://video.invalid/{n}", RecordedVideo, str(n), f"Video {n}") for n in (1, 2, 3)]
        return self.playlist_result(videos, "UC1", "Videos", channel="The channel")


class RecordedVideo(InfoExtractor):
    IE_NAME = "youtube"
    _VALID_URL = r"https://video\.invalid/(?P<id>\w+)"
    _TESTS = ({"url": "https://video.invalid/1", "info_dict": {"id": "1", "ext": "m4a"}},)
    server = ""
    asked: ClassVar[list[str]] = []

    def _real_extract(self, url: str) -> dict[str, Any]:
        name = self._match_id(url)
        self.asked.append(name)
        if name == "2":
            raise AttributeError("a fault of the extractor")
        formats = [
            {"format_id": "18", "url": f"{self.server}/video.mp4", "ext": "mp4", "vcodec": "avc1", "acodec": "mp4a"},
            {"format_id": "140", "url": f"{self.server}/audio.m4a", "ext": "m4a", "vcodec": "none", "acodec": "mp4a", "abr": 128},
        ]
        return {
            "id": name,
            "title": f"Video {name}",
            "formats": formats,
            "license": "CC BY",
            "upload_date": "20240229",
            "language": "en-US",
            "duration": 60,
        }


def test_a_channel_by_recorded_answers_of_an_extractor(tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.file("/audio.m4a", b"audio", "audio/mp4")
    RecordedVideo.server = web.url("")
    original = yt_dlp.YoutubeDL.add_default_info_extractors

    def with_recorded(self: Any) -> None:
        self.add_info_extractor(RecordedChannel())
        self.add_info_extractor(RecordedVideo())
        original(self)

    monkeypatch.setattr(yt_dlp.YoutubeDL, "add_default_info_extractors", with_recorded)
    corpus = Acquired(tmp_path, ytdlp=["https://channel.invalid/home"], channel="not this")
    assert [(row["source_uri"], row["title"], row["channel"]) for row in corpus.live] == [
        ("https://video.invalid/1", "Video 1", "The channel"), ("https://video.invalid/3", "Video 3", "The channel"),
    ]  # fmt: skip
    first = corpus.live[0]
    assert (first["licence"], first["published"], first["language"]) == ("CC BY", "2024-02-29", "en-US")
    assert [corpus.media(row) for row in corpus.live] == [b"audio", b"audio"]
    details = {row["source_uri"]: row["drop_detail"] for row in corpus.rows if row["drop_reason"]}
    assert set(details) == {"https://video.invalid/2", "https://channel.invalid/home"}
    assert "this tab is gone" in details["https://channel.invalid/home"]

    RecordedVideo.asked.clear()
    parts = corpus.parts
    corpus.again()
    assert corpus.parts == parts
    assert set(RecordedVideo.asked) == {"2"}  # those that are there are not even asked for


def test_what_was_taken_down_is_not_downloaded(tmp_path: Path, web: WebServer) -> None:
    for name in ("one", "two"):
        web.file(f"/{name}.mp3", name.encode())
    address = page(web, "/page.html", "one.mp3", "two.mp3")
    add(Store(str(tmp_path / "corpus")), Takedown("channel", "two  TALKS", "asked by mail", "2026-01-01"))
    corpus = Acquired(tmp_path, ytdlp=[address])
    assert list(corpus.reasons.values()) == ["taken_down"] * 2
    assert not (tmp_path / "corpus/sources").exists()
