"""The recipe as a Ray job on a cluster of two nodes: the corpus is the one that a single process makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml

from manifests.corpus import Corpus
from tests.corpus import REPOSITORY, build_arguments, digests, environment, silver


def test_silver_submit_over_two_nodes_and_ray_job_submit_to_resume(
    built: Path, ray_nodes: SimpleNamespace, tmp_path: Path, speech_folder: Path, base_model: Path
) -> None:
    node = ray_nodes.cluster.add_node(num_cpus=1)
    try:
        root = tmp_path / "root"
        arguments = build_arguments(root, speech_folder, base_model)
        runtime = tmp_path / "env.yaml"
        runtime.write_text(yaml.safe_dump({"env_vars": {"OMP_NUM_THREADS": "1"}}))
        first = silver("--address", ray_nodes.jobs, "submit", *arguments, "--runtime-env", str(runtime), timeout=400)
        assert first.returncode == 0, first.stdout + first.stderr
        assert "part(s) made" in first.stdout
        assert digests(root) == digests(built)
        ray = Path(sys.executable).with_name("ray")
        again = subprocess.run(
            [str(ray), "job", "submit", "--address", ray_nodes.jobs, "--working-dir", str(REPOSITORY), "--runtime-env-json",
             '{"excludes": [".git", ".venv", ".cache", "demo"]}', "--", sys.executable, "-m", "workflows.build", *arguments],
            capture_output=True, text=True, timeout=300, check=False, env=environment(), cwd=REPOSITORY,
        )  # fmt: skip
        assert again.returncode == 0, again.stdout + again.stderr
        assert "nothing to do" in again.stdout
        asked = silver(
            "--address", ray_nodes.jobs, "submit", *arguments, "filter.target_wer=0.12", "pack.version=v2", "--runtime-env", str(runtime),
            timeout=300,
        )  # fmt: skip
        assert asked.returncode == 0, asked.stdout + asked.stderr
        thresholds = {manifest.info().get("surveyed") for manifest in Corpus(str(root)).manifests if manifest.stage == "filter"}
        assert len(thresholds) == 1
        assert thresholds != {None}, "DuckDB aborted in the driver of a Ray job"
        typo = silver("--address", ray_nodes.jobs, "submit", *arguments, "transcribe.modle=base")
        assert (typo.returncode, "did you mean 'model'?" in typo.stderr) == (2, True)
    finally:
        ray_nodes.cluster.remove_node(node)


def test_a_job_server_that_is_not_there_is_a_clear_error(tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    failed = silver("--address", "http://127.0.0.1:9", "submit", *build_arguments(tmp_path / "root", speech_folder, base_model))
    assert failed.returncode == 1
    assert "no job server takes the job at http://127.0.0.1:9" in failed.stderr
