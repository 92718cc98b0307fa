"""Two texts word by word: which words went, which came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Change = Literal["same", "gone", "new"]


class Run(NamedTuple):
    """Consecutive words that share their fate."""

    change: Change
    text: str


def compare(before: str | None, after: str | None) -> list[Run]:
    """The words of both texts in order, by the fewest words that went or came; what changed in place is `gone`, then `new`.

    >>> compare("the conferense is locked", "the conference is locked")
    [Run(change='same', text='the'), Run(change='gone', text='conferense'), Run(change='new', text='conference'), Run(change='same', text='is locked')]
    """
    old, new = (before or "").split(), (after or "").split()
    runs: list[Run] = []
    for step in Levenshtein.opcodes(old, new):
        if step.tag == "equal":
            runs.append(Run("same", _text(old[step.src_start : step.src_end])))
        else:
            if step.src_end > step.src_start:
                runs.append(Run("gone", _text(old[step.src_start : step.src_end])))
            if step.dest_end > step.dest_start:
                runs.append(Run("new", _text(new[step.dest_start : step.dest_end])))
    return runs


def _text(words: Sequence[str]) -> str:
    return " ".join(words)


def marked(runs: Sequence[Run]) -> str:
    """As plain text: `[-gone-]` and `{+new+}`, as `git diff --word-diff` writes it.

    >>> marked(compare("a b c", "a c"))
    'a [-b-] c'
    """
    shapes = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return " ".join(shapes[run.change].format(run.text) for run in runs)
