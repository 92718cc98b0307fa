"""Podcast feeds, good ones and hostile ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.store import Store
from manifests.takedown import Takedown, add
from tests.acquiring import Acquired
from tests.webserver import WebServer

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:creativeCommons="http://backend.userland.com/creativeCommonsRssModule">
<channel><title>Das &amp; Dies</title><language>de-DE</language><copyright>All rights reserved</copyright>{items}</channel></rss>"""
EPISODE = """<item><title>{title}</title><guid>{guid}</guid><pubDate>Tue, 05 Mar 2024 06:30:00 +0100</pubDate>{more}
<enclosure url="{url}" type="audio/mpeg" length="160000"/></item>"""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def rss(*items: str) -> bytes:
    return RSS.format(items="".join(items)).encode()


def episode(url: str, title: str = "One", guid: str = "1", more: str = "") -> str:
    return EPISODE.format(url=url, title=title, guid=guid, more=more)


def feed(web: WebServer, body: bytes, path: str = "/feed.xml") -> str:
    return web.file(path, body, "application/rss+xml")


def test_what_a_feed_says_is_kept(tmp_path: Path, web: WebServer) -> None:
    web.file("/audio/1.mp3", b"one")
    cc = "<creativeCommons:license>https://creativecommons.org/licenses/by/4.0/</creativeCommons:license>"
    episodes = [episode("../audio/1.mp3", "Über &lt;alles&gt;", "a", f"<itunes:duration>1:01:01</itunes:duration>{cc}")]
    web.file("/two.ogg", b"two")
    episodes.append(episode(web.url("/two.ogg"), "Two", "b"))
    corpus = Acquired(tmp_path, feeds=[feed(web, rss(*episodes), "/shows/feed.xml")], channel="not this")
    first, second = corpus.rows
    assert (first["title"], first["channel"], first["language"]) == ("Über <alles>", "Das & Dies", "de-DE")
    assert (first["published"], first["licence"]) == ("2024-03-05T05:30:00Z", "https://creativecommons.org/licenses/by/4.0/")
    assert (first["source_uri"], corpus.media(first)) == (web.url("/audio/1.mp3"), b"one")
    assert (second["licence"], corpus.media(second)) == ("All rights reserved", b"two")


def test_durations_of_a_feed_decide_the_parts_before_anything_is_decoded(tmp_path: Path, web: WebServer) -> None:
    episodes = [episode(web.file(f"/{n}.mp3", b"x"), str(n), str(n), "<itunes:duration>00:05:00</itunes:duration>") for n in range(5)]
    corpus = Acquired(tmp_path, part_minutes=10, feeds=[feed(web, rss(*episodes))])
    assert [ref.counts.rows for ref in corpus.parts] == [2, 2, 1]
    assert [row["title"] for row in corpus.rows] == ["0", "1", "2", "3", "4"]


def test_atom_and_media_rss(tmp_path: Path, web: WebServer) -> None:
    web.file("/a.mp3", b"a")
    web.file("/b.m4a", b"b")
    atom = f"""<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="nl"><title>Radio</title><rights>CC BY</rights>
    <entry><id>tag:1</id><title>Atom</title><updated>2023-01-02T03:04:05Z</updated><link rel="license" href="https://l.example/"/>
    <link rel="enclosure" type="audio/mpeg" href="{web.url("/a.mp3")}"/></entry></feed>"""
    media = f"""<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel><title>M</title><item><title>Media</title>
    <media:content url="{web.url("/cover.jpg")}" type="image/jpeg"/><media:content url="{web.url("/b.m4a")}" type="audio/mp4"/></item></channel></rss>"""
    corpus = Acquired(tmp_path, feeds=[feed(web, atom.encode(), "/atom"), feed(web, media.encode(), "/media")])
    assert [(row["title"], row["channel"], corpus.media(row)) for row in corpus.rows] == [("Atom", "Radio", b"a"), ("Media", "M", b"b")]
    assert (corpus.rows[0]["licence"], corpus.rows[0]["published"]) == ("https://l.example/", "2023-01-02T03:04:05Z")


