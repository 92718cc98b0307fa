"""How far a run is: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from manifests.funnel import own_drops
from manifests.part import Counts
from pipeline.worker import Made

PLAIN_EVERY = 15.0  # seconds between lines where there is no terminal


@dataclass
class StageProgress:
    """Figures of one stage in this run. `audio_seconds` and `worker_seconds` are of fresh parts only."""

    parts_total: int = 0
    parts_done: int = 0
    rows: int = 0
    live: int = 0
    dropped: int = 0
    audio_seconds: float = 0.0
    worker_seconds: float = 0.0
    errors: int = 0
    began: float = 0.0
    ended: float = 0.0
    note: str = ""

    def add(self, made: Made) -> None:
        """Count one part."""
        counts: Counts = made.ref.counts
        now = time.monotonic()
        self.began = self.began or now - made.seconds_taken
        self.ended = now
        self.parts_done += 1
        self.rows += counts.rows
        self.live += counts.live
        self.dropped += sum(rows for rows, _ in own_drops(made.stage, counts).values())
        if made.fresh:
            self.audio_seconds += made.audio_seconds
            self.worker_seconds += made.seconds_taken
            self.errors += made.errors

    @property
    def speed(self) -> float:
        """Times real time, over the wall-clock time in which the stage had parts."""
        return self.audio_seconds / (self.ended - self.began) if self.ended > self.began else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at the pace so far; None before the first part."""
        if not self.parts_done or self.ended <= self.began:
            return None
        return (self.parts_total - self.parts_done) * (self.ended - self.began) / self.parts_done


class Progress:
    """`with Progress() as progress:`; stages appear as they start."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.stages: dict[str, StageProgress] = {}
        self._console = console or Console(file=sys.stderr)
        self._quiet = quiet
        self._live = (
            Live(console=self._console, refresh_per_second=2, get_renderable=self._table)
            if self._console.is_terminal and not quiet
            else None
        )
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def start(self, stage: str, parts: int) -> None:
        """A stage has so many parts to make."""
        self.stages[stage] = StageProgress(parts_total=parts)

    def made(self, made: Made) -> None:
        """A part is finished."""
        progress = self.stages.setdefault(made.stage, StageProgress())
        progress.add(made)
        if not self._live and (progress.parts_done == progress.parts_total or time.monotonic() - self._last > PLAIN_EVERY):
            self._last = time.monotonic()
            self.line(
                f"{made.stage}: {progress.parts_done}/{progress.parts_total} parts, {progress.live} rows, {progress.dropped} dropped, "
                f"{progress.audio_seconds / 3600:.2f} h, {progress.speed:.1f}x real time, {duration(progress.remaining)} left"
            )

    def note(self, stage: str, text: str) -> None:
        """What a corpus stage says of itself."""
        progress = self.stages.setdefault(stage, StageProgress(parts_total=0))
        if progress.note != text:
            progress.note = text
            if not self._live:
                self.line(f"{stage}: {text}")

    def line(self, text: str) -> None:
        """One line for people."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table("stage", box=None, pad_edge=False)
        for heading in ("parts", "rows", "hours", "x real time", "left", "dropped"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for name, stage in self.stages.items():
            table.add_row(
                name, f"{stage.parts_done}/{stage.parts_total}", f"{stage.live:,}", f"{stage.audio_seconds / 3600:.2f}",
                f"{stage.speed:.1f}" if stage.speed else "", duration(stage.remaining), f"{stage.dropped:,}", stage.note[:60],
            )  # fmt: skip
        return table


def duration(seconds: float | None) -> str:
    """A time span for people.

    >>> duration(59), duration(3661), duration(200000), duration(None)
    ('59 s', '1 h 01 min', '2 d 8 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"
    return f"{seconds // 86400:.0f} d {seconds % 86400 // 3600:.0f} h"
