"""Files that optional packages ship: the models behind the signals that are off by default."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from pipeline.contract import SilverError


def model_file(signal: str, package: str, file: str) -> Path:
    """The path of a file in an installed package, which is not imported.

    Raises:
        SilverError: it is not there; the message says how to get it, or how to do without.
    """
    spec = find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.is_file():
        how = "pip install --no-deps Resemblyzer" if package == "resemblyzer" else "pip install 'silver-asr[signals]'"
        raise SilverError(
            f"score.{signal} needs the package {package} with its {file}, which is not installed: {how}, or score.{signal}=false"
        )
    return path


def revision(path: Path) -> str:
    """First 16 hex of the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
