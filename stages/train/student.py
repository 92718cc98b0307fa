"""What every kind of student is, and which there are."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel

from pipeline.contract import SilverError
from stages.audio import Samples

if TYPE_CHECKING:
    from stages.transcribe.labeller import Labeller

STUDENTS = {
    "hf-whisper": "stages.train.hf_whisper:HfWhisper",
}
RECORD = "student.json"
"""File of a student's folder that says its kind (`{"kind": ...}`); written last."""


class Student(Protocol):
    """One kind of student. Built from its options, on every worker."""

    Options: type[BaseModel]
    tier: str
    """Column that it learns to write: `text` (normalised) or `text_pnc` (punctuated)."""
    window: float
    """Seconds of audio that it hears at once at most."""
    padded: bool
    """Whatever is shorter than the window costs as much: short segments are trained on several at a time, one after the other."""

    def __init__(self, options: Any) -> None: ...

    def identity(self) -> Mapping[str, str]:
        """Revisions of the models that it begins with. Raises SilverError when one is missing."""

    def build(self, texts: Iterable[str], start: Path | None) -> Any:
        """The network (`torch.nn.Module`) to train: a new one that can write these texts, or that of the folder `start`.

        Raises:
            SilverError: it cannot write the texts.
        """

    def batch(self, samples: Sequence[Samples], texts: Sequence[str], languages: Sequence[str | None]) -> dict[str, Any]:
        """Tensors of some windows (16 kHz samples in -1..1)."""

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """The mean loss of a batch, a scalar tensor, with what makes learning harder (masks, dropout) while `network.training`."""

    def save(self, network: Any, folder: Path) -> None:
        """Write all that its labeller needs, `RECORD` last."""

    @staticmethod
    def labeller(folder: Path, batch_size: int) -> Labeller:
        """What transcribes with a saved student."""


def kind(name: str) -> type[Student]:
    """The class of a kind of student. Raises KeyError for a name that is not in the list."""
    module, _, attribute = STUDENTS[name].partition(":")
    return cast("type[Student]", getattr(importlib.import_module(module), attribute))


def labeller(folder: Path, batch_size: int) -> Labeller:
    """What transcribes with the student in a folder.

    Raises:
        SilverError: there is none.
    """
    try:
        name = json.loads((folder / RECORD).read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError) as error:
        raise SilverError(f"{folder} holds no student ({error}); train it again: run the recipe from its train stage") from error
    return kind(name).labeller(folder, batch_size)
