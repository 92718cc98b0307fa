"""Downloads from servers that misbehave, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.acquire import http
from tests.acquiring import Acquired
from tests.webserver import WebServer

AUDIO = b"ID3 real bytes " * 1000


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    with WebServer() as server:
        yield server


def leftovers(corpus: Acquired) -> list[str]:
    """Files under the downloads and the temporary folder."""
    return sorted(p.name for top in ("sources", "tmp") for p in Path(corpus.store.path(top)).rglob("*") if p.is_file())


def test_downloads_lie_in_the_corpus_and_are_fetched_once(tmp_path: Path, web: WebServer) -> None:
    urls = [web.file("/b.mp3", AUDIO), web.file("/a.php?x=../../etc/passwd.mp3", AUDIO + b"!", "application/octet-stream")]
    (tmp_path / "urls.txt").write_text(f"# two talks\n\n  {urls[1]}\n{urls[0]}\n")
    corpus = Acquired(tmp_path, urls=[urls[0]], urls_file=str(tmp_path / "urls.txt"))
    assert [row["source_uri"] for row in corpus.rows] == urls
    assert [corpus.media(row) for row in corpus.rows] == [AUDIO, AUDIO + b"!"]
    assert all(row["media_uri"].startswith("sources/") and ".." not in row["media_uri"] for row in corpus.rows)
    assert "1 listed twice" in corpus.said
    before = corpus.parts
    corpus.again()
    assert corpus.parts == before
    assert set(web.asked.values()) == {1}


def test_a_crawl_that_was_killed_does_not_download_again(tmp_path: Path, web: WebServer) -> None:
    corpus = Acquired(tmp_path, urls=[web.file("/a.mp3", AUDIO)])
    corpus.store.remove("manifests")  # killed before it could commit
    assert len(corpus.again(urls=[web.url("/a.mp3"), web.file("/b.mp3", AUDIO)])) == 2
    assert web.asked == {"/a.mp3": 1, "/b.mp3": 1}


def test_redirects_are_followed_to_http_and_nowhere_else(tmp_path: Path, web: WebServer) -> None:
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(b"secret")
    web.file("/real.mp3", AUDIO)
    good = web.redirect("/1.mp3", "/2.mp3")
    web.redirect("/2.mp3", web.url("/real.mp3"), 308, endless=True)
    bad = [
        web.redirect(f"/bad{n}.mp3", to)
        for n, to in enumerate([f"file://{secret}", "ftp://127.0.0.1/x.mp3", "data:audio/mpeg,x", "gopher://x"])
    ]
    loop = web.redirect("/loop.mp3", "/loop.mp3")
    odd = web.redirect("/odd.mp3", "http://[::bad/")
    corpus = Acquired(
        tmp_path, urls=[good, *bad, loop, odd, f"file://{secret}", "no address at all", "http://", "http://127.0.0.1:99999/x"]
    )
    assert [(row["source_uri"], corpus.media(row)) for row in corpus.live] == [(good, AUDIO)]
    reasons = corpus.reasons
    assert {reasons[url] for url in bad} == {"unsupported_redirect"}
    assert (reasons[loop], reasons[odd], reasons[f"file://{secret}"]) == ("download_failed", "bad_url", "unsupported_scheme")
    assert (reasons["no address at all"], reasons["http://"], reasons["http://127.0.0.1:99999/x"]) == (
        "unsupported_scheme",
        "bad_url",
        "bad_url",
    )
    assert len(leftovers(corpus)) == 1


def test_slow_servers_are_given_up_by_the_clock(tmp_path: Path, web: WebServer) -> None:
    urls = [web.hang("/hang.mp3"), web.hang("/stall.mp3", AUDIO), web.drip("/drip.mp3"), web.drip("/headers.mp3", headers=True)]
    fine = web.file("/fine.mp3", AUDIO)
    started = time.monotonic()
    corpus = Acquired(tmp_path, urls=[*urls, fine], timeout=0.5, deadline=1.0)
    assert time.monotonic() - started < 30  # the servers would have held out for 60
    assert [row["source_uri"] for row in corpus.live] == [fine]
    assert corpus.reasons == dict.fromkeys(urls, "timeout")
    assert len(leftovers(corpus)) == 1


def test_a_file_that_breaks_off_is_no_file(tmp_path: Path, web: WebServer) -> None:
    cut, chunked = web.cut_off("/cut.mp3", AUDIO, 9000), web.cut_off("/chunked.mp3", AUDIO, 9000, chunked=True)
    empty = web.file("/empty.mp3", b"")
    corpus = Acquired(tmp_path, urls=[cut, chunked, empty])
    assert corpus.reasons == {cut: "truncated", chunked: "truncated", empty: "download_failed"}
    assert leftovers(corpus) == []
    web.file("/cut.mp3", AUDIO)
    corpus.again()
    assert [corpus.media(row) for row in corpus.live] == [AUDIO]
    assert cut not in corpus.reasons


def test_too_large_files_are_not_stored(tmp_path: Path, web: WebServer) -> None:
    declared, undeclared = web.file("/declared.mp3", AUDIO), web.cut_off("/undeclared.mp3", AUDIO, len(AUDIO), chunked=True)
    corpus = Acquired(tmp_path, urls=[declared, undeclared], max_bytes=5000)
    assert corpus.reasons == {declared: "too_large", undeclared: "too_large"}
    assert leftovers(corpus) == []


def test_a_web_page_is_not_taken_for_audio(tmp_path: Path, web: WebServer) -> None:
    login = web.file("/login.mp3", b"<html>Please log in", "text/html; charset=utf-8")
    assert Acquired(tmp_path, urls=[login]).reasons == {login: "not_audio"}


def test_what_may_pass_is_tried_again_so_often_and_no_more(tmp_path: Path, web: WebServer) -> None:
    recovers = web.fail("/recovers.mp3", 503, 2, AUDIO)
    waits = web.fail("/waits.mp3", 429, 1, AUDIO, {"Retry-After": "1"})
    asks_too_much = web.fail("/asks-too-much.mp3", 429, 9, AUDIO, {"Retry-After": "86400"})
    broken = web.fail("/broken.mp3", 500, 99)
    missing = web.fail("/missing.mp3", 404, 99)
    corpus = Acquired(tmp_path, urls=[recovers, waits, asks_too_much, broken, missing, "http://127.0.0.1:1/refused.mp3"], retries=2)
    assert [row["source_uri"] for row in corpus.live] == [recovers, waits]
    assert set(corpus.reasons.values()) == {"download_failed"}
    assert web.asked == {"/recovers.mp3": 3, "/waits.mp3": 2, "/asks-too-much.mp3": 1, "/broken.mp3": 3, "/missing.mp3": 1}
    details = {row["source_uri"]: row["drop_detail"] for row in corpus.rows}
    assert "HTTP 404" in details[missing]
    assert "refused" in details["http://127.0.0.1:1/refused.mp3"]
    assert " at 0x" not in "".join(filter(None, details.values()))


def test_requests_to_one_host_keep_their_distance_and_say_who_asks(tmp_path: Path, web: WebServer) -> None:
    urls = [web.file(f"/{n}.mp3", AUDIO) for n in range(4)]
    started = time.monotonic()
    Acquired(tmp_path, urls=urls, delay=0.3, user_agent="me@example.org")
    assert time.monotonic() - started >= 0.9
    assert {headers["User-Agent"] for headers in web.headers} == {"me@example.org"}


def test_giving_up_a_crawl_leaves_no_thread_that_it_waits_for(tmp_path: Path, web: WebServer) -> None:
    stop, given_up = threading.Event(), threading.Event()
    stop.set()
    with pytest.raises(http.ItemError, match="timeout"):
        http.within(60, lambda: web.closing.wait(60), given_up, stop, "x")
    assert given_up.is_set()
