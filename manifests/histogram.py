"""How the values of a column are spread: bins of a number, the most frequent values of anything else."""

from __future__ import annotations

from typing import Any

from manifests.corpus import Corpus

COLUMNS = ("slice", "value", "to", "rows", "hours", "kept", "bar")
BINS = 20
TAIL = 0.005
"""Share of the rows on each side that the first and the last bin take in, however far away they are: one wild value must not flatten the rest."""
VALUES = 20
"""Values of a column without numbers that are listed; the others are one line."""
BAR = 40
"""Characters of the longest bar."""

NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
)


def histogram(corpus: Corpus, view: str, column: str, by: str | None = None, where: str = "true") -> list[dict[str, Any]]:
    """One row a bin, `value` to `to` (numbers; NaN counts as null), or a row a value; null last. `kept` is the share of the rows that is live.

    With `by`, a histogram over the same bins for each value of another column. `where` is a condition in SQL.
    """
    kind = corpus.columns(view)[column]
    source = f'FROM "{view}" WHERE {where}'
    slice_ = f'"{by}"' if by else "NULL"
    measures = "count(*) AS rows, coalesce(sum(duration), 0) / 3600 AS hours, avg((drop_reason IS NULL)::INT) AS kept"
    if is_number(kind):
        value = finite(column)
        low, high = corpus.query(
            f"SELECT approx_quantile(v, {TAIL}) AS low, approx_quantile(v, {1 - TAIL}) AS high FROM (SELECT {value} AS v {source})"
        )[0].values()
        low, high = (0.0, 0.0) if low is None else (low, high)
        width = (high - low) / BINS or 1.0
        place = f"least({BINS - 1}, greatest(0, floor(({value} - {low!r}) / {width!r})))"
        rows = corpus.query(
            f"SELECT {slice_} AS slice, {place} AS place, {measures} {source} GROUP BY ALL ORDER BY slice, place NULLS LAST"
        )
        edges = [(round(low + width * number, 6), round(low + width * (number + 1), 6)) for number in range(BINS)]
        table = [
            row | dict(zip(("value", "to"), (None, None) if row["place"] is None else edges[int(row["place"])], strict=True))
            for row in rows
        ]
    else:
        rows = corpus.query(
            f'SELECT {slice_} AS slice, "{column}"::VARCHAR AS value, {measures} {source} GROUP BY ALL ORDER BY slice, rows DESC, value NULLS LAST'
        )
        table = [
            row for name in dict.fromkeys(row["slice"] for row in rows) for row in _most([row for row in rows if row["slice"] == name])
        ]
    longest = max((row["rows"] for row in table), default=1)
    return [
        {name: row.get(name) for name in COLUMNS}
        | {"hours": round(row["hours"], 4), "kept": round(row["kept"], 4), "bar": "█" * round(BAR * row["rows"] / longest) or "▏"}
        for row in table
    ]


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is one of numbers."""
    return kind.startswith(NUMBERS) and not kind.endswith("]")


def finite(column: str) -> str:
    """SQL of a column of numbers, null where it is NaN or infinite."""
    return f'CASE WHEN isfinite("{column}"::DOUBLE) THEN "{column}"::DOUBLE END'


def _most(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most frequent values, and all others in one row."""
    if len(rows) <= VALUES + 1:
        return rows
    rest = rows[VALUES:]
    many = sum(row["rows"] for row in rest)
    other = {
        "slice": rest[0]["slice"],
        "value": f"({len(rest)} other values)",
        "rows": many,
        "hours": sum(row["hours"] for row in rest),
        "kept": sum(row["kept"] * row["rows"] for row in rest) / many,
    }
    return [*rows[:VALUES], other]
