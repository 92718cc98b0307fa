"""A disk that fills up or refuses to be written: a clear message, nothing lost, and a later run goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus import build_arguments, digests, silver, strays


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; `remount` changes its size or mode."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting a file system needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def remount(mount: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(mount)], check=True)


def fill(mount: Path, leave: int) -> Path:
    ballast = mount / "ballast"
    free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize
    with ballast.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, max(4096, free - leave))
    return ballast


@pytest.mark.parametrize("leave", [40_000, 700_000], ids=["while committing", "while storing recordings"])
def test_disk_full_while_committing(small_disk: Path, speech_folder: Path, base_model: Path, leave: int) -> None:
    root = small_disk / "root"
    arguments = ["--executor", "inline", "run", *build_arguments(root, speech_folder, base_model), "--to", "segment"]
    ballast = fill(small_disk, leave)
    failed = silver(*arguments)
    assert failed.returncode == 1
    assert "No space left on device" in failed.stderr or "the disk is full" in failed.stderr
    assert "Traceback (most recent" not in failed.stderr
    ballast.unlink()
    done = silver(*arguments)
    assert done.returncode == 0, done.stderr
    assert strays(root) == []


def test_disk_full_while_packing(small_disk: Path, speech_folder: Path, base_model: Path, built: Path) -> None:
    root = small_disk / "root"
    arguments = build_arguments(root, speech_folder, base_model)
    assert silver("--executor", "inline", "run", *arguments, "--to", "filter").returncode == 0
    ballast = fill(small_disk, 300_000)
    failed = silver("--executor", "inline", "run", *arguments)
    assert failed.returncode == 1
    assert "the disk is full" in failed.stderr
    assert "Traceback (most recent" not in failed.stderr
    assert not (root / "releases" / "v1" / "release.json").exists()
    ballast.unlink()
    assert silver("--executor", "inline", "run", *arguments).returncode == 0
    assert strays(root) == []
    verified = silver("verify", str(root / "releases" / "v1"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert digests(root) == digests(built)


def test_a_read_only_root(small_disk: Path, speech_folder: Path, base_model: Path) -> None:
    root = small_disk / "root"
    remount(small_disk, "ro")
    failed = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, base_model))
    assert failed.returncode == 1
    assert "the corpus root is read-only" in failed.stderr
    assert "Traceback (most recent" not in failed.stderr


def test_two_runs_at_once_on_one_root(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    from manifests.store import Store
    from pipeline.lock import RootLock

    root = tmp_path / "root"
    with RootLock(Store(str(root))):
        failed = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, base_model))
    assert failed.returncode == 1
    assert f"{root} is in use by process {os.getpid()}" in failed.stderr


def test_a_model_folder_with_a_wrong_hash(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    damaged = tmp_path / "base"
    damaged.mkdir()
    for file in base_model.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    with (damaged / "model.bin").open("r+b") as handle:
        handle.seek(5_000_000)
        handle.write(b"\0\1\2\3")
    root = tmp_path / "root"
    failed = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, damaged))
    assert failed.returncode == 1
    assert "model.bin" in failed.stderr
    assert "sha256" in failed.stderr
    assert not root.exists() or not list(root.glob("manifests/*/*/part-*")), "nothing may start before the models are checked"


def test_a_missing_model_is_an_error_before_any_work(tmp_path: Path, speech_folder: Path) -> None:
    root = tmp_path / "root"
    failed = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, Path("large-v9")))
    assert failed.returncode == 1
    assert "large-v9" in failed.stderr
    assert not root.exists() or not list(root.glob("manifests/*/*/part-*"))


def test_a_recipe_with_a_typo(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    failed = silver("run", *build_arguments(tmp_path / "root", speech_folder, base_model, "transcribe.beam_sise=2"))
    assert failed.returncode == 2
    assert "did you mean 'beam_size'?" in failed.stderr
    assert not (tmp_path / "root").exists()
