"""Named rules over the columns of a row; the verdict and every reason, without recomputing anything.

A rule is a DuckDB expression that must be TRUE for a row to stay. FALSE drops it and so does NULL: what could not be measured does not
pass unseen (a rule that lets it pass says so, `agreement IS NULL OR ...`). Rules see one row at a time and give the same answer every
time, so aggregates, subqueries, clocks and files are refused, before any work starts.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from manifests.part import to_table
from manifests.schema import Row
from pipeline.contract import PartContext, PartStage, SilverError, StageParams, drop

_CODE = "regexp_extract(lower(language), '^[a-z]+')"
_SAME = "('nb', 'no'), ('nn', 'no'), ('fil', 'tl'), ('jv', 'jw'), ('cmn', 'zh'), ('zh', 'yue'), ('iw', 'he'), ('in', 'id')"
"""Expected codes that Whisper calls otherwise."""

DEFAULT_RULES = {
    "duration": "duration BETWEEN 1 AND 30",
    "audio_language": f"language IS NULL OR audio_language = {_CODE} OR ({_CODE}, audio_language) IN ({_SAME})",
    "audio_language_probability": "audio_language_probability >= 0.7",
    "text_language": "text_language_expected IS NULL OR length(text) < 30 OR text_language_expected >= 0.3",
    "charset": "charset IS NULL OR charset >= 0.8",
    "chars_per_second": "chars_per_second BETWEEN 1 AND 40",
    "repetition": "repetition <= 0.5",
    "hallucination": "NOT hallucination",
    "avg_logprob": "avg_logprob IS NULL OR avg_logprob >= -1",
    "agreement": "agreement IS NULL OR agreement >= 0.9",
}
"""Duration and characters a second as OLMoASR and Granary have them; probability of the heard language and agreement as YODAS-Granary and
OWSM v4 (WER of at most 10 %); log-probability as Whisper (Radford et al. 2022, section 4.5). Text shorter than 30 characters is too little to
tell a language by; from there on 0.3 lost 2 of 415 voice prompts in English, Spanish and French. Loan words and names fit into 0.8 of the letters."""

_MACROS = {"split_part", "nullif", "if", "fdiv", "fmod"}
"""DuckDB's macros of values; those of lists start with list_ or array_. The others look at the session."""
_CLOCKS = {"age", "current_localtime", "current_localtimestamp"}
"""Read the clock, though DuckDB counts them among the functions that always give the same answer."""


class Filter(PartStage):
    """Drops the rows for which a rule is not true; `drop_reason` names all such rules, `drop_detail` the values they saw.

    The rules are DuckDB expressions, each by itself over the columns of one row.
    """

    name, version = "filter", "1"
    packages = ("duckdb",)
    light = True

    class Params(StageParams):
        """See `rules`."""

        rules: dict[str, str] = Field(
            default=DEFAULT_RULES,
            validate_default=True,
            description="name: DuckDB expression over the row's columns that must be true; those given here are added to the default rules, "
            "replace them by name, or switch one off (null)",
        )

        @field_validator("rules", mode="before")
        @classmethod
        def _with_defaults(cls, given: object) -> object:
            if not isinstance(given, Mapping):
                return given
            return {name: rule for name, rule in (DEFAULT_RULES | dict(given)).items() if rule is not None and str(rule).strip()}

        @field_validator("rules")
        @classmethod
        def _checked(cls, rules: dict[str, str]) -> dict[str, str]:
            for name, rule in rules.items():
                if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                    raise ValueError(f"{name!r} is not a name for a rule: letters, digits and _, not a digit first")
                columns(name, rule)
            return rules

    def __init__(self, params: StageParams) -> None:
        super().__init__(params)
        # What a filter reads is in its rules: so a rule about a column that no stage adds fails when the recipe is read.
        used = {column: None for name, rule in self.params.rules.items() for column in columns(name, rule)}
        self.reads = tuple(used)  # type: ignore[misc]

    def process(self, rows: list[Row], context: PartContext) -> Iterator[Row]:
        """The rows in order, each kept or dropped.

        Raises:
            SilverError: a rule names a column that is not there, is no boolean, or cannot be computed for these values.
        """
        if context.schema is None:
            raise ValueError("filter needs the schema of its rows: PartContext(schema=...)")
        rules: dict[str, str] = self.params.rules
        used = {name: columns(name, rule) for name, rule in rules.items()}
        for name, found in used.items():
            _require(name, found, context.schema.names)
        names = sorted({column for found in used.values() for column in found}) or context.schema.names[:1]
        schema = pa.schema([context.schema.field(name) for name in names])
        table = to_table([{name: row.get(name) for name in names} for row in rows], schema)
        verdicts = _verdicts(rules, table, context.threads)
        for index, row in enumerate(rows):
            failing = [name for name in rules if verdicts[name][index] is not True]
            yield (
                drop(row, ";".join(failing), "; ".join(_detail(name, rules[name], used[name], row) for name in failing)) if failing else row
            )


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


def _require(rule: str, names: Iterable[str], there: list[str]) -> None:
    for name in names:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            raise SilverError(
                f"rule {rule}: there is no column {name!r}"
                + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(there)}")
                + f" (filter.rules.{rule}=null switches the rule off)"
            )


def _verdicts(rules: Mapping[str, str], table: pa.Table, threads: int) -> dict[str, list[bool | None]]:
    """What each rule says of each row."""
    for index, column in enumerate(table.columns):
        if pa.types.is_floating(column.type):  # to DuckDB, NaN is greater than every number
            table = table.set_column(index, table.schema.field(index), pc.if_else(pc.is_nan(column), None, column))
    verdicts: dict[str, list[bool | None]] = {}
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
            verdicts[name] = [cast("bool | None", value) for (value,) in values]
    return verdicts


def _detail(name: str, rule: str, used: Iterable[str], row: Row) -> str:
    values = ", ".join(f"{column}={_shown(row.get(column))}" for column in used)
    return f"{name}: {_short(' '.join(rule.split()), 50)} ({values})"  # a row that breaks many rules must find room for all values


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(value: Any) -> str:
    """A value in the words of SQL, short."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"{len(value)} entries"
    return repr(_short(value, 40)) if isinstance(value, str) else str(value)