def test_new_episodes_make_new_parts_and_changed_tokens_do_not(tmp_path: Path, web: WebServer) -> None:
    old = episode(web.file("/1.mp3?token=a", b"1"), "One", "id-1")
    corpus = Acquired(tmp_path, feeds=[feed(web, rss(old))])
    before = corpus.parts
    moved = episode(web.file("/1.mp3?token=b", b"1"), "One", "id-1")
    feed(web, rss(episode(web.file("/2.mp3", b"2"), "Two", "id-2"), moved))
    corpus.again()
    assert corpus.parts[: len(before)] == before
    assert [row["title"] for row in corpus.rows] == ["One", "Two"]
    assert web.asked["/1.mp3?token=b"] == 0


def test_a_feed_that_calls_all_its_items_the_same_loses_none(tmp_path: Path, web: WebServer) -> None:
    items = [episode(web.file(f"/{n}.mp3", b"x"), str(n), "https://example.org/") for n in range(3)]
    corpus = Acquired(tmp_path, feeds=[feed(web, rss(*items[:1]))])
    feed(web, rss(*items))
    assert [row["title"] for row in corpus.again()] == ["0", "1", "2"]


def test_the_same_episode_in_two_feeds_is_one_source(tmp_path: Path, web: WebServer) -> None:
    item = episode(web.file("/1.mp3", b"1"))
    corpus = Acquired(tmp_path, feeds=[feed(web, rss(item), "/a"), feed(web, rss(item), "/b")])
    assert len(corpus.rows) == 1
    assert "1 listed twice" in corpus.said


def test_an_item_without_audio_is_dropped_not_forgotten(tmp_path: Path, web: WebServer) -> None:
    url = feed(web, rss("<item><title>A letter</title><guid isPermaLink='false'>x/y z</guid></item>", episode(web.file("/1.mp3", b"1"))))
    corpus = Acquired(tmp_path, feeds=[url])
    assert corpus.reasons == {f"{url}#x/y z": "no_enclosure"}
    assert [row["title"] for row in corpus.rows if row["drop_reason"]] == ["A letter"]
    parts = corpus.parts
    corpus.again()
    assert corpus.parts == parts


def test_an_episode_that_fails_keeps_its_title_and_is_tried_again(tmp_path: Path, web: WebServer) -> None:
    corpus = Acquired(tmp_path, feeds=[feed(web, rss(episode(web.url("/1.mp3"), "Later")))])
    assert [(row["title"], row["drop_reason"]) for row in corpus.rows] == [("Later", "download_failed")]
    web.file("/1.mp3", b"1")
    assert [(row["title"], row["drop_reason"]) for row in corpus.again()] == [("Later", None)]


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Hello</body></html>", b"", b"\x00\xff\xfe garbage \x80" * 100, b"/etc/passwd",
        b'{"version": "https://jsonfeed.org/version/1"}',
    ],
)  # fmt: skip
def test_what_is_no_feed_is_a_failed_source(tmp_path: Path, web: WebServer, body: bytes) -> None:
    url = web.file("/feed.xml", body, "text/html")
    corpus = Acquired(tmp_path, feeds=[url])
    assert corpus.reasons == {url: "feed_failed"}


def test_feeds_that_cannot_be_fetched_do_not_stop_the_others(tmp_path: Path, web: WebServer) -> None:
    bad = {
        web.hang("/hang"): "timeout", web.drip("/drip"): "timeout", web.cut_off("/cut", rss(episode("/1.mp3")), 200): "truncated",
        web.redirect("/file", "file:///etc/passwd"): "unsupported_redirect", web.url("/missing"): "feed_failed", "file:///etc/passwd": "unsupported_scheme",
    }  # fmt: skip
    web.file("/1.mp3", b"1")
    corpus = Acquired(tmp_path, feeds=[*bad, feed(web, rss(episode("/1.mp3")))], timeout=0.5, deadline=1)
    assert corpus.reasons == bad
    assert len(corpus.live) == 1


