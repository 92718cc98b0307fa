"""Labels by a CTC network: a student of this corpus, or any Hugging Face CTC model of raw audio. The best path, or a beam search with a language model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from manifests.schema import Row
from pipeline.contract import FilePath, ItemError, PartContext, SilverError
from stages import models
from stages.align import network
from stages.align.network import LogProbs, Network
from stages.audio import Samples
from stages.transcribe.labeller import Hypothesis
from stages.whisper import read_window
from stages.words import written_words


class Decoding(BaseModel):
    """How a text is found in what a CTC network says of each frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    beam_size: int = Field(1, ge=1, description="hypotheses that the search keeps (some dozens are usual); 1 takes the best path")
    lm: FilePath = Field(
        None,
        description="n-gram model of words as KenLM's ARPA file (`lmplz -o 3 < text > lm.arpa`); only its words are then written, so normalise its text as the labels were",
    )
    lm_weight: float = Field(1.0, ge=0, description="of the language model's log-probability")
    word_score: float = Field(0.0, description="added for each word: above 0 writes more of them")

    @property
    def searches(self) -> bool:
        """False if the best path is taken."""
        return self.beam_size > 1 or self.lm is not None

    def identity(self) -> Mapping[str, str]:
        """What is in the language model. Raises SilverError when it is missing."""
        if self.lm is None:
            return {}
        try:
            return {"lm": hashlib.sha256(Path(self.lm).read_bytes()).hexdigest()}
        except OSError as error:
            raise SilverError(f"the language model {self.lm} cannot be read: {error}") from error


@dataclass(frozen=True)
class Token:
    """One class on the chosen path: what it writes, and the natural log-probability of it where it is heard best."""

    text: str
    logprob: float


class Ctc:
    """A labeller of a CTC network in a folder."""

    def __init__(self, model: str, decoding: Decoding, batch_size: int) -> None:
        self._model, self._decoding, self._batch_size = model, decoding, batch_size

    def identity(self) -> Mapping[str, str]:
        """The network's weights, and the language model."""
        return dict(models.identity(self._model)) | dict(self._decoding.identity())

    def setup(self, context: PartContext) -> None:
        """Load both."""
        import torch

        torch.set_num_threads(context.threads)
        self._network = network.load(str(models.find(self._model)), context.device)
        self._search = Search(self._network, self._decoding) if self._decoding.searches else None

    def label(self, rows: Sequence[Row], context: PartContext) -> list[Hypothesis | ItemError]:
        """See `Labeller`. `avg_logprob` is that of the characters (or pieces) that are written, the blanks between them left out."""
        results: list[Hypothesis | ItemError | None] = [None] * len(rows)
        waves: list[tuple[int, Samples]] = []
        for index, row in enumerate(rows):
            try:
                waves.append((index, read_window(context, row)))
            except ItemError as error:
                results[index] = error
        for (index, _), found in zip(waves, self._network.log_probs([wave for _, wave in waves], self._batch_size), strict=True):
            results[index] = hypothesis(self._search(found) if self._search else best_path(found, self._network))
        return [result for result in results if result is not None]


def best_path(log_probs: LogProbs, known: Network) -> list[Token]:
    """The most probable class of each frame, repetitions merged, blanks left out.

    >>> from types import SimpleNamespace
    >>> said = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.9, 0.0001], [0.9, 0.1, 0.1], [0.1, 0.7, 0.2]], np.float32))
    >>> [token.text for token in best_path(said, SimpleNamespace(blank=0, labels=("", "a", "b")))]
    ['a', 'a']
    """
    if not log_probs.size:
        return []
    tokens = []
    best = log_probs.max(axis=1)
    for index, frames in groupby(enumerate(log_probs.argmax(axis=1).tolist()), key=lambda frame: frame[1]):
        own = [at for at, _ in frames]
        if index != known.blank:
            tokens.append(Token(known.labels[index], float(best[own].max())))
    return tokens


