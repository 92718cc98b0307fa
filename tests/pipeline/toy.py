"""Small real stages, for tests of the engine alone: lines of a text file instead of recordings."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from manifests.part import PartRef, read_part, to_table
from manifests.schema import ROW, Row, source_id
from manifests.store import Store
from pipeline.contract import (
    CorpusContext,
    CorpusStage,
    ExpandingStage,
    ItemError,
    PartContext,
    PartStage,
    StageParams,
    drop,
    operational,
)


class Lines(CorpusStage):
    """One row a line, two lines a part; new lines make new parts."""

    name, version = "lines", "1"

    class Params(StageParams):
        file: str = operational("", "a text file")
        language: str | None = Field(None, description="expected language")

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        seen: set[str] = set()
        for ref in context.previous:
            seen.update(read_part(context.store, ref, ["source_uri"]).column(0).to_pylist())
            yield ref
        new = [line for line in Path(self.params.file).read_text().splitlines() if line not in seen]
        for position in range(0, len(new), 2):
            yield to_table(
                [
                    {"source_id": source_id(line), "source_uri": line, "title": line, "duration": 1.0, "language": self.params.language}
                    for line in new[position : position + 2]
                ],
                ROW,
            )


class Letters(ExpandingStage):
    """A row for every word of a line; an empty title has none."""

    name, version = "letters", "1"

    def expand_row(self, row: Row, context: PartContext) -> list[Row]:
        words = row["title"].split()
        if words == ["empty"]:
            return [drop(row, "no_words", "nothing there")]
        return [
            row | {"segment_id": f"{row['source_id']}-{n}", "title": word, "duration": 1.0 / len(words)} for n, word in enumerate(words)
        ]


class Shout(PartStage):
    """Upper case; `bad` cannot be shouted, `boom` breaks the stage, `die` kills the process once, `slow` takes a while."""

    name, version = "shout", "1"
    reads = ("title",)
    adds = pa.schema([("shouted", pa.string())])

    class Params(StageParams):
        mark: str = Field("!", description="what is put behind")
        batch: int = operational(1, "does not matter")
        once: str = operational("", "file that says that the process has died already")
        pause: float = operational(0.0, "seconds a row")

    def process_row(self, row: Row, context: PartContext) -> Row:
        time.sleep(self.params.pause)
        word = row["title"]
        if word.startswith("bad"):
            raise ItemError("unshoutable", f"{word} cannot be shouted")
        if word == "boom":
            raise RuntimeError("boom")
        if word == "die" and not Path(self.params.once).exists():
            Path(self.params.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return row | {"shouted": word.upper() + self.params.mark}


class Short(PartStage):
    """Drops long words."""

    name, version = "short", "1"
    reads = ("shouted",)
    light = True

    class Params(StageParams):
        limit: int = Field(6, description="letters at most")

    def process_row(self, row: Row, context: PartContext) -> Row:
        return drop(row, "long", f"{len(row['shouted'])} letters") if len(row["shouted"]) > self.params.limit else row


class Longest(PartStage):
    """Keeps only the words that are as long as the longest of the corpus: no part knows that by itself."""

    name, version, surveys = "longest", "1", True
    light = True

    def survey(self, parts: Sequence[PartRef], store: Store, each: Callable[..., Iterable[Any]] = map) -> int:
        return max(each(partial(_longest, store), parts))

    def process_row(self, row: Row, context: PartContext) -> Row:
        return row if len(row["shouted"]) == self.surveyed else drop(row, "shorter", f"than {self.surveyed}")


class Liar(PartStage):
    """Loses its last row."""

    name, version = "liar", "1"

    def process(self, rows: list[Row], context: PartContext) -> list[Row]:
        return rows[:-1]


class Book(CorpusStage):
    """Writes all live words to `book.txt`."""

    name, version = "book", "1"

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        tables = [read_part(context.store, ref) for ref in parts]
        words = [row["shouted"] for table in tables for row in table.to_pylist() if row["drop_reason"] is None]
        context.store.write("book.txt", "\n".join(words).encode())
        yield from tables

    def is_complete(self, context: CorpusContext) -> bool:
        return context.store.exists("book.txt")


STAGES: dict[str, Any] = {stage.name: stage for stage in (Lines, Letters, Shout, Short, Longest, Liar, Book)}


def find(name: str) -> Any:
    return STAGES[name]


def _longest(store: Store, ref: PartRef) -> int:
    rows = read_part(store, ref, ["shouted", "drop_reason"]).to_pylist()
    return max((len(row["shouted"]) for row in rows if row["drop_reason"] is None), default=0)
