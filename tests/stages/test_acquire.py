"""What a second run does: nothing is fetched twice, nothing is lost, and what changed is said."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.part import PartRef
from manifests.store import Store
from pipeline.contract import CorpusContext, SilverError
from stages.acquire import Acquire, http
from tests.acquiring import Acquired
from tests.webserver import WebServer


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    with WebServer() as server:
        yield server


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Six files of 100 s each, as estimated."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for index in range(6):
        (folder / f"{index}.mp3").write_bytes(bytes(800_000))
    return folder


def titles(parts: list[PartRef], corpus: Acquired) -> list[list[str]]:
    rows = iter(corpus.rows)
    return [[next(rows)["title"] for _ in range(ref.counts.rows)] for ref in parts]


def touch(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (1_000_000_000 + len(data), 1_000_000_000 + len(data)))


def test_the_second_run_keeps_the_parts_and_adds_new_ones_behind(tmp_path: Path, audio: Path) -> None:
    corpus = Acquired(tmp_path, part_minutes=5, path=str(audio))
    first = corpus.parts
    assert titles(first, corpus) == [["0", "1", "2"], ["3", "4", "5"]]
    corpus.again()
    assert corpus.parts == first
    assert corpus.result.made == {}
    (audio / "00.mp3").write_bytes(b"x")
    corpus.again()
    assert corpus.parts[:2] == first
    assert titles(corpus.parts, corpus) == [["0", "1", "2"], ["3", "4", "5"], ["00"]]


def test_the_same_sources_give_the_same_parts_whatever_the_threads(tmp_path: Path, web: WebServer) -> None:
    urls = [web.file(f"/{n}.mp3", bytes(50_000 * (n + 1))) for n in range(12)]
    keys = []
    for workers in (1, 7):
        folder = tmp_path / str(workers)
        folder.mkdir()
        corpus = Acquired(folder, part_minutes=0.5, urls=urls, workers=workers)
        assert [row["source_uri"] for row in corpus.rows] == urls
        keys.append([ref.digest for ref in corpus.parts])
    assert keys[0] == keys[1]
    assert len(keys[0]) > 3


def test_a_changed_file_takes_the_place_of_the_old(tmp_path: Path, audio: Path) -> None:
    for index in range(6):
        touch(audio / f"{index}.mp3", bytes(800_000))
    corpus = Acquired(tmp_path, part_minutes=5, path=str(audio))
    first, old = corpus.parts, {row["title"]: row["source_id"] for row in corpus.rows}
    touch(audio / "4.mp3", bytes(850_000))
    corpus.again()
    assert corpus.parts[0] == first[0]  # not touched
    changed = [row for row in corpus.rows if row["title"] == "4"]
    assert [row["drop_reason"] for row in changed] == ["superseded", None]
    assert changed[0]["source_id"] == old["4"] != changed[1]["source_id"]
    assert changed[1]["source_id"] in changed[0]["drop_detail"]
    assert len(corpus.live) == 6
    after = corpus.parts
    corpus.again()
    assert corpus.parts == after

    touch(audio / "4.mp3", bytes(800_000))  # the old version comes back
    corpus.again()
    assert [(row["source_id"], row["drop_reason"]) for row in corpus.rows if row["title"] == "4"] == [
        (old["4"], None), (changed[1]["source_id"], "superseded"),
    ]  # fmt: skip
    assert len({row["source_id"] for row in corpus.rows}) == len(corpus.rows) == 7


def test_a_part_whose_files_all_changed_is_still_there(tmp_path: Path, audio: Path) -> None:
    corpus = Acquired(tmp_path, path=str(audio))
    for index in range(6):
        touch(audio / f"{index}.mp3", b"new")
    for _ in range(2):
        corpus.again()
        assert [len(corpus.rows), len(corpus.live)] == [12, 6]


def test_a_transcript_that_comes_later_is_taken_in(tmp_path: Path, audio: Path) -> None:
    corpus = Acquired(tmp_path, path=str(audio))
    (audio / "2.txt").write_text("words")
    corpus.again()
    assert [row["text_source"] for row in corpus.live if row["title"] == "2"] == ["words"]


def test_a_file_that_is_gone_stays_in_the_record(tmp_path: Path, audio: Path) -> None:
    corpus = Acquired(tmp_path, path=str(audio))
    before = corpus.parts
    (audio / "3.mp3").unlink()
    corpus.again()
    assert corpus.parts == before


def test_failures_are_tried_again_and_never_share_a_part_with_what_lives(tmp_path: Path, web: WebServer) -> None:
    good, bad, worse = web.file("/good.mp3", b"x"), web.url("/bad.mp3"), web.url("/worse.mp3")
    corpus = Acquired(tmp_path, urls=[bad, good, worse])
    assert [(ref.counts.live, ref.counts.rows) for ref in corpus.parts] == [(1, 1), (0, 2)]
    same = corpus.parts
    corpus.again()
    assert corpus.parts == same
    assert web.asked == {"/good.mp3": 1, "/bad.mp3": 2, "/worse.mp3": 2}
    web.file("/bad.mp3", b"better")
    corpus.again()
    assert corpus.parts[0] == same[0]
    assert [row["source_uri"] for row in corpus.live] == [good, bad]
    assert corpus.reasons == {worse: "download_failed"}
    corpus.again(urls=[good])  # no longer listed: not tried, not forgotten
    assert corpus.reasons == {worse: "download_failed"}
    assert web.asked["/worse.mp3"] == 3


def test_a_limit_counts_what_succeeds_so_that_every_run_gets_on(tmp_path: Path, web: WebServer) -> None:
    urls = [web.url(f"/{n}.mp3") for n in range(8)]
    for n in range(3, 8):
        web.file(f"/{n}.mp3", b"x")
    corpus = Acquired(tmp_path, urls=urls, limit=2)
    assert [row["source_uri"] for row in corpus.live] == urls[3:5]
    assert sum(web.asked.values()) == 5
    corpus.again()
    assert [row["source_uri"] for row in corpus.live] == urls[3:7]
    assert set(corpus.reasons) == set(urls[:3])
    corpus.again(limit=0)
    assert set(corpus.reasons) == set(urls[:3])


def test_an_interrupted_crawl_keeps_what_is_committed_and_ends_at_once(tmp_path: Path, web: WebServer) -> None:
    urls = [web.file(f"/{n}.mp3", bytes(800_000)) for n in range(4)] + [web.hang("/hang.mp3")]
    store = Store(str(tmp_path / "corpus"))
    context = CorpusContext(store=store, previous=[], part_seconds=200, fingerprint="f", recipe={}, map=map)
    tables = Acquire(Acquire.Params(urls=tuple(urls), delay=0, retries=0, timeout=60, workers=2)).run([], context)
    assert [next(tables).num_rows, next(tables).num_rows] == [2, 2]
    threads = threading.active_count()
    closing = threading.Thread(target=tables.close)
    closing.start()
    closing.join(timeout=20)
    assert not closing.is_alive()
    assert threading.active_count() <= threads


def test_a_killed_crawl_is_resumed_source_by_source(tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [web.file(f"/{n}.mp3", bytes(800_000 + n)) for n in range(6)]
    original = Acquire.run

    def killed(self: Acquire, parts: Any, context: CorpusContext) -> Any:
        for index, item in enumerate(original(self, parts, context)):
            if index == 2:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(Acquire, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        Acquired(tmp_path, part_minutes=3, urls=urls)
    monkeypatch.setattr(Acquire, "run", original)
    corpus = Acquired(tmp_path, part_minutes=3, urls=urls)
    assert sorted(row["source_uri"] for row in corpus.rows) == urls
    assert set(web.asked.values()) == {1}
    assert len(corpus.parts) == 3


def test_all_kinds_of_sources_together_in_the_order_of_the_parameters(tmp_path: Path, audio: Path, web: WebServer) -> None:
    feed = f"<rss version='2.0'><channel><title>F</title><item><enclosure url='{web.file('/f.mp3', b'f')}'/></item></channel></rss>"
    corpus = Acquired(
        tmp_path, path=str(audio), urls=[web.file("/u.mp3", b"u")], feeds=[web.file("/feed", feed.encode())], ytdlp=[web.file("/y.mp3", b"y")],
        language="nl",
    )  # fmt: skip
    assert [Path(row["source_uri"]).name for row in corpus.rows] == [*(f"{n}.mp3" for n in range(6)), "u.mp3", "f.mp3", "y.mp3"]
    assert {row["language"] for row in corpus.rows} == {"nl"}


@pytest.mark.parametrize(("params", "message"), [({}, "no source is set"), ({"urls_file": "/nowhere.txt"}, "cannot be read")])
def test_mistakes_in_the_recipe_say_what_to_do(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SilverError, match=message):
        Acquired(tmp_path, **params)


def test_every_parameter_says_what_it_is_and_sources_and_manners_are_not_in_the_fingerprint() -> None:
    fields = Acquire.Params.model_fields
    assert all(field.description for field in fields.values())
    semantic = {name for name, field in fields.items() if not (field.json_schema_extra or {}).get("operational")}
    assert semantic == {"language", "licence", "channel"}
