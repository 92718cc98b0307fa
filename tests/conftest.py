"""One Ray cluster a test session, on its own ports and temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SILVER_MODELS", str(Path(__file__).parent.parent / ".cache" / "models"))
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # a job runs the `python` of the head


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[SimpleNamespace]:
    """A cluster with a head of two CPUs and a job server; `cluster.add_node` adds nodes. Ended with the session, it alone."""
    with tempfile.TemporaryDirectory(prefix="silver-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder  # before Ray is imported: the file with the current address lies there too
        from ray.cluster_utils import Cluster

        dashboard = free_port()
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2, "include_dashboard": True, "dashboard_port": dashboard, "object_store_memory": 200 * 2**20,
            },
        )  # fmt: skip
        yield SimpleNamespace(cluster=cluster, address=cluster.address, jobs=f"http://127.0.0.1:{dashboard}")
        cluster.shutdown()


@pytest.fixture(scope="session")
def ray_cluster(ray_nodes: SimpleNamespace) -> str:
    """Address of the cluster, for drivers."""
    return str(ray_nodes.address)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Whisper base, fetched once into the repository's cache."""
    from tests.models import base_model as fetched

    return fetched()


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six short recordings of real English speech, 12 to 20 s each, as FLAC."""
    import soundfile

    from tests.speech import long_speech

    folder = tmp_path_factory.mktemp("speech")
    samples, spans = long_speech("en", 110, pause=0.6)
    cuts = [0, *(next(index for index, (start, _, _) in enumerate(spans) if start >= 18 * n) for n in range(1, 6)), len(spans)]
    for number, (first, last) in enumerate(itertools.pairwise(cuts)):
        start, end = spans[first][0], spans[last - 1][1]
        soundfile.write(folder / f"show-{number}.flac", samples[max(0, round(start * 16000) - 4000) : round(end * 16000) + 4000], 16000)
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, speech_folder: Path, base_model: Path) -> Path:
    """The root of a corpus that was built without disturbance; tests read it, and build their own to change it."""
    from tests.corpus import build_arguments, silver

    root = tmp_path_factory.mktemp("built") / "root"
    done = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, base_model))
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def moved(built: Path, tmp_path_factory: pytest.TempPathFactory, speech_folder: Path, base_model: Path) -> Path:
    """The corpus after its rule about duration was made stricter; tests read it, and copy it to break it."""
    from tests.corpus import MOVED_RULE, build_arguments, silver

    root = tmp_path_factory.mktemp("moved") / "root"
    shutil.copytree(built, root)
    arguments = build_arguments(root, speech_folder, base_model, f"filter.rules.duration={MOVED_RULE}", "pack.version=v2")
    done = silver("--executor", "inline", "run", *arguments)
    assert done.returncode == 0, done.stderr
    return root
