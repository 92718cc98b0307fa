"""What the web has: 200 broken, lying and misnamed files, hostile feeds and servers, hours of noise. The rest of the corpus is unharmed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil

from manifests.corpus import Corpus
from stages.acquire.media import media_uri
from tests.corpus import REPOSITORY, build_arguments, command, environment, silver
from tests.hostile import DECODES, make_hostile, write_long_noise
from tests.webserver import WebServer


def rows(root: Path, view: str) -> list[dict]:
    cursor = Corpus(str(root)).connection.execute(f'SELECT * FROM "{view}"')
    names = [field[0] for field in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def test_two_hundred_hostile_files_and_six_good_ones(tmp_path: Path, speech_folder: Path, base_model: Path, built: Path) -> None:
    audio, root = tmp_path / "audio", tmp_path / "root"
    made = make_hostile(audio)
    assert len(made) >= 200
    assert len(set(made.values())) >= 15
    for name in os.listdir(speech_folder):
        shutil.copy(speech_folder / name, audio / name)
    done = silver("--executor", "inline", "run", *build_arguments(root, audio, base_model, "part_minutes=5"), "--to", "segment")
    assert done.returncode == 0, done.stderr
    acquired = {os.path.basename(row["source_uri"]): row for row in rows(root, "decode")}
    for name, kind in made.items():
        shown = os.path.basename(media_uri(f"/{name}"))
        if kind == "folder":
            continue  # a folder is looked into, not taken for a recording
        assert shown in acquired, f"{shown!r} was lost"
        row = acquired[shown]
        if row["drop_stage"] == "acquire":  # what is no file at all is not even handed to decode
            assert kind in ("fifo", "dangling_link", "link_loop"), (shown, row["drop_detail"])
        else:
            assert row["drop_reason"] == DECODES[kind], (shown, row["drop_detail"])
        assert row["drop_reason"] is None or row["drop_detail"], shown
    # The six good recordings are what they are without the others.
    wanted = {row["segment_id"] for row in rows(built, "segment")}
    assert wanted <= {row["segment_id"] for row in rows(root, "segment") if row["drop_reason"] is None}
    silent = [row for row in rows(root, "segment") if made.get(os.path.basename(row["source_uri"])) == "silence"]
    assert silent
    assert {row["drop_reason"] for row in silent} == {"no_speech"}
    again = silver("--executor", "inline", "run", *build_arguments(root, audio, base_model, "part_minutes=5"), "--to", "segment")
    assert "nothing to do" in again.stdout, again.stdout


def test_hostile_feeds_and_servers_beside_a_good_one(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    root = tmp_path / "root"
    good = (speech_folder / "show-0.flac").read_bytes()

    def feed(title: str, enclosure: str, head: str = "") -> bytes:
        item = f"<item><title>{title}</title><enclosure url='{enclosure}' type='audio/flac' length='1'/></item>"
        return f"<?xml version='1.0'?>{head}<rss version='2.0'><channel><title>t</title>{item}</channel></rss>".encode()

    entities = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY {chr(98 + n)} '{'&' + chr(97 + n) + ';' * 1}{('&' + chr(97 + n) + ';') * 9}'>" for n in range(8)
    ) + "<!ENTITY secret SYSTEM 'file:///etc/passwd'>]>"  # fmt: skip
    with WebServer() as web:
        flac = web.file("/good.flac", good, "audio/flac")
        feeds = [
            web.file("/good.xml", feed("good", flac), "text/xml"),
            web.file(
                "/long.xml", feed("x" * 10_000_000, web.file("/second.flac", (speech_folder / "show-1.flac").read_bytes())), "text/xml"
            ),
            web.file(
                "/bomb.xml",
                feed("&i;&secret;", web.file("/third.flac", (speech_folder / "show-2.flac").read_bytes()), entities),
                "text/xml",
            ),
            web.file("/html.xml", b"<html><body>not a feed</body></html>", "text/html"),
            web.hang("/hangs.xml"),
            web.file("/cut.xml", feed("cut", web.cut_off("/cut.flac", good, 3000)), "text/xml"),
            web.file("/escape.xml", feed("escape", web.redirect("/escape.flac", "file:///etc/passwd")), "text/xml"),
            web.file("/local.xml", feed("local", "file:///etc/passwd"), "text/xml"),
        ]
        done = silver(
            "--executor", "inline", "run", *build_arguments(root, Path("unset"), base_model, "acquire.path=null", f"acquire.feeds={json.dumps(feeds)}",
            "acquire.timeout=1", "acquire.retries=1", "acquire.delay=0"), "--to", "segment",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        acquired = rows(root, "acquire")
        live = {row["source_uri"] for row in acquired if row["drop_reason"] is None}
        assert {flac, web.url("/second.flac")} <= live
        assert all(len(row["title"] or "") <= 1000 for row in acquired)
        assert "root:" not in json.dumps(acquired, default=str)
        failed = {row["source_uri"]: row for row in acquired if row["drop_reason"] is not None}
        for address in ("/html.xml", "/hangs.xml", "/cut.flac", "/escape.flac"):
            assert failed[web.url(address)]["drop_detail"], address
        assert len({row["drop_reason"] for row in failed.values()}) >= 3
        assert {row["drop_reason"] for row in rows(root, "decode") if row["source_uri"] in live} == {None}


def peak(arguments: list[str]) -> int:
    """Largest resident memory of a command and its children, bytes."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY, env=environment())
    watched, largest = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            largest = max(largest, sum(p.memory_info().rss for p in [watched, *watched.children(recursive=True)]))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    assert process.wait() == 0
    return largest


def test_three_hours_of_noise_in_bounded_memory(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    write_long_noise(noise / "three-hours.flac")
    short = peak(["--executor", "inline", "run", *build_arguments(tmp_path / "short", speech_folder, base_model), "--to", "segment"])
    long = peak(["--executor", "inline", "run", *build_arguments(tmp_path / "long", noise, base_model), "--to", "segment"])
    assert long - short < 600 * 2**20, f"{(long - short) / 2**20:.0f} MB more"
    assert rows(tmp_path / "long", "decode")[0]["duration"] == 3 * 3600