def test_entities_are_harmless(tmp_path: Path, web: WebServer) -> None:
    (tmp_path / "secret").write_text("TOP SECRET")
    web.file("/1.mp3", b"1")
    web.file("/dtd", b'<!ENTITY leak "TOP SECRET">', "application/xml-dtd")
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">{levels}]>'
        + rss(episode("/1.mp3", "&l11;", "bomb")).decode().partition("?>")[2]
    )
    external = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file://{tmp_path}/secret"><!ENTITY % d SYSTEM "{web.url("/dtd")}"> %d;]>'
        + rss(episode("/1.mp3", "&x;&leak;", "external")).decode().partition("?>")[2]
    )
    corpus = Acquired(tmp_path, feeds=[feed(web, bomb.encode(), "/bomb"), feed(web, external.encode(), "/external")])
    assert all(len(row["title"] or "") <= 500 and "SECRET" not in str(row) for row in corpus.rows)
    assert web.asked["/dtd"] == 0


def test_giant_and_broken_text_is_cut_and_made_valid(tmp_path: Path, web: WebServer) -> None:
    web.file("/1.mp3", b"1")
    web.file("/2.mp3", b"2")
    giant = rss(episode("/1.mp3", "<![CDATA[" + "<b>&amp;x " * 1_000_000 + "]]>"))
    broken = RSS.format(items=episode("/2.mp3", "caf\udce9 &#0; & <i>")).encode(errors="surrogateescape")
    corpus = Acquired(tmp_path, feeds=[feed(web, giant, "/giant"), feed(web, broken, "/broken")], timeout=30)
    assert sorted(corpus.media(row) for row in corpus.live) == [b"1", b"2"]
    assert max(len(row["title"]) for row in corpus.rows) <= 500


@pytest.mark.parametrize("text", [b"&#xD800;", b"<b>" * 2_000_000])
def test_text_that_no_parser_repairs_in_time_is_a_failed_feed(tmp_path: Path, web: WebServer, text: bytes) -> None:
    url = feed(web, b"<rss version='2.0'><channel><title>" + text + b"</channel></rss>")
    assert Acquired(tmp_path, feeds=[url]).reasons == {url: "feed_failed"}


def test_the_expected_language_of_the_recipe_beats_what_a_host_says_by_default(tmp_path: Path, web: WebServer) -> None:
    address = feed(web, rss(episode(web.file("/1.mp3", b"one"))))
    assert [row["language"] for row in Acquired(tmp_path, feeds=[address], language="el").rows] == ["el"]


def test_what_was_taken_down_is_not_fetched_again_whoever_lists_it(tmp_path: Path, web: WebServer) -> None:
    gone = web.file("/gone.mp3", b"gone")
    store = Acquired(tmp_path, urls=[web.file("/a.mp3", b"a")]).store
    add(store, Takedown("source", gone, "asked by mail", "2026-01-01"))
    add(store, Takedown("channel", "das  & DIES", "asked by mail", "2026-01-01"))
    corpus = Acquired(tmp_path, urls=[web.url("/a.mp3"), gone], feeds=[feed(web, rss(episode(web.file("/of-channel.mp3", b"c"))))])
    kept, *left = corpus.rows
    assert kept["drop_reason"] is None
    assert sorted(row["source_uri"] for row in left) == sorted([gone, web.url("/of-channel.mp3")])
    assert {row["drop_reason"] for row in left} == {"taken_down"}
    assert all("asked by mail" in row["drop_detail"] for row in left)
    assert all(row["media_uri"] is None for row in left)
    assert len([path for path in (tmp_path / "corpus/sources").rglob("*") if path.is_file()]) == 1


def test_a_channel_that_the_recipe_gives_to_all_sources_can_be_taken_down(tmp_path: Path, web: WebServer) -> None:
    url = web.file("/gone.mp3", b"gone")
    add(Store(str(tmp_path / "corpus")), Takedown("channel", "Radio X", "asked by mail", "2026-01-01"))
    assert Acquired(tmp_path, urls=[url], channel="Radio X").reasons == {url: "taken_down"}
    assert web.asked["/gone.mp3"] == 0
