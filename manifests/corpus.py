"""A corpus root on disk: which manifests there are, which are current, and SQL over them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb

from manifests.part import Counts, PartRef, part_path, read_ref
from manifests.store import Store

CURRENT = "manifests/current.json"
_STRINGS = re.compile("'[^']*'")
"""In SQL: names of files, in which there are names of stages too."""


@dataclass(frozen=True)
class Manifest:
    """All parts that one stage wrote under one fingerprint."""

    store: Store
    stage: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """Where the parts lie, relative to the root."""
        return f"manifests/{self.stage}/{self.fingerprint}"

    def info(self) -> dict[str, Any]:
        """`_stage.json`: parameters, model identity, software, upstream; empty if the stage never started."""
        return _json(self.store, f"{self.folder}/_stage.json")

    @property
    def rules(self) -> dict[str, str] | None:
        """The rules of a filter; None of any other stage."""
        rules: dict[str, str] | None = self.info().get("parameters", {}).get("rules")
        return rules

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write `_stage.json`."""
        self.store.write(f"{self.folder}/_stage.json", json.dumps(info, indent=1, sort_keys=True, default=str).encode())

    @cached_property
    def success(self) -> dict[str, Any]:
        """`_SUCCESS`: the list of parts and a digest of the input they were made from; empty until the stage has finished."""
        return _json(self.store, f"{self.folder}/_SUCCESS")

    def finish(self, parts: Sequence[PartRef], inputs: str) -> None:
        """Write `_SUCCESS`: from now on these parts, in this order, are the manifest."""
        done = {"inputs": inputs, "parts": [ref.to_json() for ref in parts]}
        self.store.write(f"{self.folder}/_SUCCESS", json.dumps(done, separators=(",", ":")).encode())
        self.__dict__.update(success=done, listed=list(parts), paths=[ref.path for ref in parts])

    @cached_property
    def listed(self) -> list[PartRef]:
        """Parts of the finished manifest."""
        return [PartRef.from_json(part) for part in self.success.get("parts", [])]

    @cached_property
    def paths(self) -> list[str]:
        """Files of the finished manifest, without a look at what is in them."""
        return [part["path"] for part in self.success.get("parts", [])]

    def on_disk(self) -> dict[str, PartRef]:
        """Every part in the folder by key, listed or not: what a killed run left is found here."""
        found = {ref.key: ref for ref in self.listed}
        keys = [name[5:-8] for name in self.store.names(self.folder) if name.startswith("part-") and name.endswith(".parquet")]
        missing = found.keys() - set(keys)
        for key in missing:
            del found[key]  # somebody removed the file: it is made again
        with ThreadPoolExecutor(8) as pool:
            unlisted = [key for key in keys if key not in found]
            refs = zip(unlisted, pool.map(lambda key: _readable(self.store, part_path(self.folder, key)), unlisted), strict=True)
            found.update((key, ref) for key, ref in refs if ref is not None)
        return found

    def parts(self) -> list[PartRef]:
        """The parts a reader should see: the finished list, or while the stage first runs all that is there."""
        return self.listed if self.success else [ref for _, ref in sorted(self.on_disk().items())]

    def counts(self) -> Counts:
        """Rows, seconds and drops of the whole manifest."""
        return total(self.parts())

    def damage(self) -> Iterator[tuple[str, str]]:
        """Files of the manifest that are gone or cannot be read, each with what is wrong with it."""
        for name in ("_stage.json", "_SUCCESS"):
            path = f"{self.folder}/{name}"
            if self.store.exists(path) and not _json(self.store, path):
                yield path, "is damaged"
        there = set(self.store.names(self.folder))
        listed = {ref.path.rpartition("/")[2] for ref in self.listed}
        for name in sorted(listed - there):
            yield f"{self.folder}/{name}", "is missing"
        for name in sorted(there):
            if name.endswith(".parquet") and not _is_parquet(self.store, f"{self.folder}/{name}"):
                yield f"{self.folder}/{name}", "is no Parquet file, or a part of one: remove it"


