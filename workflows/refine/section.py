"""The section `refine` of a recipe, and the stages that it stands for.

    shards  select_1 train_1  relabel_2 select_2 train_2  ...  relabel_final adopt

Round 1 learns the original labels. In each round after it the student of the round before writes every segment; what agrees with the ORIGINAL
label is selected and learned, in the student's words. After the last round its student writes the labels that stay. These are ordinary stages: each
has its manifest, goes on after a kill, and runs by itself (`--from relabel_2`). A section of the name of one of them is laid over what is written
here: `train_2: {epochs: 8}`; one of a round that is not there (`refine.rounds=1`) is left aside.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import Field

from pipeline.contract import AbsolutePath
from pipeline.recipe import Macro

T = TypeVar("T")


class Refine(Macro):
    """Rounds of refinement. What may differ between rounds is a value, or a list with one entry a round (the last stands for all that follow)."""

    rounds: int = Field(2, ge=1, description="rounds of training")
    dev: AbsolutePath = Field(
        description="gold that chooses epochs and takes or refuses rounds; nothing of its recordings, speakers or texts may be trained on"
    )
    test: dict[str, AbsolutePath] = Field(
        {}, description="name: gold that tells how good teacher and students are, in the domain and out of it"
    )
    when: str | list[str | None] | None = Field(None, description="DuckDB expression that makes a segment worth learning from; see select")
    keep: float | list[float | None] | None = Field(None, description="share of the audio that is learned from; see select")
    tau: float | list[float | None] | None = Field(
        0.3, description="character error rate of student and original label up to which a label is trusted, from round 2 on; see select"
    )
    share: float | list[float] = Field(1.0, description="share of the recordings that a round uses: the training set grows")
    relabel: bool = Field(True, description="learn what the student of the round before wrote; false: the original labels, only selected")
    adopt: dict[str, Any] = Field({}, description="parameters of adopt, which makes the last student's text the label")
    tier: str = Field("text_pnc", description="what is learned: text_pnc (Whisper) or text (CTC)")
    replay: list[dict[str, Any]] = Field([], description="other corpora that every round learns too: root, hours; see train")
    train: dict[str, Any] = Field({}, description="parameters of train, in all rounds")

    def stages(self) -> dict[str, dict[str, Any]]:
        """See the top of the file."""
        found: dict[str, dict[str, Any]] = {"shards": {"stage": "pack"}}
        for number in range(1, self.rounds + 1):
            chosen: dict[str, Any] = {"when": _of(self.when, number), "keep": _of(self.keep, number), "share": _of(self.share, number)}
            if number > 1:
                found[f"relabel_{number}"] = {"stage": "relabel"}
                chosen |= {"tau": _of(self.tau, number), "relabel": self.relabel}
            found[f"select_{number}"] = {"stage": "select", "tier": self.tier} | chosen
            replay = [{"tier": self.tier} | other for other in self.replay]
            found[f"train_{number}"] = {
                "stage": "train",
                "dev": self.dev,
                "held_out": list(self.test.values()),
                "replay": replay,
            } | self.train
        found["relabel_final"] = {"stage": "relabel"}
        found["adopt"] = {
            "stage": "adopt",
            "round": self.rounds,
            "relabel": self.relabel,
            "tau": _of(self.tau, self.rounds + 1),
        } | self.adopt
        return found

    def waits(self, name: str) -> bool:
        """See `Macro`: those of a round after the last."""
        found = re.fullmatch(r"(?:relabel|select|train)_([1-9]\d*)", name)
        return found is not None and int(found[1]) > self.rounds


def _of(value: T | list[T], number: int) -> T:
    """The value of a round."""
    return value[min(number, len(value)) - 1] if isinstance(value, list) else value
