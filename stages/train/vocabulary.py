"""What a CTC student writes with: characters, or pieces of words (byte-pair encoding, Sennrich et al. 2016, https://arxiv.org/abs/1508.07909)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.contract import SilverError
from stages.align.network import spelled

BLANK, SPACE = "<pad>", "|"
"""In `vocab.json`, as Hugging Face's CTC models name them."""
_PIECES = "pieces.json"
_UNKNOWN = 0.01
"""Share of the characters of the training texts that may be missing."""


@dataclass(frozen=True)
class Vocabulary:
    """`labels`: what each class writes; the blank writes nothing, and is class 0 unless the model came with another one.

    >>> found = Vocabulary.of(["ab a"], pieces=0)
    >>> found.labels, found.classes("a?b")
    (('', ' ', 'a', 'b'), [2, 3])
    """

    labels: tuple[str, ...]
    blank: int = 0
    pieces: Any = None
    """`tokenizers.Tokenizer`, of pieces."""

    @classmethod
    def of(cls, texts: Iterable[str], pieces: int) -> Self:
        """That of some texts: their characters, or so many pieces."""
        if not pieces:
            characters = {character for text in texts for character in text if not character.isspace()}
            return cls(("", " ", *sorted(characters)))
        import tokenizers
        from tokenizers import models, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=pieces, special_tokens=[BLANK], show_progress=False)
        tokenizer.train_from_iterator(sorted(texts), trainer)
        return cls._of_pieces(tokenizer)

    @classmethod
    def _of_pieces(cls, tokenizer: Any) -> Self:
        names = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
        return cls(("", *(name.replace("▁", " ") for name in names[1:])), pieces=tokenizer)

    def classes(self, text: str) -> Sequence[int]:
        """Classes of a text; what cannot be written is left out."""
        if self.pieces is not None:
            return spelled(self.pieces, self.labels, text)
        index = {label: place for place, label in enumerate(self.labels) if label}
        known = ((index.get(it), index.get(it.lower()), index.get(it.upper())) for it in " ".join(text.split()))
        return [place for found in known if (place := next((place for place in found if place is not None), None)) is not None]

    def check(self, texts: Iterable[str], fix: str, what: str = "labels", limit: float = _UNKNOWN) -> None:
        """Raise SilverError, with how to mend it, if more than a share of the characters of some texts cannot be written."""
        known = {variant for label in self.labels for character in label for variant in (character, character.lower(), character.upper())}
        counts = Counter(character for text in texts for character in text if not character.isspace())
        missing = {character: count for character, count in counts.most_common() if character not in known}
        if sum(missing.values()) > limit * counts.total():
            shown = " ".join(list(missing)[:20])
            share = sum(missing.values()) / counts.total()
            raise SilverError(f"the student's vocabulary cannot write {share:.0%} of the characters of the {what} ({shown}): {fix}")

    def save(self, folder: Path) -> None:
        """Write `vocab.json`, and the pieces."""
        names = [BLANK, *(label.replace(" ", SPACE) for label in self.labels[1:])]
        (folder / "vocab.json").write_text(
            json.dumps({name: index for index, name in enumerate(names)}, ensure_ascii=False), encoding="utf-8"
        )
        if self.pieces is not None:
            self.pieces.save(str(folder / _PIECES))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a folder that `save` wrote."""
        if (folder / _PIECES).is_file():
            import tokenizers

            return cls._of_pieces(tokenizers.Tokenizer.from_file(str(folder / _PIECES)))
        names: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
        labels = [""] * len(names)
        for name, index in names.items():
            labels[index] = " " if name == SPACE else name if index else ""
        return cls(tuple(labels))
