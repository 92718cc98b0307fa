"""Folders as people have them: odd names, links, unreadable things, transcripts beside the audio."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from manifests.store import Store
from pipeline.contract import ItemError, SilverError
from stages.acquire.media import open_media
from tests.acquiring import Acquired


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything: for a while this process is nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    return folder


NAMES = [
    b"plain.mp3", b"line\nbreak.mp3", b"..dots..mp3", b".. .mp3", "🎙️ día.opus".encode(), b"caf\xe9.wav", b"\xff\xfe\x80.mp3", b"a%FF b?x#y.mp3",
    b"n" * 251 + b".mp3", ("ü" * 125 + ".mp3").encode(), b"$HOME `ls`; rm -rf.mp3", b"-rf.mp3", b"UPPER.MP3", b"file:.mp3", b"back\\slash.mp3",
]  # fmt: skip


def test_any_name_is_acquired_and_opens_again(tmp_path: Path, audio: Path) -> None:
    for name in NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(audio), name))).write_bytes(b"audio of " + name)
    corpus = Acquired(tmp_path, path=str(audio))
    assert [corpus.media(row) for row in corpus.live] == [b"audio of " + name for name in sorted(NAMES)]
    assert corpus.again() == corpus.live


def test_names_that_are_not_utf8_and_names_that_look_like_them_stay_apart(tmp_path: Path, audio: Path) -> None:
    for name in (b"\xff.mp3", b"\\udcff.mp3", b"\\xff.mp3", b"%FF.mp3"):
        with open(os.path.join(os.fsencode(audio), name), "wb") as file:
            file.write(name)
    corpus = Acquired(tmp_path, path=str(audio))
    assert len({row["source_id"] for row in corpus.rows}) == 4
    assert {corpus.media(row) for row in corpus.rows} == {b"\xff.mp3", b"\\udcff.mp3", b"\\xff.mp3", b"%FF.mp3"}


def test_a_path_as_long_as_the_system_allows(tmp_path: Path, audio: Path) -> None:
    deep = audio.joinpath(*["d" * 250] * 14)
    deep.mkdir(parents=True)
    (deep / ("n" * 250 + ".mp3")).write_bytes(b"deep")
    corpus = Acquired(tmp_path, path=str(audio))
    assert [corpus.media(row) for row in corpus.rows] == [b"deep"]


def test_loops_of_links_end_and_nothing_is_taken_twice(tmp_path: Path, audio: Path) -> None:
    (audio / "a").mkdir()
    (audio / "a" / "x.mp3").write_bytes(b"x")
    (audio / "a" / "up").symlink_to(audio)
    (audio / "b").symlink_to(audio / "a")
    (audio / "self").symlink_to(audio / "self")
    (audio / "self.mp3").symlink_to(audio / "self.mp3")
    corpus = Acquired(tmp_path, path=str(audio))
    assert [Path(row["source_uri"]).relative_to(audio).as_posix() for row in corpus.live] == ["a/x.mp3"]
    assert corpus.reasons == {str(audio / "self.mp3"): "unreadable"}


def test_what_is_no_file_is_dropped_with_its_reason_and_never_waited_for(tmp_path: Path, audio: Path) -> None:
    os.mkfifo(audio / "pipe.mp3")
    (audio / "zero.mp3").symlink_to("/dev/zero")
    (audio / "gone.mp3").symlink_to("/nowhere/at/all.mp3")
    (audio / "fine.mp3").write_bytes(b"fine")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/socket.mp3")
        shutil.move(f"{short}/socket.mp3", audio / "socket.mp3")
    corpus = Acquired(tmp_path, path=str(audio))
    assert [Path(row["source_uri"]).name for row in corpus.live] == ["fine.mp3"]
    assert {Path(uri).name: reason for uri, reason in corpus.reasons.items()} == {
        "pipe.mp3": "not_a_file", "zero.mp3": "not_a_file", "gone.mp3": "not_found", "socket.mp3": "not_a_file",
    }  # fmt: skip
    assert all(row["drop_stage"] == "acquire" and row["drop_detail"] for row in corpus.rows if row["drop_reason"])


@pytest.mark.parametrize(("name", "reason"), [("pipe", "not_a_file"), ("folder", "not_a_file"), ("missing", "not_found")])
def test_open_media_refuses_what_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ItemError, match=reason):
        open_media(Store(str(tmp_path / "root")), str(tmp_path / name))


def test_open_media_says_when_permission_is_denied(tmp_path: Path) -> None:
    (tmp_path / "secret.mp3").write_bytes(b"x")
    (tmp_path / "secret.mp3").chmod(0)
    with without_privileges(), pytest.raises(ItemError, match="unreadable"):
        open_media(Store("/tmp/none"), str(tmp_path / "secret.mp3"))


def test_open_media_reads_downloads_and_object_stores(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("sources/ab/x.mp3", b"download")
    with fsspec.open("memory://media-test/x.mp3", "wb") as file:
        file.write(b"object")
    with open_media(store, "sources/ab/x.mp3") as one, open_media(store, "memory://media-test/x.mp3") as two:
        assert (one.read(), two.read()) == (b"download", b"object")
        two.seek(2)
        assert two.read() == b"ject"
    with pytest.raises(ValueError, match="not a path inside"):
        open_media(store, "sources/../../etc/passwd")


def test_unreadable_files_and_folders_are_dropped_and_tried_again() -> None:
    # Not under pytest's folder: nobody may not enter that.
    with tempfile.TemporaryDirectory() as name:
        folder, audio = Path(name), Path(name) / "audio"
        folder.chmod(0o777)
        (audio / "locked").mkdir(parents=True)
        (audio / "locked" / "y.mp3").write_bytes(b"y")
        (audio / "x.mp3").write_bytes(b"x")
        (audio / "x.mp3").chmod(0)
        (audio / "locked").chmod(0)
        with without_privileges():
            corpus = Acquired(folder, path=str(audio))
        assert corpus.reasons == {str(audio / "x.mp3"): "unreadable", str(audio / "locked"): "unreadable"}
        (audio / "x.mp3").chmod(0o644)
        (audio / "locked").chmod(0o755)
        with without_privileges():
            corpus.again()
        assert corpus.reasons == {}
        assert [Path(row["source_uri"]).name for row in corpus.rows] == ["x.mp3", "y.mp3"]


def test_transcripts_and_subtitles_beside_the_audio(tmp_path: Path, audio: Path) -> None:
    for stem in ("plain", "web", "rip", "both", "broken", "none"):
        (audio / f"{stem}.mp3").write_bytes(b"x")
    (audio / "plain.txt").write_bytes("\ufeffGood day.\n".encode())
    (audio / "web.vtt").write_text(
        "WEBVTT\n\nNOTE a --- remark\n\n00:01.000 --> 00:02.000 align:start\n<v Ann>Hello\nthere</v>\n\n00:03.000 --> 00:04.000\nyou"
    )
    (audio / "rip.srt").write_bytes(
        b"1\r\n00:00:01,000 --> 00:00:02,000\r\n{\\an8}One\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n2 two\r\n"
    )
    (audio / "both.txt").write_text("by hand")
    (audio / "both.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nby machine")
    (audio / "broken.txt").write_bytes(b"caf\xe9")
    corpus = Acquired(tmp_path, path=str(audio))
    assert {row["title"]: row["text_source"] for row in corpus.rows} == {
        "plain": "Good day.", "web": "Hello there you", "rip": "One 2 two", "both": "by hand", "broken": "caf\\xe9", "none": None,
    }  # fmt: skip


def test_what_is_not_audio_is_counted_aloud_and_the_corpus_itself_left_out(tmp_path: Path) -> None:
    (tmp_path / "talk.m4a").write_bytes(b"x")
    (tmp_path / "talk.jpg").write_bytes(b"x")
    (tmp_path / "notes.pdf").write_bytes(b"x")
    (tmp_path / "video.mkv").write_bytes(b"x")
    (tmp_path / "corpus/audio").mkdir(parents=True)
    (tmp_path / "corpus/audio/made.flac").write_bytes(b"x")
    corpus = Acquired(tmp_path, path=str(tmp_path))
    assert [Path(row["source_uri"]).name for row in corpus.rows] == ["talk.m4a", "video.mkv"]
    assert "1 .jpg" in corpus.said
    assert "1 .pdf" in corpus.said


def test_folders_name_the_channel_unless_the_recipe_does(tmp_path: Path, audio: Path) -> None:
    (audio / "show/2024").mkdir(parents=True)
    (audio / "show/2024/x.mp3").write_bytes(b"x")
    (audio / "y.mp3").write_bytes(b"y")
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert [row["channel"] for row in Acquired(tmp_path / "1", path=str(audio)).rows] == [None, "show"]
    rows = Acquired(tmp_path / "2", path=str(audio), channel="mine", language="el", licence="CC0-1.0").rows
    assert [(row["channel"], row["language"], row["licence"]) for row in rows] == [("mine", "el", "CC0-1.0")] * 2


def test_a_single_file_and_a_glob(tmp_path: Path, audio: Path) -> None:
    for name in ("a.mp3", "b.mp3", "b.txt", "c.wav", "odd.xyz"):
        (audio / name).write_text(name)
    (tmp_path / "1").mkdir()
    corpus = Acquired(tmp_path / "1", path=str(audio / "odd.xyz"))
    assert [row["title"] for row in corpus.rows] == ["odd"]
    rows = corpus.again(path=str(audio / "*b*"))
    assert [(row["title"], row["text_source"]) for row in rows] == [("odd", None), ("b", "b.txt")]
    (audio / "[live] show").mkdir()
    (audio / "[live] show" / "d.mp3").write_text("d")
    assert [row["title"] for row in corpus.again(path=str(audio / "[live] show"))][2:] == ["d"]


def test_an_object_store(tmp_path: Path) -> None:
    for name, data in {"show/b.mp3": b"b", "a.ogg": b"a", "a.txt": b"text", "x.pdf": b""}.items():
        with fsspec.open(f"memory://bucket/{name}", "wb") as file:
            file.write(data)
    corpus = Acquired(tmp_path, path="memory://bucket")
    assert [(row["source_uri"], row["text_source"], row["channel"]) for row in corpus.rows] == [
        ("memory:///bucket/a.ogg", "text", None), ("memory:///bucket/show/b.mp3", None, "show"),
    ]  # fmt: skip
    assert [corpus.media(row) for row in corpus.rows] == [b"a", b"b"]
    assert corpus.again() == corpus.rows


@pytest.mark.parametrize("path", ["/nowhere/at/all", "memory://nowhere-at-all", "https://example.org/x", "{empty}"])
def test_a_path_without_audio_is_an_error_that_says_so(tmp_path: Path, audio: Path, path: str) -> None:
    with pytest.raises(SilverError, match="acquire: "):
        Acquired(tmp_path, path=path.format(empty=audio))


def test_parts_hold_about_the_audio_that_was_asked_for(tmp_path: Path, audio: Path) -> None:
    for index in range(6):
        soundfile.write(audio / f"{index}.wav", np.zeros(48_000 * 40, np.float32), 48_000)
    corpus = Acquired(tmp_path, part_minutes=1.3, path=str(audio))
    assert [ref.counts.rows for ref in corpus.parts] == [2, 2, 2]
