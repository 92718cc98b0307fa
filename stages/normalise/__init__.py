"""Tiers of a label: verbatim and punctuated, beside the raw one."""

from __future__ import annotations

import pyarrow as pa

from manifests.schema import Row
from pipeline.contract import PartContext, PartStage, drop
from stages.normalise.text import normalise, punctuated

__all__ = ["Normalise", "normalise"]


class Normalise(PartStage):
    """Text tiers: `text` as it was said (lower case, numbers as words), `text_pnc` as it was written.

    `text_raw` stays what the labeller wrote. A label without a spoken word (a remark such as [Music]) is dropped as `empty_text`.
    """

    name, version = "normalise", "1"
    reads = ("text_raw", "language")
    adds = pa.schema([("text", pa.string()), ("text_pnc", pa.string())])
    packages = ("num2words",)
    light = True

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Write both tiers of one row."""
        raw = row["text_raw"] or ""
        row = row | {"text": normalise(raw, row["language"]), "text_pnc": punctuated(raw)}
        return row if row["text"] else drop(row, "empty_text", f"nothing spoken in {raw!r}")
