"""`silver serve`: what it answers, to whom, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from manifests.corpus import Corpus
from tests.browser import Browser
from tests.corpus import REPOSITORY, command, environment, silver
from workflows.serve import desk as module
from workflows.serve.desk import Desk
from workflows.serve.server import own_names


class Reply:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        assert self.status == 200, self.body
        return json.loads(self.body)


class Client:
    """Asks the server byte for byte what it is told to ask."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.address, self.token, self.port = address, parts.path.strip("/"), parts.port

    def raw(self, path: str, method: str = "GET", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.msg, reply.read())
        finally:
            connection.close()

    def get(self, path: str = "", **form: object) -> Reply:
        return self.raw(f"/{self.token}/{path}" + (f"?{urlencode(form)}" if form else ""))

    def keys(self, **form: object) -> list[str]:
        return [clip["key"] for clip in self.get("segments", **form).json()["clips"]]


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Client]:
    process = subprocess.Popen(
        command("serve", str(root), "--port", "0", *options), cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Client(process.stdout.readline().strip())
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def server(moved: Path) -> Iterator[Client]:
    with serving(moved) as client:
        yield client


@pytest.fixture(scope="module")
def rows(moved: Path) -> list[dict[str, Any]]:
    return Corpus(str(moved)).query("SELECT * FROM segments")


def test_only_the_token_and_a_known_name_open_it(server: Client) -> None:
    assert b"<!doctype html>" in server.get().body
    for path in ("/", "/segments", f"/{server.token[:-1]}/", f"/{server.token}x/segments", "/%00/", "//"):
        assert server.raw(path).status == 403
    home = f"/{server.token}/"
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", "LOCALHOST", f"[::1]:{server.port}"):
        assert server.raw(home, Host=host).status == 200
    for host in ("elsewhere.example", f"localhost.elsewhere.example:{server.port}", "127.0.0.1.nip.io", "", "[::1"):
        assert server.raw(home, Host=host).status == 403
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert server.raw(home, method=method).status == 405
    headers = server.get().headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert own_names("127.0.0.1") == {"localhost", "127.0.0.1", "::1"}
    assert "10.1.2.3" in own_names("10.1.2.3")


def test_another_name_is_given_by_its_option(moved: Path) -> None:
    with serving(moved, "--name", "Head.cluster.example") as client:
        assert client.raw(f"/{client.token}/", Host="head.cluster.example:8700").status == 200
        assert client.raw(f"/{client.token}/", Host="cluster.example:8700").status == 403


def test_no_path_leads_out_of_the_corpus(server: Client) -> None:
    for path in ("../../../../etc/passwd", "audio/../../../../etc/passwd", "audio/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "audio//etc/passwd",
                 "audio/..%5c..%5cetc", "sound/" + quote("' OR true --", safe=""), "audio/" + "x" * 5000, "audio/%00", "audio/", "manifests/current.json"):  # fmt: skip
        reply = server.raw(f"/{server.token}/{path}")
        assert reply.status in (403, 404), path
        assert b"root:" not in reply.body


def test_audio_is_not_read_through_a_link_out_of_the_corpus(moved: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(moved, root)
    kept = Corpus(str(root)).query("SELECT segment_id, audio_path FROM segments WHERE drop_reason IS NULL ORDER BY ALL")
    linked, other = kept[0], next(row for row in kept if row["audio_path"] != kept[0]["audio_path"])
    file = root / linked["audio_path"]
    shutil.move(file, tmp_path / "secret.flac")
    file.symlink_to(tmp_path / "secret.flac")
    desk = Desk(str(root))
    assert desk.sound(linked["segment_id"])[::2] == (None, "its audio lies outside the corpus")
    assert desk.sound(other["segment_id"])[0]
    shutil.move(root / "audio", tmp_path / "disk")  # all audio on another disk is another thing
    (root / "audio").symlink_to(tmp_path / "disk")
    assert Desk(str(root)).sound(other["segment_id"])[0]


def test_audio_by_range(server: Client) -> None:
    path = f"/{server.token}/audio/{server.keys(reason='kept')[0]}"
    whole = server.raw(path)
    assert (whole.status, whole.headers["Content-Type"], whole.headers["Accept-Ranges"]) == (200, "audio/mpeg", "bytes")
    size = len(whole.body)
    for wanted, start, stop in (("0-9", 0, 10), ("100-", 100, size), ("-7", size - 7, size), (f"5-{size + 5}", 5, size)):
        part = server.raw(path, Range=f"bytes={wanted}")
        assert (part.status, part.body) == (206, whole.body[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    for wanted in (f"bytes={size}-", "bytes=9-3", "seconds=1-2", "bytes=a-b"):
        reply = server.raw(path, Range=wanted)
        assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_a_search_finds_what_sql_finds(server: Client, rows: list[dict[str, Any]]) -> None:
    dropped = next(row["drop_reason"] for row in rows if row["drop_reason"] and ";" not in row["drop_reason"])
    word = next(row["text"] for row in rows if row.get("text")).split()[0]
    cases: list[tuple[dict[str, object], Callable[[dict[str, Any]], bool]]] = [
        ({"reason": "kept"}, lambda row: row["drop_reason"] is None),
        ({"reason": dropped}, lambda row: dropped in (row["drop_reason"] or "").split(";")),
        ({"language": "en", "channel": "nobody"}, lambda _: False),
        ({"words": word.upper()}, lambda row: any(word.lower() in (row.get(name) or "").lower() for name in ("text", "text_pnc", "text_raw", "title"))),
        ({"words": rows[-1]["recording_id"]}, lambda row: row["recording_id"] == rows[-1]["recording_id"]),
        ({"words": "100%_'; DROP"}, lambda _: False),
        ({"signal": "duration", "low": 2, "high": 6.5}, lambda row: row["duration"] is not None and 2 <= row["duration"] <= 6.5),
    ]  # fmt: skip
    for form, holds in cases:
        wanted = {row["segment_id"] or row["source_id"]: row for row in rows if holds(row)}
        assert set(server.keys(**form)) == set(wanted)
        told = server.get("count", **form).json()
        assert told["segments"] == len(wanted)
        assert told["hours"] == pytest.approx(sum(row["duration"] or 0 for row in wanted.values()) / 3600)
    down = [clip["duration"] for clip in server.get("segments", reason="kept", signal="duration", order="down").json()["clips"]]
    assert down == sorted(down, reverse=True)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"page": "-1"}, "page is a number"),
        ({"page": "1e3"}, "page is a number"),
        ({"signal": "text"}, "no column of numbers"),
        ({"signal": 'x" OR true --'}, "no column of numbers"),
        ({"signal": "duration", "low": "inf"}, "finite"),
        ({"signal": "duration", "low": "x"}, "is a number"),
        ({"signal": "duration", "order": "up; DROP"}, "up or down"),
        ({"where": "true"}, "no such field: where"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(server: Client, form: dict[str, str], said: str) -> None:
    reply = server.get("segments", **form)
    assert (reply.status, said in reply.body.decode()) == (400, True), reply.body


def test_fifty_clients_at_once(server: Client) -> None:
    keys = server.keys(reason="kept")

    def visit(number: int) -> tuple[str, bytes]:
        key = keys[number % len(keys)]
        assert server.get().status == 200
        assert server.get("segments", page=0, words=str(number % 3)).status == 200
        assert server.get("count", reason="kept").json()["segments"] == len(keys)
        assert server.get(f"sound/{key}").json()["audio"]
        return key, server.get(f"audio/{key}").body

    with ThreadPoolExecutor(50) as pool:
        heard = list(pool.map(visit, range(50)))
    alone = {key: server.get(f"audio/{key}").body for key in keys}
    assert all(body == alone[key] for key, body in heard)


def test_pages_together_are_every_row_once(moved: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    desk = Desk(str(moved))
    for form in ({}, {"signal": "confidence", "order": "up"}):
        seen: list[str] = []
        page, more = 0, True
        while more:
            found = desk.search(form | {"page": str(page)})
            seen += [clip["key"] for clip in found["clips"]]
            page, more = page + 1, found["more"]
        assert sorted(seen) == sorted(row["segment_id"] or row["source_id"] for row in rows)
        assert page == -(-len(rows) // 4)


def test_the_page_follows_the_corpus_and_survives_what_is_lost(built: Path, moved: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    desk = Desk(str(root))
    before, kept = desk.page(), desk.count({"reason": "kept"})["segments"]
    assert desk.page() is before
    shutil.rmtree(root)
    shutil.copytree(moved, root)
    assert desk.page() != before
    assert desk.count({"reason": "kept"})["segments"] < kept
    before = desk.page()
    assert desk.page() is before
    listed = root / Corpus(str(root)).manifests[-1].folder / "_SUCCESS"
    listed.write_text(listed.read_text() + " ")
    assert desk.page() is not before, "a stage that ends once more, under the same parameters, is seen"
    row = Corpus(str(root)).query("SELECT segment_id, audio_path FROM segments WHERE drop_reason IS NULL")[0]
    (root / row["audio_path"]).unlink()
    audio, _, why = desk.sound(row["segment_id"])
    assert audio is None
    assert f"{row['audio_path']} cannot be read" in (why or "")
    part = next(root.glob("manifests/pack/*/part-*.parquet"))
    stage = Desk(str(root))
    part.write_bytes(b"PAR1 cut off")
    assert stage.count({})["segments"] > 0, "a damaged part does not end it"


def test_it_writes_nothing(moved: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(moved, root)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))
    with serving(root) as client:
        key = client.keys(reason="kept")[0]
        assert client.get(f"audio/{key}").status == client.get().status == 200
    assert sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*")) == before


def test_a_port_that_is_taken_and_a_root_that_is_none_are_told(server: Client, moved: Path, tmp_path: Path) -> None:
    for arguments, said in ((("serve", str(moved), "--port", str(server.port)), "give another --port"), (("serve", str(tmp_path)), "is not a corpus root")):  # fmt: skip
        done = silver(*arguments)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_a_browser_searches_listens_and_marks(server: Client, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.driver.get(server.address)
        browser.wait(lambda: browser.all("#list li") and " h, 0 marked" in browser.one("#count").text)
        browser.choose("reason", "kept")
        browser.choose("signal", "duration")
        browser.choose("order", "down")
        kept = len(server.keys(reason="kept"))
        browser.wait(lambda: browser.one("#count").text.startswith(f"{kept} segments"))
        longest = [float(line.text.rsplit(" ", 2)[1]) for line in browser.all("#list small")]
        assert longest == sorted(longest, reverse=True)
        browser.one("body").send_keys("n", "p")
        browser.wait(lambda: browser.js("return (document.querySelector('#card audio') || {}).currentTime > 0.1"))
        browser.all(".spoken button")[-1].click()
        browser.wait(lambda: browser.js("return document.querySelector('#card audio').currentTime > 1"))
        browser.one("body").send_keys("r")
        browser.one("[name=words]").send_keys("no such words anywhere")
        browser.wait(lambda: browser.one("#count").text.startswith("0 segments"))
        browser.one("#save").click()
        browser.wait((tmp_path / "marks.csv").exists)
        time.sleep(0.2)
        assert (tmp_path / "marks.csv").read_text().count('"right"') == 1, "marks of other searches are saved too"
        assert browser.complaints() == []
        assert browser.asked() <= {f"http:127.0.0.1:{server.port}", "data:", "blob:", f"blob:http://127.0.0.1:{server.port}"}
        assert os.path.getsize(tmp_path / "marks.csv") > 60


def test_a_corpus_that_is_gone_is_told(moved: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(moved, root)
    with serving(root) as client:
        shutil.rmtree(root)
        reply = client.get()
    assert (reply.status, b"is not a corpus root" in reply.body) == (500, True), reply.body
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
