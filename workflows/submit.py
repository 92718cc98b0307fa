"""Hands a recipe to the job server of a running Ray cluster."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from pipeline.contract import SilverError

LEFT_AT_HOME = [".git", ".venv", ".cache", "demo", "build", "tests", "benchmarks", "**/__pycache__"]
"""Not shipped with the working directory."""


def submit(arguments: list[str], address: str | None, runtime_env: str | None, *, wait: bool) -> int:
    """Submit `python -m workflows.build ARGUMENTS` with this repository as working directory; the job's exit status.

    Raises:
        SilverError: no job server answers.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    server = address or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
    environment: dict[str, Any] = yaml.safe_load(Path(runtime_env).read_text()) if runtime_env else {}
    environment.setdefault("working_dir", str(Path(__file__).resolve().parent.parent))
    environment.setdefault("excludes", LEFT_AT_HOME)
    try:
        client = JobSubmissionClient(server)
        job = client.submit_job(entrypoint=shlex.join(["python", "-m", "workflows.build", *arguments]), runtime_env=environment)
    except (ConnectionError, RuntimeError) as error:
        raise SilverError(
            f"no job server takes the job at {server}: {error}. Is the cluster's dashboard running, and RAY_AUTH_MODE the same here?"
        ) from error
    print(f"submitted as {job} to {server}")
    if not wait:
        print(f"follow it with: ray job logs --follow --address {server} {job}")
        return 0

    async def follow() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    asyncio.run(follow())
    status = client.get_job_status(job)
    print(f"{job}: {status}")
    return 0 if status == JobStatus.SUCCEEDED else 1
