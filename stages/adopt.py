"""adopt: the student's text becomes the label."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from manifests.schema import Row
from pipeline.contract import PartContext, PartStage, StageParams, drop
from stages.normalise.text import normalise, punctuated
from stages.relabel import origin
from stages.select import original_cer


class Adopt(PartStage):
    """Take the last student's text for the label where it agrees well enough with the original one; drop the others.

    What the original labeller wrote stays in `labels`, and `original_cer` says how far the two are apart.
    """

    name, version = "adopt", "1"
    reads: ClassVar[tuple[str, ...]] = ("text", "text_raw", "text_pnc", "language", "student", "student_text", "student_avg_logprob")
    adds = pa.schema(
        [
            ("text", pa.string()),
            ("text_pnc", pa.string()),
            ("text_raw", pa.string()),
            ("original_cer", pa.float32()),
            ("round", pa.int32()),
            ("label_origin", pa.string()),
            ("avg_logprob", pa.float32()),
            ("student_text", pa.string()),  # null from here on, as is what was learned: of the window, and a window may be cut
            ("train_text", pa.string()),
        ]
    )
    light = True

    class Params(StageParams):
        """Whose text stays, and how far the two may be apart."""

        round: int = Field(1, ge=1, description="number of the round whose student it is")
        tau: float | None = Field(
            None, ge=0, description="character error rate against the original label from which on a segment is dropped"
        )
        relabel: bool = Field(True, description="take the student's text; false only drops what the student does not agree with")

    params: Params

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Compare, then take or drop."""
        heard, cer = row["student_text"] or "", original_cer(row)
        row = row | {"original_cer": cer, "student_text": None, "train_text": None}
        if self.params.tau is not None and (cer is None or cer > self.params.tau):
            shown = "none" if cer is None else f"{cer:.3f}"
            return drop(
                row,
                "student_disagrees",
                f"character error rate {shown} of {heard!r} against the label, above {self.params.tau:g}",
            )
        if not self.params.relabel:
            return row
        if not (written := normalise(heard, row["language"])):
            return drop(row, "no_text", "the student heard nothing to write")
        taken = {"text": written, "text_pnc": punctuated(heard), "text_raw": heard, "avg_logprob": row["student_avg_logprob"]}
        return row | taken | {"round": self.params.round, "label_origin": origin(row["student"])}
