"""A recipe: one YAML file that names the stages of a corpus, in order, with their parameters.

The keys at the top are the fields of `Header`; every other key is a stage, or a further instance of one under a name of its own
(`second: {stage: transcribe, model: small}`). Overrides (`filter.rules.duration=...`) reach any value
by its dotted path; `${transcribe.model}` as a value repeats another. Every mistake is reported with its file and line and the nearest valid key.
"""

from __future__ import annotations

import difflib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipeline.contract import Resources, Stage
from pipeline.errors import RecipeError as RecipeError  # noqa: PLC0414 - users of `load` take it from here

FROM_RECIPE = ("language", "seed")
"""Parameters of a stage that take the recipe's value where the stage's section does not set them."""


M = TypeVar("M", bound=BaseModel)


class Header(BaseModel):
    """The keys at the top of a recipe that are not stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field("corpus", description="name of the corpus, for people")
    description: str = Field("", description="what the corpus is, for its card")
    contact: str = Field("", description="whom to write to, for instance to have a recording removed, for the card")
    licence: str = Field(
        "", description="licence under which you offer what you made (labels, selection), for the card; the audio keeps its own"
    )
    root: str = Field(description="the corpus root: a folder or a URI (s3://bucket/corpus)")
    language: str | None = Field(None, description="expected language of the audio, BCP 47")
    seed: int = Field(0, description="seed of everything that is random")
    part_minutes: float = Field(20, gt=0, description="minutes of audio in one part, the unit of work and of resume")


@dataclass(frozen=True)
class StageSpec:
    """One section of a recipe, checked."""

    stage: Stage
    resources: Resources

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name


@dataclass(frozen=True)
class Recipe:
    """A recipe, checked. `source` is the file; `plain` the resolved values."""

    header: Header
    stages: tuple[StageSpec, ...]
    source: str
    plain: Mapping[str, Any]

    def to_yaml(self) -> str:
        """The resolved recipe, overrides applied, as YAML."""
        return _dump(dict(self.plain))


class Macro(BaseModel, ABC):
    """A section of a recipe that stands for several stages. What a section of the name of one of them says is laid over what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def stages(self) -> dict[str, dict[str, Any]]:
        """The sections in its place, in order."""

    def waits(self, name: str) -> bool:
        """True for the name of a stage that it would stand for if it were larger: what a section of that name says is left aside."""
        del name
        return False


def load(
    source: str,
    overrides: Iterable[str],
    find: Callable[[str], type[Stage]],
    names: Iterable[str],
    macros: Mapping[str, type[Macro]] | None = None,
) -> Recipe:
    """Read and check a recipe file, with `key=value` overrides on top.

    `find` gives the class of a stage, `names` all stages there are, `macros` the sections that stand for several stages.

    Raises:
        RecipeError: with the file, the line and the nearest valid key.
    """
    tree = _parse(source)
    lines = {key: f"{source}:{line + 1}" for key, line in _lines(tree)}
    values = _plain(tree)
    for override in overrides:
        path = _override(values, override)
        for depth in range(1, len(path) + 1):
            where = f"override {override.partition('=')[0]!r}"
            lines[path[:depth]] = where if depth == len(path) else lines.get(path[:depth], where)

    values = _written_out(_references(values, values, (), lines, source), lines, source, macros or {})
    known = list(names)
    header_keys = list(Header.model_fields)
    kinds = {key: _kind(key, section) for key, section in values.items() if key not in header_keys}
    for key, kind in kinds.items():
        if kind not in known:
            candidates = known if kind != key else header_keys + known
            raise RecipeError(
                f"{lines.get((key, 'stage'), lines[(key,)])}: no stage or setting is called {kind!r}{_nearest(kind, candidates)}"
            )
        if kind != key and not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise RecipeError(f"{lines[(key,)]}: {key!r} is not a name for a stage: small letters, digits and _, a letter first")
    header = _validate(Header, {key: value for key, value in values.items() if key in header_keys}, (), lines, source)
    if not kinds:
        raise RecipeError(f"{source}: no stages; a recipe names them in order (see `silver stages`)")
    specs = []
    for name, kind in kinds.items():
        section = values[name] if values[name] is not None else {}
        if not isinstance(section, dict):
            raise RecipeError(f"{lines[(name,)]}: {name} takes parameters (key: value), not {section!r}")
        stage_class = find(kind)
        resources = _validate(Resources, section.get("resources") or {}, (name, "resources"), lines, source)
        parameters = {key: value for key, value in section.items() if key not in ("resources", "stage")}
        for key in FROM_RECIPE:
            if key in stage_class.Params.model_fields and key not in parameters and getattr(header, key) is not None:
                parameters[key] = getattr(header, key)
        stage = stage_class(_validate(stage_class.Params, parameters, (name,), lines, source, ["resources", "stage"]))
        stage.name = name
        specs.append(StageSpec(stage, resources))
    _check_columns(specs, source)
    return Recipe(header, tuple(specs), source, values)


