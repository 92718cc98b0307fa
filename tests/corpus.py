"""Running the command `silver` as a user does, and reading what it left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
MOVED_RULE = "duration between 1 and 9"
"""The filter's rule about duration in the corpus `moved`."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "workflows.cli", *arguments]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more


def silver(*arguments: str, timeout: float = 300, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, check=False, cwd=REPOSITORY, env=environment(**more)
    )


def build_arguments(root: Path, audio: Path, model: Path, *overrides: str) -> list[str]:
    """`run` of the folder recipe with small parts and Whisper base."""
    return [
        "configs/folder.yaml", f"root={root}", "language=en", f"acquire.path={audio}", "part_minutes=0.3", f"transcribe.model={model}",
        "transcribe.beam_size=1", "pack.version=v1", *overrides,
    ]  # fmt: skip


def digests(root: Path) -> dict[str, str]:
    """Digest of every file that must be the same in two corpora: parts, recordings, shards, index, checksums."""
    files = [
        *root.glob("audio/**/*.flac"),
        *root.glob("manifests/**/part-*"),
        *root.glob("releases/**/*.tar"),
        *root.glob("releases/**/*.parquet"),
    ]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def strays(root: Path) -> list[str]:
    """Files that no stage means to leave."""
    known = ("audio/", "manifests/", "releases/", "runs/", "sources/", "models/")
    return [
        name for path in root.rglob("*") if path.is_file()
        and (not (name := str(path.relative_to(root))).startswith(known) or ".tmp" in name or name.startswith("tmp/") or name.endswith(".lock"))
    ]  # fmt: skip
