"""Each part of refinement can be left out by a value of the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import RecipeError
from stages.train import Train
from stages.train.noise import SILENT
from workflows.cli.shared import load_recipe

RECIPE = Path(__file__).parents[2] / "configs" / "small-student.yaml"


def stages(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    (tmp_path / "dev.jsonl").write_text(json.dumps({"audio": "a.wav", "text": "hello"}))
    loaded = load_recipe(str(RECIPE), [f"root={tmp_path}", f"refine.dev={tmp_path / 'dev.jsonl'}", *overrides])
    return {spec.name: spec.stage for spec in loaded.stages}


def test_without_a_filter_every_label_is_learned(tmp_path: Path) -> None:
    found = stages(tmp_path, "refine.tau=null", "refine.keep=null", "refine.when=null")
    assert [(found[name].params.tau, found[name].params.keep, found[name].params.when) for name in ("select_1", "select_2")] == [
        (None,) * 3
    ] * 2
    assert found["adopt"].params.tau is None


def test_without_relabelling_the_original_labels_are_learned_and_stay(tmp_path: Path) -> None:
    found = stages(tmp_path, "refine.relabel=false", "refine.tau=0.3")
    assert (found["select_2"].params.relabel, found["select_2"].params.tau, found["adopt"].params.relabel) == (False, 0.3, False)


def test_one_shot_is_one_round(tmp_path: Path) -> None:
    assert [name for name in stages(tmp_path, "refine.rounds=1") if "_" in name] == ["select_1", "train_1", "relabel_final"], (
        "and `train_2` waits"
    )
    with pytest.raises(RecipeError, match="no stage or setting is called 'train_0'"):
        stages(tmp_path, "train_0.epochs=3")


@pytest.mark.parametrize("kind", ["hf-whisper", "hf-ctc", "encoder-ctc", "conformer-ctc"])
def test_without_noise_there_are_no_masks_and_no_dropout_either(kind: str, tmp_path: Path) -> None:
    given = {"model": "x"} if kind == "hf-ctc" else {}
    loud, quiet = (Train(Train.Params(student=kind, dev=str(tmp_path), options=given, **own)) for own in ({}, {"noise": None}))
    harder = {"time_masks", "frequency_masks", "channel_masks", "dropout"}
    said = {name: value for name, value in quiet.options.model_dump().items() if name in harder}
    assert len(said) >= 2
    assert set(said.values()) == {0}
    assert all(loud.options.model_dump()[name] != 0 for name in said)
    assert loud.params.noise != SILENT
