"""SIGKILL of the driver, of a worker and of a node, at moments that were not chosen: the finished corpus is the undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import psutil

from tests.corpus import MOVED_RULE, REPOSITORY, build_arguments, command, digests, environment, silver, strays

KILLS = 20


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=environment(),
        start_new_session=True,
    )


def test_the_driver_killed_twenty_times_at_random_moments(built: Path, tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    chance = random.Random(7)
    root, kills, deadline = tmp_path / "root", 0, time.monotonic() + 480
    arguments = ["--executor", "inline", "run", *build_arguments(root, speech_folder, base_model)]
    while kills < KILLS:
        assert time.monotonic() < deadline, f"only {kills} kills"
        runs = len(list(root.glob("runs/*/events.jsonl")))
        driver = start(*arguments)
        while driver.poll() is None and len(list(root.glob("runs/*/events.jsonl"))) == runs:
            time.sleep(0.02)  # until it holds the lock and works
        time.sleep(chance.uniform(0.0, 3.0))
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
            kills += 1
        _, said = driver.communicate(timeout=60)
        if driver.returncode == 0:  # it got through before the kill: compare, and begin again
            assert digests(root) == digests(built)
            shutil.rmtree(root)
        else:
            assert driver.returncode == -signal.SIGKILL, said
    done = silver(*arguments)
    assert done.returncode == 0, done.stderr
    assert digests(root) == digests(built)
    assert strays(root) == []


def test_a_worker_killed_while_it_transcribes(
    built: Path, tmp_path: Path, speech_folder: Path, base_model: Path, ray_nodes: SimpleNamespace
) -> None:
    root = tmp_path / "root"
    driver = start("--executor", "ray", "--address", ray_nodes.address, "run", *build_arguments(root, speech_folder, base_model))
    while driver.poll() is None and not list(root.glob("manifests/segment/*/part-*")):
        time.sleep(0.05)
    victims = [
        p
        for p in psutil.process_iter(["name", "cmdline"])
        if "ray::" in " ".join(p.info["cmdline"] or []) and "MapWorker" in " ".join(p.info["cmdline"] or [])
    ]
    assert victims, "no worker to kill"
    victims[0].kill()
    _, said = driver.communicate(timeout=240)
    assert driver.returncode == 0, said
    assert digests(root) == digests(built)
    assert strays(root) == []


def test_a_node_killed_in_the_middle(
    built: Path, tmp_path: Path, speech_folder: Path, base_model: Path, ray_nodes: SimpleNamespace
) -> None:
    node = ray_nodes.cluster.add_node(num_cpus=1)
    root = tmp_path / "root"
    driver = start("--executor", "ray", "--address", ray_nodes.address, "run", *build_arguments(root, speech_folder, base_model))
    while driver.poll() is None and not list(root.glob("manifests/segment/*/part-*")):
        time.sleep(0.05)
    ray_nodes.cluster.remove_node(node, allow_graceful=False)
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert digests(root) == digests(built)
    assert strays(root) == []


def test_a_release_after_another_killed_at_random_moments_ends_in_the_same_bytes(
    built: Path, tmp_path: Path, speech_folder: Path, base_model: Path
) -> None:
    """Seven kills while filter, pack, index, card and reading back are on their way; every file of the release is compared."""

    def arguments(root: Path) -> list[str]:
        moved = (f"filter.rules.duration={MOVED_RULE}", "pack.shard_seconds=30")
        found = [item for item in build_arguments(root, speech_folder, base_model, *moved) if not item.startswith("pack.version")]
        return ["--executor", "inline", "release", *found, "--version", "v2"]

    def files(root: Path) -> dict[str, bytes]:
        folder = root / "releases"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    roots = [tmp_path / name for name in ("undisturbed", "killed")]
    for root in roots:
        shutil.copytree(built, root)

    def begun(root: Path) -> subprocess.Popen[str]:
        """The command, once it holds the lock and works."""
        runs = len(list(root.glob("runs/*/events.jsonl")))
        driver = start(*arguments(root))
        while driver.poll() is None and len(list(root.glob("runs/*/events.jsonl"))) == runs:
            time.sleep(0.02)
        return driver

    driver, began = begun(roots[0]), time.monotonic()
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    whole, chance, kills = time.monotonic() - began, random.Random(11), 0
    for _ in range(7):
        driver = begun(roots[1])
        try:
            driver.wait(chance.uniform(0.0, 1.0) * whole)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            kills += 1
        driver.communicate(timeout=60)
        if driver.returncode == 0:  # it got through before the kill: compare, and begin again
            assert files(roots[1]) == files(roots[0])
            shutil.rmtree(roots[1])
            shutil.copytree(built, roots[1])
    assert kills
    done = silver(*arguments(roots[1]))
    assert done.returncode == 0, done.stderr
    assert files(roots[1]) == files(roots[0])
    assert strays(roots[1]) == []