def total(parts: Sequence[PartRef]) -> Counts:
    """Sum of the counts of parts, in one pass."""
    dropped: dict[str, tuple[int, float]] = {}
    for ref in parts:
        for reason, (rows, seconds) in ref.counts.dropped.items():
            had = dropped.get(reason, (0, 0.0))
            dropped[reason] = (had[0] + rows, had[1] + seconds)
    counts = [ref.counts for ref in parts]
    return Counts(
        rows_in=sum(c.rows_in for c in counts), live_in=sum(c.live_in for c in counts), seconds_in=sum(c.seconds_in for c in counts),
        rows=sum(c.rows for c in counts), live=sum(c.live for c in counts), seconds=sum(c.seconds for c in counts),
        made=sum(c.made for c in counts), dropped=dropped,
    )  # fmt: skip


class Corpus:
    """A corpus root, for reading.

    Raises:
        FileNotFoundError: nothing was ever built there.
    """

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self.notes: list[str] = []
        """What was found damaged, for people."""
        self.left_out: set[str] = set()
        """Parts that queries go without."""
        self.by_name = False
        """True if the parts of a manifest differ in their columns."""
        self.current: dict[str, Any] = _json(self.store, CURRENT)
        if not self.current:
            raise FileNotFoundError(
                f"{self.store.root} is not a corpus root: it has no {CURRENT}; build one with `silver run RECIPE root={root}`"
            )

    @cached_property
    def manifests(self) -> list[Manifest]:
        """The current manifest of every stage that has at least started, in the order of the recipe."""
        entries = [Manifest(self.store, entry["stage"], entry["fingerprint"]) for entry in self.current["stages"]]
        return [manifest for manifest in entries if self.store.exists(f"{manifest.folder}/_stage.json")]

    def damage(self) -> dict[str, str]:
        """Files of the current manifests that are gone or cannot be read: path to what is wrong with it."""
        return {path: what for manifest in self.manifests for path, what in manifest.damage()}

    def query(self, sql: str | Callable[[], str], parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows that DuckDB answers over the views of `connection`. Where parts are gone or damaged it answers without them, and `notes` names them;
        a query that names parts itself is a function, so that it can be asked for once more without those.

        Raises:
            duckdb.Error: the query is wrong, or cannot be computed.
        """
        try:
            text = sql if isinstance(sql, str) else sql()
            return _rows(self._knowing(text), text, parameters)
        except (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException):
            raise  # a mistake in the query: no need to look at every part
        except duckdb.Error as error:
            damage = {path: what for path, what in self.damage().items() if path not in self.left_out}
            if damage:
                self.notes += [
                    f"{self.store.uri(path)} {what}; this is without it, and `silver run` makes it again" for path, what in damage.items()
                ]
                self.left_out |= damage.keys()
            elif "union_by_name" in str(error) and not self.by_name:
                self.notes.append("some parts have columns that others do not, by an older Silver: where they are missing they are null")
                self.by_name = True
            else:
                raise
            for known in ("_database", "readable"):
                self.__dict__.pop(known, None)
            return self.query(sql, parameters)

    def columns(self, view: str) -> dict[str, str]:
        """Columns of a view and their DuckDB types."""
        return {row["column_name"]: row["column_type"] for row in self.query(f"DESCRIBE {_name(view)}")}

    @cached_property
    def readable(self) -> Readable:
        """Parts of every stage that has any, in order, without those that queries go without."""
        return Readable(self.manifests, self.left_out)

    @property
    def views(self) -> list[str]:
        """Stages that have a view, in the order of the recipe."""
        return list(self.readable)

    def stage_of(self, view: str) -> str:
        """The stage behind a view: `segments` are the rows of the last that ran, `recordings` those of `decode`."""
        names = self.views
        return {"segments": names[-1], "recordings": "decode" if "decode" in names else names[0]}.get(view, view)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """DuckDB over the manifests: a view a stage, `recordings`, `segments` and `funnel`."""
        return self._with(self._names)

    @property
    def _names(self) -> list[str]:
        """Everything that a query may be over."""
        return [*self.views, *(("segments", "recordings") if self.views else ()), "funnel"]

    @cached_property
    def _database(self) -> tuple[duckdb.DuckDBPyConnection, set[str]]:
        """A connection, and what it knows of `_names`."""
        connection = connect()
        if not self.store.local:
            connection.register_filesystem(self.store.fs)
        return connection, set()

    def _knowing(self, sql: str) -> duckdb.DuckDBPyConnection:
        """The connection, with all that a query names: a view of some thousand files takes its time, and few are asked for."""
        spoken = _STRINGS.sub("", sql).lower()
        everything = any(word in spoken for word in ("show", "information_schema", "duckdb_"))  # whoever asks what there is
        return self._with([name for name in self._names if everything or name.lower() in spoken])

    def _with(self, names: Sequence[str]) -> duckdb.DuckDBPyConnection:
        connection, known = self._database
        for name in names:
            if name in known:
                continue
            if name == "funnel":
                self._add_funnel(connection)
            elif (stage := self.stage_of(name)) != name:
                self._with([stage])
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {_name(stage)}")
            else:
                connection.execute(f"CREATE VIEW {_name(stage)} AS {self.select(self.readable[stage])}")
            known.add(name)
        return connection

    def select(self, parts: Sequence[PartRef], *, filename: bool = False) -> str:
        """SQL of all rows of parts of this corpus; `filename`: with the file of each row."""
        return self.select_paths([ref.path for ref in parts], filename=filename)

    def select_paths(self, paths: Sequence[str], *, filename: bool = False) -> str:
        """The same of parts by their files."""
        return select_files(self.store, paths, by_name=self.by_name, filename=filename)

    def _add_funnel(self, connection: duckdb.DuckDBPyConnection) -> None:
        from manifests.funnel import FUNNEL_COLUMNS, funnel

        connection.execute(f"CREATE TABLE funnel ({', '.join(f'{name} {kind}' for name, kind in FUNNEL_COLUMNS)})")
        if rows := funnel(self):
            connection.executemany(
                f"INSERT INTO funnel VALUES ({', '.join('?' * len(FUNNEL_COLUMNS))})",
                [[row[name] for name, _ in FUNNEL_COLUMNS] for row in rows],
            )


class Readable(Mapping[str, list[PartRef]]):
    """Stages that have parts, in the order of the recipe, and their parts, which are looked at when they are asked for."""

    def __init__(self, manifests: Sequence[Manifest], left_out: Container[str]) -> None:
        self._manifests = {manifest.stage: manifest for manifest in manifests}
        self._left_out = left_out
        self._known: dict[str, list[PartRef]] = {}

    def __getitem__(self, stage: str) -> list[PartRef]:
        if stage not in self._known:
            self._known[stage] = [ref for ref in self._manifests[stage].parts() if ref.path not in self._left_out]
        return self._known[stage]

    def __iter__(self) -> Iterator[str]:
        return (stage for stage, manifest in self._manifests.items() if self._any(stage, manifest))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _any(self, stage: str, manifest: Manifest) -> bool:
        return any(path not in self._left_out for path in manifest.paths) if manifest.success else bool(self[stage])


def connect() -> duckdb.DuckDBPyConnection:
    """An empty database in memory; what does not fit there goes to the folder for temporary files."""
    return duckdb.connect(config={"temp_directory": f"{tempfile.gettempdir()}/silver-duckdb"})


def select_files(store: Store, paths: Sequence[str], *, by_name: bool = False, filename: bool = False) -> str:
    """SQL of all rows of Parquet files. `by_name`: some may lack columns of others, which takes a look into every one first; `filename`: with the
    file of each row.
    """
    files = ", ".join(_quote(store.uri(path)) for path in paths)
    options = ", union_by_name = true" * by_name + ", filename = true" * filename
    return f"SELECT * FROM read_parquet([{files}]{options})"


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, list(parameters))
    names = [field[0] for field in cursor.description or []]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def _readable(store: Store, path: str) -> PartRef | None:
    """The part, or None if it is none: then it is made again."""
    try:
        return read_ref(store, path)
    except ValueError:
        return None


def _is_parquet(store: Store, path: str) -> bool:
    with store.open(path) as handle:
        if handle.seek(0, 2) < 12:
            return False
        handle.seek(-4, 2)
        return handle.read(4) == b"PAR1"


def _json(store: Store, path: str) -> dict[str, Any]:
    try:
        value = json.loads(store.read(path))
    except (FileNotFoundError, ValueError):  # a record that is damaged is none: the stage looks at its parts again
        return {}
    return value if isinstance(value, dict) else {}


def _name(view: str) -> str:
    return '"' + view.replace('"', '""') + '"'


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
