"""What the students that learn by CTC share (connectionist temporal classification, Graves et al. 2006): batches, loss, and how they are written and read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.contract import SilverError
from stages.align import network
from stages.align.network import SHORTEST, Network
from stages.audio import Samples
from stages.normalise.text import normalise
from stages.train.data import Utterance
from stages.train.student import RECORD, record, write_record
from stages.train.vocabulary import Vocabulary
from stages.transcribe.ctc import Ctc, Decoding
from stages.transcribe.labeller import Labeller
from stages.whisper import WINDOW

WEIGHTS = "model.safetensors"
_SCRIPT = 0.1
"""Share of the characters of the gold that may be missing before anything runs: so many are another script or language, and no oddity of a file."""
_STARTED = "leave out start and go_on, or train the first student on texts that have them"


class CtcOptions(BaseModel):
    """Of `train.options` of every CTC student."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    decoding: Decoding = Field(Decoding(), description="how it writes: beam_size, lm (an ARPA file of words), lm_weight, word_score")


class CtcStudent(ABC):
    """A student whose network maps waves, shape (batch, samples), and their lengths to logits, shape (batch, frames, classes).

    The network is a `torch.nn.Module` with `convolutions`, the (kernel, stride) of the layers that make frames of samples. A text with more characters
    than the audio has frames teaches nothing.
    """

    kind: ClassVar[str]
    Options: ClassVar[type[CtcOptions]]
    batchable: ClassVar[bool] = False
    """True if padding changes nothing."""
    window = WINDOW
    padded = False

    def __init__(self, options: Any) -> None:
        self.options = options
        self._vocabulary = Vocabulary(("",))
        self._convolutions: Sequence[tuple[int, int]] = ()

    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """See `Student`."""

    @abstractmethod
    def vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        """What a new student writes with."""

    def given(self) -> Vocabulary | None:
        """That of the model to begin with; None if a new student makes its own."""
        return None

    def known(self, start: Path) -> Vocabulary:
        """What the student in a folder writes with."""
        return Vocabulary.read(start)

    @abstractmethod
    def make(self, classes: int, start: Path | None) -> Any:
        """The network; `start` has the weights of the one to go on from, if any, and None a new one."""

    def check(self, texts: Sequence[str], languages: Sequence[str | None], start: Path | None) -> None:
        """See `Student`. The gold is brought to the form of the labels first."""
        if vocabulary := self.known(start) if start else self.given():
            said = [normalise(text, language) for text, language in zip(texts, languages, strict=True)]
            vocabulary.check(said, _STARTED if start else self.fix, "gold", _SCRIPT)

    def build(self, texts: Iterable[str], start: Path | None) -> Any:
        """See `Student`.

        Raises:
            SilverError: the vocabulary of the student to go on from, or of the model to begin with, misses characters of the texts.
        """
        learned = list(texts)
        self._vocabulary = self.known(start) if start else self.vocabulary(learned)
        self._vocabulary.check(learned, _STARTED if start else self.fix)
        made = self.make(len(self._vocabulary.labels), start)
        self._convolutions = made.convolutions
        return made

    fix: ClassVar[str] = "train on texts that have them"
    """What to do if the vocabulary of the model to begin with is not enough."""

    def batch(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """Waves, shape (batch, longest), targets, shape (all classes,), and the lengths of both."""
        import torch

        samples = [utterance.samples for utterance in utterances]
        waves = np.zeros((len(samples), max(SHORTEST, *map(len, samples))), np.float32)
        for line, wave in zip(waves, samples, strict=True):
            line[: len(wave)] = self.heard(wave)
        return {
            "waves": torch.from_numpy(waves),
            "lengths": torch.tensor([len(wave) for wave in samples]),
            "frames": torch.tensor([network.frames(self._convolutions, len(wave)) for wave in samples]),
        } | self._targets(utterances)

    def heard(self, wave: Samples) -> Samples:
        """A wave as the network takes it."""
        return wave

    def _targets(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        import torch

        classes = [self._vocabulary.classes(utterance.text) for utterance in utterances]
        return {
            "targets": torch.tensor([index for own in classes for index in own]),
            "target_lengths": torch.tensor([len(own) for own in classes]),
        }

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """The CTC loss of a character, mean over the batch."""
        return self._loss(network(batch["waves"], batch["lengths"]), batch)

    def _loss(self, logits: Any, batch: Mapping[str, Any]) -> Any:
        import torch

        frames = torch.clamp(batch["frames"], max=logits.shape[1])
        log_probs = torch.log_softmax(logits.float(), dim=-1).transpose(0, 1)
        return torch.nn.functional.ctc_loss(
            log_probs, batch["targets"], frames, batch["target_lengths"], blank=self._vocabulary.blank, zero_infinity=True
        )

    def save(self, network: Any, folder: Path) -> None:
        """Weights, vocabulary, options."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)
        self._vocabulary.save(folder)
        write_record(folder, self.kind, self.options)

    @staticmethod
    def labeller(folder: Path, batch_size: int) -> Labeller:
        """See `stages.transcribe.ctc`."""
        return Ctc(str(folder), Decoding.model_validate(record(folder)["decoding"]), batch_size)

    @classmethod
    def network(cls, folder: Path, device: str) -> Network:
        """See `Student`."""
        own = {name: value for name, value in record(folder).items() if name != "kind"}
        vocabulary = Vocabulary.read(folder)
        module = cls(cls.Options.model_validate(own)).make(len(vocabulary.labels), folder).to(device).eval()
        return Network(
            module,
            vocabulary.labels,
            0,
            module.convolutions,
            None,
            cls.batchable,
            device,
            vocabulary.classes if vocabulary.pieces else None,
        )


def load_weights(module: Any, folder: Path) -> Any:
    """The module with the weights of a folder that `CtcStudent.save` wrote.

    Raises:
        SilverError: they are of another network, or not all there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise SilverError(
            f"{folder / WEIGHTS} does not fit the options of this student ({str(error).splitlines()[0]}): give it those of {RECORD} beside it"
        ) from error
    return module
