"""What every kind of student is, and which there are."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel

from manifests.store import Store
from pipeline.contract import SilverError
from stages.align.network import STUDENT, Network

if TYPE_CHECKING:
    from stages.train.data import Utterance
    from stages.transcribe.labeller import Labeller

STUDENTS = {
    "hf-whisper": "stages.train.hf_whisper:HfWhisper",
    "hf-ctc": "stages.train.hf_ctc:HfCtc",
    "encoder-ctc": "stages.train.encoder_ctc:EncoderCtc",
    "conformer-ctc": "stages.train.conformer_ctc:ConformerCtc",
}
RECORD = STUDENT
"""File of a student's folder that says its kind (`{"kind": ...}`) and options; written last."""


class Student(Protocol):
    """One kind of student. Built from its options, on every worker."""

    Options: type[BaseModel]
    window: float
    """Seconds of audio that it hears at once at most."""
    padded: bool
    """Whatever is shorter than the window costs as much: short segments are trained on several at a time, one after the other."""

    def __init__(self, options: Any) -> None: ...

    def identity(self) -> Mapping[str, str]:
        """Revisions of the models that it begins with. Raises SilverError when one is missing."""

    def check(self, texts: Sequence[str], languages: Sequence[str | None], start: Path | None) -> None:
        """Before anything runs, from gold of what it is to write: that a student like this (that of the folder `start`, if any) can.

        Raises:
            SilverError: it cannot.
        """

    def build(self, texts: Iterable[str], start: Path | None) -> Any:
        """The network (`torch.nn.Module`) to train: a new one that can write these texts, or that of the folder `start`.

        Raises:
            SilverError: it cannot write the texts.
        """

    def batch(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """Tensors of some utterances."""

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """The mean loss of a batch, a scalar tensor, with what makes learning harder (masks, dropout) while `network.training`."""

    def save(self, network: Any, folder: Path) -> None:
        """Write all that its labeller needs, `RECORD` last."""

    @staticmethod
    def labeller(folder: Path, batch_size: int) -> Labeller:
        """What transcribes with a saved student."""

    @staticmethod
    def network(folder: Path, device: str) -> Network:
        """A saved student as a CTC network, ready to run: it then aligns too.

        Raises:
            SilverError: it is none.
        """


def kind(name: str) -> type[Student]:
    """The class of a kind of student. Raises KeyError for a name that is not in the list."""
    module, _, attribute = STUDENTS[name].partition(":")
    return cast("type[Student]", getattr(importlib.import_module(module), attribute))


_fetched: dict[tuple[str, str], tempfile.TemporaryDirectory[str]] = {}


def on_this_machine(store: Store, name: str) -> Path:
    """The folder of a student of the corpus (relative to its root) as a local one: where it lies, or a copy that this process keeps."""
    if store.local:
        return Path(store.path(name))
    if (key := (store.root, name)) not in _fetched:
        folder = tempfile.TemporaryDirectory(prefix="silver-student-")
        store.fs.get(store.path(name), folder.name, recursive=True)
        _fetched[key] = folder
    return Path(_fetched[key].name)


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """For the loading of the student in a folder: say which one it is whose weights cannot be read.

    Raises:
        SilverError: they cannot.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        told = str(error).strip().partition("\n")[0]
        raise SilverError(
            f"the student in {folder} cannot be loaded ({told}). If a file of it is damaged, bring it back, or remove the folder: a student of this corpus is "
            "then trained again"
        ) from error


def labeller(folder: Path, batch_size: int) -> Labeller:
    """What transcribes with the student in a folder.

    Raises:
        SilverError: there is none.
    """
    return kind(record(folder)["kind"]).labeller(folder, batch_size)


def network(folder: Path, device: str) -> Network:
    """The student in a folder as a CTC network.

    Raises:
        SilverError: there is none, or it is of another kind.
    """
    return kind(record(folder)["kind"]).network(folder, device)


def record(folder: Path) -> dict[str, Any]:
    """What is said of the student in a folder: its kind and options.

    Raises:
        SilverError: there is none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
        kind(found["kind"])
    except (OSError, ValueError, KeyError) as error:
        raise SilverError(f"{folder} holds no student ({error}); train it again: run the recipe from its train stage") from error
    return found


def write_record(folder: Path, name: str, options: BaseModel) -> None:
    """Say what the student in a folder is: the last thing that is written there."""
    (folder / RECORD).write_text(json.dumps({"kind": name} | options.model_dump(mode="json")), encoding="utf-8")
