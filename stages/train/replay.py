"""Another corpus to learn again, so that what was known is not forgotten: of an earlier month, or gold (rehearsal; Robins 1995, "Catastrophic forgetting,
rehearsal and pseudorehearsal"). Gold becomes a corpus by a recipe that aligns its transcripts (`align: {text: text_source}`) and packs.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from manifests.corpus import Corpus, Manifest
from manifests.part import read_part
from manifests.release import TRAIN
from manifests.store import Store
from pipeline.contract import SilverError

COLUMNS = ("segment_id", "recording_id", "source_uri", "channel", "speaker", "language", "duration", "split", "shard", "audio_path")
"""What is known of a segment that is trained on, besides its `train_text`."""

Root = Annotated[str, AfterValidator(lambda root: root if "://" in root else str(Path(root).expanduser().absolute()))]


class Replay(BaseModel):
    """A corpus of Silver's, packed. Its samples in the split `train` are learned with their labels as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    root: Root = Field(description="root of the other corpus")
    hours: float | None = Field(None, gt=0, description="of it at most: a smaller choice is part of a larger one; all by default")
    tier: Literal["text", "text_pnc"] = Field("text_pnc", description="which text: as it is written (Whisper), or normalised (CTC)")

    @cached_property
    def manifest(self) -> Manifest:
        """The last one that says in which shard a segment is.

        Raises:
            SilverError: there is none.
        """
        try:
            manifests = Corpus(self.root).manifests
        except FileNotFoundError as error:
            raise SilverError(f"replay: {error}") from error
        for manifest in reversed(manifests):
            parts = manifest.listed
            if parts:
                with manifest.store.open(parts[0].path) as handle:
                    if {"shard", self.tier} <= set(pq.read_schema(handle).names):
                        return manifest
        raise SilverError(f"{self.root} holds no packed corpus with a {self.tier} to learn again: run its recipe to the end")

    def rows(self) -> pa.Table:
        """Its segments, `COLUMNS` and `train_text`."""
        tables = []
        for ref in self.manifest.listed:
            table = read_part(self.manifest.store, ref, [*COLUMNS, self.tier, "drop_reason"])
            live = pc.and_(pc.is_null(table.column("drop_reason")), pc.equal(table.column("split"), TRAIN))
            tables.append(table.filter(pc.and_(live, pc.greater(pc.utf8_length(table.column(self.tier)), 0))))
        table = pa.concat_tables(tables).drop_columns(["drop_reason"]).rename_columns({self.tier: "train_text"}).sort_by("segment_id")
        if self.hours is None:
            return table
        chosen, seconds = [], 0.0
        for index in sorted(range(len(table)), key=lambda index: _place(table.column("segment_id")[index].as_py())):
            seconds += table.column("duration")[index].as_py()
            if seconds > 3600 * self.hours:
                break
            chosen.append(index)
        return table.take(sorted(chosen))

    @property
    def store(self) -> Store:
        """Where it lies."""
        return Store(self.root)


def _place(segment_id: str) -> bytes:
    return blake2b(segment_id.encode(), digest_size=8, key=b"replay").digest()
