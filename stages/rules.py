"""Rules: DuckDB expressions over the columns of one row, checked before any work starts.

Rules see one row at a time and give the same answer every time, so aggregates, subqueries, clocks and files are refused. NaN counts as
NULL: what is no number has not been measured.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from manifests.part import to_table
from manifests.schema import Row
from pipeline.contract import SilverError

_MACROS = {"split_part", "nullif", "if", "fdiv", "fmod"}
"""DuckDB's macros of values; those of lists start with list_ or array_. The others look at the session."""
_CLOCKS = {"age", "current_localtime", "current_localtimestamp"}
"""Read the clock, though DuckDB counts them among the functions that always give the same answer."""


@lru_cache(maxsize=1024)
def columns(name: str, rule: str) -> tuple[str, ...]:
    """The columns that the expression of rule `name` reads, in lower case (DuckDB makes no difference), in order of appearance.

    >>> columns("fast", "chars_per_second <= 40 and list_min(list_transform(words, lambda w: w.score)) > 0.1")
    ('chars_per_second', 'words')

    Raises:
        ValueError: it is not one expression over one row; the message names the rule and what is wrong.
    """
    tree, frame = _parsed(rule), _parsed("true")
    if tree["error"]:
        raise ValueError(f"rule {name}: {rule!r} is not a DuckDB expression: {tree['error_message']}")
    expressions = [statement["node"].pop("select_list", []) for query in (tree, frame) for statement in query["statements"]]
    # What escapes its brackets shows as another statement, clause or query around the one expression.
    if len(expressions[0]) != 1 or _without_places(tree) != _without_places(frame):
        raise ValueError(f"rule {name}: {rule!r} is more than one expression")
    found: dict[str, None] = {}
    try:
        _walk(expressions[0], frozenset(), found)
    except ValueError as error:
        raise ValueError(f"rule {name}: {rule!r}: {error}") from None
    return tuple(found)


def _is_rule(when: str | None) -> str | None:
    if when is not None:
        columns("when", when)
    return when


When = Annotated[str | None, AfterValidator(_is_rule)]
"""Type of a parameter that is a rule, or none: which rows a stage takes."""


def holds(name: str, when: str | None, rows: Sequence[Row], schema: pa.Schema | None, threads: int = 1) -> list[bool]:
    """Of each row, whether the rule is true; without a rule it is. `name` is what errors call it."""
    if not when:
        return [True] * len(rows)
    return [verdict is True for verdict in verdicts({name: when}, rows, schema, threads)[name]]


def _parsed(rule: str) -> dict[str, Any]:
    """DuckDB's syntax tree of a query for the rule, without running it."""
    query = f"SELECT ({rule}\n) FROM row_"  # noqa: S608 - only parsed
    answer = _parser().execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0][0]
    return cast("dict[str, Any]", json.loads(answer))


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    return connect()


def connect(threads: int = 1) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that reaches no file, no network and no other configuration."""
    return duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "lock_configuration": True,
        },
    )


def _walk(node: Any, bound: frozenset[str], found: dict[str, None]) -> None:
    """Collect the columns of an expression; `bound` are the parameters of the lambdas around it."""
    if isinstance(node, list):
        for child in node:
            _walk(child, bound, found)
    elif isinstance(node, dict):
        kind = node.get("class")
        if kind in {"SUBQUERY", "WINDOW", "STAR", "PARAMETER", "DEFAULT", "POSITIONAL_REFERENCE", "COLLATE"}:
            raise ValueError(f"{kind.lower().replace('_', ' ')} is not allowed: a rule sees the values of one row")
        if kind == "COLUMN_REF":
            if (name := node["column_names"][0].lower()) not in bound:
                found[name] = None
        elif kind == "LAMBDA":
            if node["syntax_type"] == "SINGLE_ARROW":  # which DuckDB parses, and refuses when it is run
                raise ValueError("write lambda x: ... instead of x -> ..., json_extract(...) instead of the arrow of JSON")
            parameters: dict[str, None] = {}
            _walk(node["lhs"], frozenset(), parameters)
            _walk(node["expr"], bound | parameters.keys(), found)
        else:
            if kind == "FUNCTION":
                _check_function(node)
            for child in node.values():
                _walk(child, bound, found)


def _check_function(node: Mapping[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    if node["schema"] or node["catalog"]:
        raise ValueError(f"write {name}({node['schema']}, ...) instead of {node['schema']}.{name}(...)")
    if name not in _functions():
        raise ValueError(f"{name} is not a function of one row's values")


@lru_cache(maxsize=1)
def _functions() -> frozenset[str]:
    """Functions whose result depends on their arguments alone."""
    rows = _parser().execute(
        "SELECT function_name, bool_and(function_type = 'scalar' AND stability = 'CONSISTENT'), bool_and(function_type = 'macro') "
        "FROM duckdb_functions() GROUP BY ALL"
    )
    return (
        frozenset(
            name for name, pure, macro in rows.fetchall() if pure or (macro and (name in _MACROS or name.startswith(("list_", "array_"))))
        )
        - _CLOCKS
    )


def _without_places(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_places(value) for key, value in node.items() if not key.startswith("query_location")}
    return [_without_places(child) for child in node] if isinstance(node, list) else node


def check_columns(name: str, rule: str, there: Sequence[str]) -> tuple[str, ...]:
    """The columns that rule `name` reads.

    Raises:
        SilverError: one of them is not among those that are there; the message says which is nearest.
    """
    used = columns(name, rule)
    for column in used:
        if column not in there:
            close = difflib.get_close_matches(column, there, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(there)}"
            raise SilverError(f"rule {name}: there is no column {column!r}; {hint}")
    return used


def verdicts(rules: Mapping[str, str], rows: Sequence[Row], schema: pa.Schema | None, threads: int = 1) -> dict[str, list[bool | None]]:
    """What each rule (name: expression) says of each row; `schema` holds the types of the rows' columns.

    Raises:
        SilverError: a rule names a column that is not there, is no boolean, or cannot be computed for these values.
    """
    if schema is None:
        raise ValueError("rules need the schema of their rows: PartContext(schema=...)")
    used: dict[str, None] = {}
    for name, rule in rules.items():
        used |= dict.fromkeys(check_columns(name, rule, schema.names))
    names = sorted(used) or schema.names[:1]
    table = to_table([{name: row.get(name) for name in names} for row in rows], pa.schema([schema.field(name) for name in names]))
    for index, column in enumerate(table.columns):
        if pa.types.is_floating(column.type):  # to DuckDB, NaN is greater than every number
            table = table.set_column(index, table.schema.field(index), pc.if_else(pc.is_nan(column), None, column))
    found: dict[str, list[bool | None]] = {}
    with connect(threads) as connection:
        connection.register("row_", table)
        for name, rule in rules.items():
            try:
                cursor = connection.execute(f"SELECT ({rule}\n) FROM row_")  # noqa: S608 - parsed and checked by `columns`
                kind = str(cursor.description[0][1]) if cursor.description else ""
                values = cursor.fetchall()
            except duckdb.Error as error:
                raise SilverError(f"rule {name}: {rule!r}: {str(error).splitlines()[0]}") from error
            if kind != "BOOLEAN":
                raise SilverError(f"rule {name}: {rule!r} is {kind}, not true or false; compare it with something")
            found[name] = [cast("bool | None", value) for (value,) in values]
    return found