def _written_out(values: dict[str, Any], lines: dict[Any, str], source: str, macros: Mapping[str, type[Macro]]) -> dict[str, Any]:
    """The sections with each macro in them replaced, in its place, by the stages that it stands for."""
    used = {key: _validate(macro, values[key] or {}, (key,), lines, source) for key, macro in macros.items() if key in values}
    made = {key: macro.stages() for key, macro in used.items()}
    names = {name for stages in made.values() for name in stages}
    found: dict[str, Any] = {}
    for key, section in values.items():
        for name, parameters in made.get(key, {}).items():
            lines.setdefault((name,), lines[(key,)])
            found[name] = parameters | (values.get(name) or {})
        if key not in made and key not in names and not any(macro.waits(key) for macro in used.values()):
            found[key] = section
    return found


def _kind(key: str, section: Any) -> str:
    """The stage that a section is an instance of: as it says, or as it is called."""
    return str(section["stage"]) if isinstance(section, dict) and "stage" in section else key


def _check_columns(specs: list[StageSpec], source: str) -> None:
    from manifests.schema import ROW

    available = set(ROW.names)
    for spec in specs:
        if missing := [column for column in spec.stage.reads if column not in available]:
            raise RecipeError(
                f"{source}: {spec.name} reads {', '.join(missing)}, which no stage before it adds; check the order of the stages"
            )
        available |= set(spec.stage.adds.names)


def _parse(source: str) -> CommentedMap:
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
        tree = YAML().load(text)
    except FileNotFoundError as error:
        shipped = sorted(str(p) for p in Path("configs").glob("*.yaml"))
        hint = _nearest(source, shipped) or (f"; there are {', '.join(shipped)}" if shipped else "")
        raise RecipeError(f"no recipe at {source}{hint}") from error
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source} cannot be read as a recipe: {error}") from error
    except YAMLError as error:
        raise RecipeError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, CommentedMap):
        raise RecipeError(f"{source}: a recipe is a mapping of settings and stages, not {type(tree).__name__}")
    return tree


def _lines(tree: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], int]]:
    if isinstance(tree, CommentedMap):
        for key, value in tree.items():
            yield (*path, str(key)), tree.lc.key(key)[0]
            yield from _lines(value, (*path, str(key)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or type(value) in (bool, int, float, str) else type(value).__mro__[-2](value)


def _override(values: dict[str, Any], override: str) -> tuple[str, ...]:
    key, separator, text = override.partition("=")
    path = tuple(key.split("."))
    if not separator or not all(path):
        raise RecipeError(f"override {override!r}: write it as key=value, the key a dotted path such as transcribe.model=base")
    target = values
    for step in path[:-1]:
        if target.get(step) is None:
            target[step] = {}
        target = target[step]
        if not isinstance(target, dict):
            raise RecipeError(f"override {override!r}: {step!r} holds a value, not further keys")
    target[path[-1]] = override_value(text)
    return path


def override_value(text: str) -> Any:
    """What stands behind the `=` of an override, read as YAML.

    >>> override_value("null"), override_value("0.1"), override_value("a: b"), override_value("{a: b}")
    (None, 0.1, 'a: b', {'a': 'b'})
    """
    try:
        parsed = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text  # not YAML, so plain text: `rules.x=a > 0: b`
    # `a: b` in a value is text unless it is written as a mapping.
    return parsed if text.lstrip().startswith("{") or not isinstance(parsed, dict) else text


def _references(value: Any, tree: Any, path: tuple[str, ...], lines: Mapping[tuple[str, ...], str], source: str) -> Any:
    """Replace values of the form `${stage.key}` by what that path holds, so that one override reaches several stages."""
    if isinstance(value, dict):
        return {key: _references(item, tree, (*path, key), lines, source) for key, item in value.items()}
    if isinstance(value, str) and (match := re.fullmatch(r"\$\{([\w.]+)\}", value)):
        found = tree
        for step in match[1].split("."):
            if not isinstance(found, dict) or step not in found:
                raise RecipeError(f"{lines.get(path, source)}: {value} names a key that the recipe does not set")
            found = found[step]
        if isinstance(found, dict | list) or (isinstance(found, str) and found.startswith("${")):
            raise RecipeError(f"{lines.get(path, source)}: {value} must name a plain value")
        return found
    return value


def _validate(
    model: type[M], values: Any, path: tuple[str, ...], lines: Mapping[tuple[str, ...], str], source: str, extra_keys: Iterable[str] = ()
) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        messages = []
        for problem in error.errors():
            location = tuple(str(step) for step in problem["loc"])
            place = next((lines[path + location[:n]] for n in range(len(location), -1, -1) if path + location[:n] in lines), source)
            key = ".".join(path + location)
            if problem["type"] == "extra_forbidden":
                messages.append(f"{place}: {key} is not known{_nearest(location[-1], [*model.model_fields, *extra_keys])}")
            elif problem["type"] == "missing":
                field = model.model_fields.get(location[-1])
                messages.append(
                    f"{place}: {key} is not set ({field.description if field else ''}); add {key}=VALUE or write it in the recipe"
                )
            else:
                messages.append(f"{place}: {key}: {problem['msg']} (got {problem['input']!r})")
        raise RecipeError("\n".join(messages)) from error


def _nearest(word: str, candidates: Iterable[str]) -> str:
    options = list(candidates)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else (f"; there are: {', '.join(options)}" if options else "")


def _dump(values: dict[str, Any]) -> str:
    sink = io.StringIO()
    YAML().dump(values, sink)
    return sink.getvalue()