class Search:
    """Beam search by flashlight-text, as torchaudio wraps it (Kahn et al. 2022, "Flashlight", https://arxiv.org/abs/2201.12465)."""

    _SPACE = "|"

    def __init__(self, known: Network, decoding: Decoding) -> None:
        from torchaudio.models.decoder import ctc_decoder

        # Its files are split at spaces; what writes nothing needs a name all the same.
        tokens = [label.replace(" ", self._SPACE) or f"<{index}>" for index, label in enumerate(known.labels)]
        if decoding.lm and self._SPACE not in tokens and known.spell is None:
            raise SilverError(
                "this network has no class for the space between words, so a language model of words cannot help it: leave out lm"
            )
        self._known = known
        options: dict[str, Any] = {
            "tokens": tokens, "nbest": 1, "beam_size": max(decoding.beam_size, 2), "blank_token": tokens[known.blank],
            "sil_token": self._SPACE if self._SPACE in tokens else tokens[known.blank], "word_score": decoding.word_score,
        }  # fmt: skip
        if decoding.lm is None:
            self._decoder = ctc_decoder(lexicon=None, lm=None, **options)
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".lexicon") as lexicon:
            end = [self._SPACE] if self._SPACE in tokens else []
            spelled = 0
            for word in arpa_words(Path(decoding.lm)):
                if classes := spelling(known, word):
                    lexicon.write("\t".join((word, " ".join([*(tokens[index] for index in classes), *end]))) + "\n")
                    spelled += 1
            if not spelled:
                raise SilverError(
                    f"{decoding.lm}: the network can spell none of its words; normalise the text that it is made of as the labels were"
                )
            lexicon.flush()
            self._decoder = ctc_decoder(lexicon=lexicon.name, lm=str(decoding.lm), lm_weight=decoding.lm_weight, **options)

    def __call__(self, log_probs: LogProbs) -> list[Token]:
        """The best hypothesis."""
        import torch

        if not log_probs.size:
            return []
        found = self._decoder(torch.from_numpy(np.ascontiguousarray(log_probs))[None])[0]
        if not found:
            return []
        # The search begins before the first frame and ends behind the last one.
        steps = zip(found[0].tokens.tolist(), (found[0].timesteps - 1).tolist(), strict=True)
        return [Token(self._known.labels[index], float(log_probs[frame, index])) for index, frame in steps if 0 <= frame < len(log_probs)]


def spelling(known: Network, word: str) -> Sequence[int]:
    """Classes of a word; none if the network cannot write it whole."""
    if known.spell is not None:
        classes = known.spell(word)
        return classes if "".join(known.labels[index] for index in classes).strip() == word else []
    found = [next((known.vocabulary[c] for c in (it, it.lower(), it.upper()) if c in known.vocabulary), None) for it in word]
    return [index for index in found if index is not None] if None not in found else []


def arpa_words(path: Path) -> Iterator[str]:
    """The words of an ARPA file, without the marks of sentences.

    Raises:
        SilverError: it is none.
    """
    with path.open(encoding="utf-8", errors="replace") as handle:
        lines = iter(handle)
        if not any(line.strip() == "\\1-grams:" for line in lines):
            raise SilverError(f"{path} is no ARPA file: it has no section \\1-grams: (a binary of KenLM does not tell its words)")
        for line in lines:
            if not line.strip() or line.startswith("\\"):
                return
            word = line.split("\t")[1].strip()
            if not word.startswith("<"):
                yield word


def hypothesis(tokens: Sequence[Token]) -> Hypothesis:
    """The text of a path, with the mean probability of the classes of each word.

    >>> hypothesis([Token("o", 0.0), Token("n", 0.0), Token(" ", 0.0), Token("e", 0.0)])
    Hypothesis(text='on e', avg_logprob=0.0, no_speech_prob=None, scores=(1.0, 1.0))
    """
    text = "".join(token.text for token in tokens)
    owners = [number for number, token in enumerate(tokens) for character in token.text if not character.isspace()]
    words = written_words(text)
    scores, at = [], 0
    for word in words:
        own = dict.fromkeys(owners[at : at + len(word)])
        at += len(word)
        scores.append(float(np.mean([np.exp(tokens[owner].logprob) for owner in own])))
    written = [token.logprob for token in tokens if token.text.strip()]
    return Hypothesis(" ".join(text.split()), float(np.mean(written)) if written else None, None, tuple(scores))
