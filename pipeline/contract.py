"""What a stage is: the one page to read before writing one.

A stage has a `name`, a `version` (bumped when its output changes), pydantic `Params`, the columns it reads, the columns it
adds, the resources it wants, `setup()` and one method over rows. Three kinds:

`PartStage`       one part in, one part out, one row in, one row out
`ExpandingStage`  one part in, one part out, one row in, one or more rows out (recording to segments)
`CorpusStage`     sees the whole manifest (acquire, pack)

>>> class Shout(PartStage):
...     '''Upper-case text.'''
...     name, version = "shout", "1"
...     reads = ("text",)
...     def process_row(self, row, context):
...         if not row["text"]:
...             raise ItemError("empty_text", "nothing to shout")
...         return row | {"text": row["text"].upper()}
>>> context = PartContext(store=None)
>>> rows = Shout(Shout.Params()).apply([{"text": "hey"}, {"text": ""}], context)
>>> rows[0][0]["text"], rows[1][0]["drop_reason"], context.errors
('HEY', 'empty_text', 1)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from manifests.part import PartRef
from manifests.schema import DROP, Row
from manifests.store import Store
from pipeline.errors import ItemError as ItemError  # noqa: PLC0414 - stages take it from here
from pipeline.errors import SilverError as SilverError  # noqa: PLC0414

T = TypeVar("T")
R = TypeVar("R")


class StageParams(BaseModel):
    """Base of a stage's parameters: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


AbsolutePath = Annotated[str, AfterValidator(lambda path: str(Path(path).expanduser().absolute()))]
"""Type of a parameter that names a file: made absolute, because workers do not share the folder that the recipe was read in. Make it
`operational`: what counts is what the file holds, by `Stage.identity`."""
FilePath = AbsolutePath | None
"""The same, or none."""


def operational(default: Any, description: str, **constraints: Any) -> Any:
    """A parameter that does not change the result (batch size, paths, rates): it is left out of the fingerprint."""
    return Field(default=default, description=description, json_schema_extra={"operational": True}, **constraints)


class Resources(BaseModel):
    """What one worker of a stage holds, and how many workers there are. None means: decide from the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    num_cpus: float | None = Field(None, gt=0, description="CPUs a worker reserves; also its number of threads, rounded up")
    num_gpus: float | None = Field(None, ge=0, description="GPUs a worker reserves; a share as 1/k (0.5, 0.25)")
    workers: int | None = Field(None, ge=1, description="workers at most; by default as many as the cluster holds")


@dataclass
class PartContext:
    """What a stage may use while it works on one part."""

    store: Store
    schema: pa.Schema | None = None  # columns of the rows at hand
    device: str = "cpu"  # "cuda" where the worker holds a GPU
    threads: int = 1
    memory: dict[Any, Any] = field(default_factory=dict)
    """Shared by the stages of one part in one worker and dropped with the part: what was computed once need not be again
    (encoder outputs). A stage must give the same result when it is empty."""
    errors: int = 0  # rows dropped by ItemError, for the circuit breaker

    def item_error(self, row: Row, error: ItemError) -> Row:
        """Drop `row` because it could not be processed. For stages that work on whole batches and so cannot raise."""
        self.errors += 1
        return drop(row, error.reason, error.detail)


def drop(row: Row, reason: str, detail: str = "") -> Row:
    """The row, marked as dropped by a decision (no speech, wrong language), not by a failure. The engine adds the stage's name."""
    return row | {"drop_reason": reason, "drop_detail": detail[:500]}


