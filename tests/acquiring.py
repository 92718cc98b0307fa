"""A corpus that consists of its first stage, run by the engine in this process."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

import stages
from manifests.part import PartRef, read_rows
from manifests.store import Store
from pipeline.executors import InlineExecutor
from pipeline.plan import resolve
from pipeline.progress import Progress
from pipeline.recipe import load
from pipeline.run import run

HASTY = {"delay": 0, "retries": 0, "timeout": 2, "workers": 4}


class Acquired:
    """`Acquired(folder, path=...)` acquires; `again(...)` runs once more, with other parameters if any are given."""

    def __init__(self, folder: Path, part_minutes: float = 20, **params: Any) -> None:
        self.folder, self.store, self.part_minutes = folder, Store(str(folder / "corpus")), part_minutes
        self.params: dict[str, Any] = {}
        self.again(**params)

    def again(self, **params: Any) -> list[dict[str, Any]]:
        self.params |= params
        recipe = self.folder / "recipe.yaml"
        values = {"root": self.store.root, "part_minutes": self.part_minutes, "acquire": HASTY | self.params}
        recipe.write_text(json.dumps(values))
        loaded = load(str(recipe), [], stages.find, stages.STAGES)
        said = io.StringIO()
        self.parts: list[PartRef] = []
        try:
            self.result = run(loaded, InlineExecutor(), Progress(Console(file=said, width=500)))
            self.parts = resolve(loaded, self.store, strict=False)[0].manifest.listed
        finally:
            self.said = said.getvalue()
        return self.rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for ref in self.parts for row in read_rows(self.store, ref)]

    @property
    def live(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["drop_reason"] is None]

    @property
    def reasons(self) -> dict[str, str]:
        """Reason of each source that was dropped."""
        return {row["source_uri"]: row["drop_reason"] for row in self.rows if row["drop_reason"]}

    def media(self, row: dict[str, Any]) -> bytes:
        from stages.acquire.media import open_media

        with open_media(self.store, row["media_uri"]) as file:
            return file.read()
