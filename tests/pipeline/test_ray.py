"""The same engine on a real Ray cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import requests

from manifests.store import Store
from pipeline.contract import SilverError
from pipeline.executors import InlineExecutor, RayExecutor, make_groups
from pipeline.plan import resolve
from pipeline.progress import Progress
from pipeline.run import run
from tests.pipeline.test_engine import Corner


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    return Corner(tmp_path)


@pytest.fixture(scope="module")
def executor(ray_cluster: str) -> Iterator[RayExecutor]:
    executor = RayExecutor(ray_cluster)
    yield executor
    ray.shutdown()


def test_ray_makes_the_bytes_that_the_calling_process_makes(corner: Corner, executor: RayExecutor, tmp_path: Path) -> None:
    corner.run()
    inline = corner.bytes()
    corner.root = tmp_path / "ray"
    result = run(corner.load(f"root={corner.root}"), executor, Progress(quiet=True))
    assert corner.bytes() == inline
    assert result.made["shout"] == 2
    assert run(corner.load(f"root={corner.root}"), executor, Progress(quiet=True)).made == {}


def test_a_change_of_resources_starts_a_new_operator(corner: Corner, executor: RayExecutor, tmp_path: Path) -> None:
    corner.run()
    inline = corner.bytes()
    corner.root = tmp_path / "ray"
    recipe = corner.load(f"root={corner.root}", "shout.resources.num_cpus=0.5", "shout.resources.workers=1")
    nodes = resolve(recipe, Store(str(corner.root)))
    groups = make_groups(nodes[1:4], {"CPU": 2.0})
    assert [[step.stage.name for step in group.steps] for group in groups] == [["letters"], ["shout"], ["short"]]
    run(recipe, executor, Progress(quiet=True))
    assert corner.bytes() == inline


def test_stages_take_a_gpu_where_there_is_one(corner: Corner) -> None:
    recipe = corner.load()
    nodes = resolve(recipe, Store(str(corner.root)))[1:4]
    type(nodes[1].stage).accelerated = True
    try:
        groups = make_groups(nodes, {"CPU": 8.0, "GPU": 2.0})
    finally:
        type(nodes[1].stage).accelerated = False
    assert [(group.resources.num_gpus, group.resources.num_cpus, group.resources.workers) for group in groups] == [
        (0.0, 1.0, 4),
        (1.0, 0.0, 2),
        (0.0, 1.0, 4),
    ]


def test_more_gpus_than_there_are_is_an_error_that_names_the_setting(corner: Corner) -> None:
    nodes = resolve(corner.load("shout.resources.num_gpus=1"), Store(str(corner.root)))[1:4]
    with pytest.raises(SilverError, match=r"shout wants 1 GPU a worker, and the cluster has 0; set shout\.resources\.num_gpus"):
        make_groups(nodes, {"CPU": 2.0})


def test_a_worker_killed_in_a_part_costs_that_part_only(corner: Corner, executor: RayExecutor, tmp_path: Path) -> None:
    corner.file.write_text("one two\nthree\ndie four\nfive\n")
    once = tmp_path / "died"
    run(corner.load(f"shout.once={once}"), executor, Progress(quiet=True))
    assert once.exists()
    assert (corner.root / "book.txt").read_text() == "ONE!\nTWO!\nTHREE!\nDIE!\nFOUR!\nFIVE!"
    assert not (corner.root / "tmp").exists()


def test_a_part_that_fails_on_ray_is_named_and_leaves_the_others(corner: Corner, executor: RayExecutor) -> None:
    corner.file.write_text("one\ntwo\nboom\nfour\nfive\nsix\n")
    with pytest.raises(SilverError, match="RuntimeError: boom"):
        run(corner.load(), executor, Progress(quiet=True))
    assert {row["title"] for row in corner.rows("short")} == {"one", "two", "five", "six"}


def test_map_keeps_the_order_and_the_error(executor: RayExecutor) -> None:
    assert list(executor.map(abs, [-3, 2, -1])) == list(InlineExecutor().map(abs, [-3, 2, -1])) == [3, 2, 1]
    with pytest.raises(ValueError, match="invalid literal"):
        list(executor.map(int, ["1", "x"]))


def test_prometheus_and_the_dashboard_see_stage_part_and_reason(corner: Corner, executor: RayExecutor, tmp_path: Path) -> None:
    from ray.util.state import list_tasks

    corner.root = tmp_path / "measured"
    run(corner.load(f"root={corner.root}"), executor, Progress(quiet=True))
    wanted = {
        ("parts", "shout", ""): 2.0,
        ("rows", "shout", ""): 5.0,
        ("dropped_rows", "short", "long"): 1.0,
        ("dropped_rows", "letters", "no_words"): 1.0,
    }
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[tuple[str, str, str], float] = {}
    for _ in range(60):  # Ray hands metrics on every few seconds
        found.clear()
        for name, tags, value in re.findall(
            r"^ray_silver_(\w+)_total\{(.*)\} (\S+)$", requests.get(address, timeout=10).text, re.MULTILINE
        ):
            told = dict(re.findall(r'(\w+)="([^"]*)"', tags))
            if told["corpus"] == "measured":
                key = (name, told["stage"], told.get("reason", ""))
                found[key] = found.get(key, 0) + float(value)  # of all workers
        if wanted.items() <= found.items():
            break
        time.sleep(0.5)
    assert {name: found.get(name) for name in wanted} == wanted
    names = [task.name for task in list_tasks(limit=10_000)]
    assert {f"shout part {path.stem.removeprefix('part-')}" for path in corner.root.glob("manifests/shout/*/part-*")} <= set(names)
    assert any("letters+shout" in name for name in names)
