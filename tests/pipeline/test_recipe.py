"""Recipes: what a user who made a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import stages
from pipeline.recipe import Recipe, RecipeError, load
from tests.pipeline.toy import STAGES, find
from workflows.refine.section import Refine

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def recipe(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load(str(path), overrides, find, STAGES)


GOOD = "root: x\nlines:\n  file: a\nletters:\nshout:\n  mark: '?'\nshort: {limit: 6}\n"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (GOOD.replace("shout:", "shuot:"), [], r"r\.yaml:5: no stage or setting is called 'shuot'; did you mean 'shout'\?"),
        (GOOD.replace("mark", "marc"), [], r"r\.yaml:6: shout\.marc is not known; did you mean 'mark'\?"),
        (GOOD, ["short.limt=7"], r"override 'short\.limt': short\.limt is not known; did you mean 'limit'\?"),
        (GOOD, ["shrot.limit=7"], r"override 'shrot\.limit': no stage or setting is called 'shrot'; did you mean 'sho.*'\?"),
        (GOOD, ["short.limit=six"], r"override 'short\.limit': short\.limit: Input should be a valid integer.*'six'"),
        (GOOD, ["short"], "override 'short': write it as key=value"),
        (GOOD.replace("root: x", "name: x"), [], r"root is not set .* add root=VALUE"),
        (GOOD.replace("shout:\n  mark: '?'\n", ""), [], "short reads shouted, which no stage before it adds"),
        (GOOD.replace("limit: 6", "limit: '${shout.marc}'"), [], r"r\.yaml:7: \$\{shout\.marc\} names a key that the recipe does not set"),
        (GOOD + "lines:\n", [], "duplicate key"),
        ("- a", [], "a recipe is a mapping"),
        ("root: [x\n", [], "is not valid YAML"),
        ("root: x\n", [], "no stages; a recipe names them in order"),
        (GOOD.replace("shout:\n  mark: '?'", "shout: loud"), [], r"r\.yaml:5: shout takes parameters"),
        (GOOD + "again: {stage: shuot}", [], r"r\.yaml:8: no stage or setting is called 'shuot'; did you mean 'shout'\?"),
        (GOOD + "Not a name: {stage: shout}", [], r"r\.yaml:8: 'Not a name' is not a name for a stage"),
        (GOOD, ["shout.resources.num_cpu=1"], r"shout\.resources\.num_cpu is not known; did you mean 'num_cpus'\?"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_nearest_key(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, text, *overrides)


def test_overrides_reach_any_value_and_keep_their_type(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, GOOD, "language=no", "short.limit=12", "shout.mark=a: b")
    assert loaded.header.language == "no", "Norwegian is not false"
    assert loaded.stages[0].stage.params.language == "no", "a stage takes the recipe's language"
    assert (loaded.stages[3].stage.params.limit, loaded.stages[2].stage.params.mark) == (12, "a: b")


def test_a_reference_follows_the_override(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, GOOD.replace("mark: '?'", "mark: ${name}"), "name=el")
    assert loaded.stages[2].stage.params.mark == "el"


def test_a_missing_recipe_names_the_ones_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe at configs/foldr\.yaml; did you mean 'configs/folder\.yaml'\?"):
        load("configs/foldr.yaml", [], find, STAGES)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_valid(path: Path) -> None:
    loaded = load(str(path), ["root=x", "language=th"], stages.find, stages.STAGES, {"refine": Refine})
    assert loaded.stages[0].name == "acquire"
    assert loaded.stages[-1].name == "pack"


def test_a_section_that_stands_for_stages_is_written_out_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text((CONFIGS / "refine-demo.yaml").read_text() + "train_2:\n  epochs: 9\n")
    loaded = load(str(path), ["root=x", "refine.rounds=2", "refine.tau=[null, 0.2]"], stages.find, stages.STAGES, {"refine": Refine})
    names = [spec.name for spec in loaded.stages]
    written = ["shards", "select_1", "train_1", "relabel_2", "select_2", "train_2", "relabel_final", "adopt"]
    assert names[names.index("shards") : names.index("align")] == written
    found = {spec.name: spec.stage.params for spec in loaded.stages}
    assert (found["train_1"].epochs, found["train_2"].epochs) == (3, 9)
    assert (found["select_2"].tau, found["select_2"].relabel, found["select_1"].relabel) == (0.2, True, False)
    with pytest.raises(RecipeError, match=r"refine\.runds is not known; did you mean 'rounds'"):
        load(str(path), ["root=x", "refine.runds=2"], stages.find, stages.STAGES, {"refine": Refine})
    with pytest.raises(RecipeError, match=r"train_1\.epoch is not known; did you mean 'epochs'"):
        load(str(path), ["root=x", "refine.train.epoch=2"], stages.find, stages.STAGES, {"refine": Refine})