class Stage(ABC):
    """What all stages share."""

    name: str
    """Of the class: the kind of stage. An instance that a recipe calls otherwise (`second: {stage: transcribe}`) carries that name."""
    version: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    adds: ClassVar[pa.Schema] = pa.schema([])
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version is recorded with the manifest; an upgrade is pointed out, and does not make it stale."""
    accelerated: ClassVar[bool] = False
    """Takes a GPU where the cluster has one (unless the recipe's `resources` say otherwise)."""
    light: ClassVar[bool] = False
    """Needs no model and no audio: not worth starting Ray for when there is little to do."""

    class Params(StageParams):
        """A stage without parameters."""

    params: Any

    def __init__(self, params: StageParams) -> None:
        self.params = params

    @classmethod
    def choices(cls) -> Mapping[str, type[BaseModel]]:
        """Models of what a parameter that is a plain mapping may hold, by the name that `silver stages` shows it under."""
        return {}

    def identity(self) -> Mapping[str, str]:
        """Revisions of the models that the result depends on; part of the fingerprint. Runs before any work starts.

        Raises:
            SilverError: a model is missing or damaged; the message says how to get it.
        """
        return {}

    def check(self, store: Store, report: Callable[[str], None], each: Callable[..., Iterable[Any]] = map) -> None:  # noqa: B027 - optional
        """Find out what would end this stage hours later. Runs before the first part of any stage, in every run: keep in the store what takes
        long. `report` tells the user what is worth knowing and no reason to end; `each(function, items)` is `map` over the cluster.

        Raises:
            SilverError: the stage cannot do its work; the message says how to mend it.
        """

    def setup(self, context: PartContext) -> None:  # noqa: B027 - optional
        """Load models, once a worker, before its first part."""


class RowStage(Stage):
    """A stage that works on parts."""

    error_limit: ClassVar[float] = 0.2
    """Share of rows that may end in an ItemError before the part fails. 1.0 where the input is expected to be broken."""

    surveys: bool = False
    """True if `survey` must see the whole manifest before the first part: the stage then waits for all of it."""
    surveyed: Any = None
    """What `survey` found, on every worker."""

    def survey(self, parts: Sequence[PartRef], store: Store, each: Callable[..., Iterable[Any]] = map) -> Any:
        """A plain value that the stage must know of the whole manifest (a threshold that is met on average). Runs once; part of the key of
        every part, so that parts are made again when it changes. What reads parts goes through `each(function, parts)`, which is `map` over
        the cluster.
        """

    @abstractmethod
    def apply(self, rows: list[Row], context: PartContext) -> list[list[Row]]:
        """For each row, in order, the rows that take its place."""


class PartStage(RowStage):
    """One row in, one row out. Override `process_row`, or `process` to work on the whole part at once (batches of a model)."""

    def process(self, rows: list[Row], context: PartContext) -> Iterable[Row]:
        """Map the live rows of one part, in order. Rows that fail: `context.item_error`; that are refused: `drop`."""
        for row in rows:
            try:
                yield self.process_row(row, context)
            except ItemError as error:
                yield context.item_error(row, error)

    def process_row(self, row: Row, context: PartContext) -> Row:
        """Map one live row. May raise ItemError."""
        raise NotImplementedError

    def apply(self, rows: list[Row], context: PartContext) -> list[list[Row]]:
        """See `process`."""
        return [[row] for row in self.process(rows, context)]


class ExpandingStage(RowStage):
    """One row in, one or more rows out: its children, or itself dropped when there are none. Override `expand_row` or `expand`."""

    def expand(self, rows: list[Row], context: PartContext) -> Iterable[list[Row]]:
        """For each live row, in order, what takes its place; never an empty list."""
        for row in rows:
            try:
                yield self.expand_row(row, context)
            except ItemError as error:
                yield [context.item_error(row, error)]

    def expand_row(self, row: Row, context: PartContext) -> list[Row]:
        """The rows that take the place of one live row. May raise ItemError."""
        raise NotImplementedError

    def apply(self, rows: list[Row], context: PartContext) -> list[list[Row]]:
        """See `expand`."""
        return list(self.expand(rows, context))


def alone(function: Callable[[T], None], argument: T, workers: int | None) -> None:
    """`CorpusContext.together` in the calling process: one worker, whatever was asked for."""
    del workers
    function(argument)


@dataclass
class CorpusContext:
    """What a corpus stage may use."""

    store: Store
    previous: Sequence[PartRef]
    """Parts of this stage that are there already, same fingerprint: acquire keeps them and adds to them."""
    part_seconds: float
    fingerprint: str
    recipe: Mapping[str, Any]
    """The whole recipe as plain values, for the record that a release carries."""
    map: Callable[[Callable[[T], R], Iterable[T]], Iterator[R]]
    """Run a picklable function over items on the executor's workers; results come in the order of the items."""
    report: Callable[[str], None] = lambda _message: None
    """Tell the user how far the work is, one short line."""
    together: Callable[[Callable[[T], None], T, int | None], None] = alone
    """Run a picklable function as workers that talk to each other through `torch.distributed`, as many as asked for (None: one a GPU, or
    one), each with the same argument; returns when all have. In the calling process it runs once, alone."""


class CorpusStage(Stage):
    """Sees the whole manifest."""

    @abstractmethod
    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Yield the parts of this stage's manifest, in order: a part of `context.previous` that stays, or the table of a new one.

        `parts` are those of the stage before; for each of them one table, in order. The first stage of a recipe has none, and yields
        what it found. Tables hold the columns of the input (or `ROW`) and `adds`; `drop_stage` is filled in by the engine.
        New tables are committed as they are yielded, so that a killed run goes on from there.
        """

    def is_complete(self, context: CorpusContext) -> bool:
        """False if what the stage wrote beside its manifest (a release) is gone, so that it runs again though nothing changed."""
        del context
        return True


def is_live(row: Row) -> bool:
    """True while no stage has dropped the row."""
    return row.get("drop_reason") is None


__all__ = [
    "DROP",
    "AbsolutePath",
    "CorpusContext",
    "CorpusStage",
    "ExpandingStage",
    "FilePath",
    "ItemError",
    "PartContext",
    "PartStage",
    "Resources",
    "Row",
    "RowStage",
    "SilverError",
    "Stage",
    "StageParams",
    "drop",
    "is_live",
    "operational",
]  # fmt: skip
