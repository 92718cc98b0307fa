"""Student `conformer-ctc`: torchaudio's Conformer (Gulati et al. 2020, https://arxiv.org/abs/2005.08100) from scratch, small enough to label fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.train.ctc import CtcOptions, CtcStudent, load_weights
from stages.train.vocabulary import Vocabulary


class ConformerCtc(CtcStudent):
    """3.9 million parameters as it is; it takes hours of speech to begin to write, and a learning rate of about 1e-3."""

    kind = "conformer-ctc"

    class Options(CtcOptions):
        """Of `train.options`."""

        pieces: int = Field(0, ge=0, description="pieces of words (BPE) that it writes with; 0: characters, with which it also aligns")
        width: int = Field(144, ge=8, description="channels of a layer; a multiple of heads")
        layers: int = Field(8, ge=1, description="Conformer layers")
        heads: int = Field(4, ge=1, description="of attention")
        kernel: int = Field(31, ge=3, description="frames that a convolution sees; odd")
        dropout: float = Field(0.1, ge=0, lt=1, description="share of activations that are left out in training")
        time_masks: int = Field(2, ge=0, description="SpecAugment: masks over time of up to 0.4 s")
        frequency_masks: int = Field(2, ge=0, description="SpecAugment: masks of up to 20 mel channels")

    def identity(self) -> Mapping[str, str]:
        """The language model, if there is one: it begins with nothing."""
        return dict(self.options.decoding.identity())

    def vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        """That of the texts."""
        return Vocabulary.of(texts, self.options.pieces)

    def make(self, classes: int, start: Path | None) -> Any:
        """See `stages.train.conformer`."""
        from stages.train.conformer import Conformer

        made = Conformer(self.options, classes)
        return load_weights(made, start) if start else made
