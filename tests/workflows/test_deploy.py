"""What `deploy/` holds is what Kubernetes and Ray take."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import stages
from pipeline.recipe import load

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SCHEMA = json.loads((DEPLOY / "rayjob.schema.json").read_text())


@pytest.fixture
def job() -> Any:
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())


def test_the_rayjob_fits_its_schema_and_a_typo_does_not(job: Any) -> None:
    jsonschema.validate(job, SCHEMA)
    wrong = copy.deepcopy(job)
    wrong["spec"]["shutdownAfterJobFinished"] = wrong["spec"].pop("shutdownAfterJobFinishes")
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinished"):
        jsonschema.validate(wrong, SCHEMA)
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["rayStartParams"] = {"num-gpus": 1}
    with pytest.raises(jsonschema.ValidationError, match="is not of type 'string'"):
        jsonschema.validate(wrong, SCHEMA)


def test_its_entrypoint_is_a_recipe_that_ships_with_valid_overrides(job: Any) -> None:
    python, flag, module, recipe, *overrides = shlex.split(job["spec"]["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "workflows.build")
    loaded = load(recipe, overrides, stages.find, stages.STAGES)
    assert list(loaded.stages[0].stage.params.feeds) == ["https://example.org/feed.xml"]


def test_the_runtime_environment_is_one_that_ray_takes(job: Any) -> None:
    from ray.runtime_env import RuntimeEnv

    shared = yaml.safe_load((DEPLOY / "runtime_env.yaml").read_text())
    RuntimeEnv(**shared)
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"] == shared["env_vars"]


def test_the_images_ray_is_the_one_of_the_constraints(job: Any) -> None:
    pinned = next(line for line in (DEPLOY.parent / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned.removeprefix("ray==")
    assert f"rayproject/ray:{pinned.removeprefix('ray==')}" in (DEPLOY / "Dockerfile").read_text()
