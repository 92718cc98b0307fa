"""One part: a Parquet file of rows, the unit of work, of commit and of resume.

A part carries its own digest (of its data pages) and its counts in the Parquet footer, so that a manifest can be summed up
without reading a row. Bytes are the same for the same rows: no time, host or path is in them.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from manifests.store import Store

if TYPE_CHECKING:  # what only reads descriptors, as most commands do, need not wait for pyarrow
    import pyarrow as pa

    from manifests.schema import Row

_FOOTER = "silver"


@dataclass(frozen=True)
class Counts:
    """Rows and seconds of one part, or the sum over many. `rows == live + sum of all drops`, always.

    `rows_in` and `live_in` are of the part before; `made` are rows that a stage put in the place of one (its children less itself).
    """

    rows_in: int = 0
    live_in: int = 0
    seconds_in: float = 0.0
    rows: int = 0
    live: int = 0
    seconds: float = 0.0
    made: int = 0
    dropped: dict[str, tuple[int, float]] = field(default_factory=dict)
    """`stage:reason` to (rows, seconds); a row with two reasons counts once, under `stage:reason1;reason2`."""

    @classmethod
    def of(cls, rows: list[Row], before: Counts | None = None) -> Counts:
        """Count the rows of a part that follows one with the counts `before`."""
        live = [row for row in rows if row.get("drop_reason") is None]
        dropped: dict[str, tuple[int, float]] = {}
        for row in rows:
            if (reason := row.get("drop_reason")) is not None:
                key = f"{row.get('drop_stage')}:{reason}"
                count, seconds = dropped.get(key, (0, 0.0))
                dropped[key] = (count + 1, round(seconds + (row.get("duration") or 0.0), 6))
        return cls(
            rows_in=before.rows if before else 0,
            live_in=before.live if before else 0,
            seconds_in=before.seconds if before else 0.0,
            rows=len(rows),
            live=len(live),
            seconds=round(sum(row.get("duration") or 0.0 for row in live), 6),
            made=len(rows) - (before.rows if before else 0),
            dropped=dict(sorted(dropped.items())),
        )

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after JSON."""
        return cls(**(value | {"dropped": {reason: (int(n), float(s)) for reason, (n, s) in value["dropped"].items()}}))


@dataclass(frozen=True)
class PartRef:
    """Where a part lies, and what is in it: all that travels through Ray."""

    path: str  # relative to the corpus root
    key: str
    digest: str
    counts: Counts

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `_SUCCESS` and for descriptors."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(value["path"], value["key"], value["digest"], Counts.from_dict(value["counts"]))


def part_path(folder: str, key: str) -> str:
    """The file of the part with this key in a manifest's folder."""
    return f"{folder}/part-{key}.parquet"


def to_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema: missing values are null, other keys are an error.

    Raises:
        ValueError: a row has a key that is no column; the message names it.
    """
    import pyarrow as pa

    columns = set(schema.names)
    for row in rows:
        if extra := row.keys() - columns:
            msg = f"no such column: {', '.join(sorted(extra))} (a stage declares what it adds in `adds`)"
            raise ValueError(msg)
    return pa.table([pa.array([row.get(column.name) for row in rows], type=column.type) for column in schema], schema=schema)


def as_read(schema: pa.Schema) -> pa.Schema:
    """The schema as Parquet gives it back: items of lists are called `element` there, and `item` in memory. A stage that takes its rows from the stage
    before it, and one that reads them after a kill, must write the same bytes.

    >>> import pyarrow as pa
    >>> as_read(pa.schema([("words", pa.list_(pa.string()))])).field("words").type.value_field.name
    'element'
    """
    import pyarrow as pa

    def field(found: pa.Field) -> pa.Field:
        kind = found.type
        if pa.types.is_list(kind):
            kind = pa.list_(field(kind.value_field).with_name("element"))
        elif pa.types.is_struct(kind):
            kind = pa.struct([field(inner) for inner in kind])
        return found.with_type(kind)

    return pa.schema([field(found) for found in schema], metadata=schema.metadata)


def write_part(store: Store, folder: str, key: str, table: pa.Table, counts: Counts) -> PartRef:
    """Commit a table as part `key` of the manifest in `folder`."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    schema = as_read(table.schema)
    writer = pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=True, store_schema=True)
    writer.write_table(table.combine_chunks(), row_group_size=65536)
    digest = hashlib.sha256(sink.getvalue() + schema.serialize().to_pybytes()).hexdigest()[:32]
    writer.add_key_value_metadata({_FOOTER: json.dumps({"key": key, "digest": digest, "counts": asdict(counts)}, sort_keys=True)})
    writer.close()
    path = part_path(folder, key)
    store.write(path, sink.getvalue())
    return PartRef(path, key, digest, counts)


def read_ref(store: Store, path: str) -> PartRef:
    """Key, digest and counts of a part, from its footer alone.

    Raises:
        ValueError: the file is not a part.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with store.open(path) as handle:
            footer = json.loads(pq.read_metadata(handle).metadata[_FOOTER.encode()])
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        msg = f"{path} is not a part: {error}"
        raise ValueError(msg) from error
    return PartRef(path, footer["key"], footer["digest"], Counts.from_dict(footer["counts"]))


def read_part(store: Store, ref: PartRef, columns: list[str] | None = None) -> pa.Table:
    """The rows of a part, dropped ones included."""
    import pyarrow.parquet as pq

    with store.open(ref.path) as handle:
        return pq.read_table(handle, columns=columns)


def read_rows(store: Store, ref: PartRef) -> list[Row]:
    """The same as dictionaries."""
    rows: list[Row] = read_part(store, ref).to_pylist()
    return rows


def read_flat_rows(store: Store, ref: PartRef) -> list[Row]:
    """The same without the nested columns (words, labels), which are nearly all of a row: for what looks at a whole corpus at once."""
    import pyarrow as pa

    table = read_part(store, ref)
    rows: list[Row] = table.select([field.name for field in table.schema if not pa.types.is_nested(field.type)]).to_pylist()
    return rows
