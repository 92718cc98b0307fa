"""silver refine: two rounds on real speech, what they leave behind, a kill in the middle of a training, and gold that is not held out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

from manifests.corpus import Corpus
from manifests.part import read_rows
from tests.corpus import REPOSITORY, environment, silver
from workflows.demo.speech import prompts
from workflows.report.collect import collect

WER = ("system", "set", "words", "wer", "cer")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, speech_folder: Path, base_model: Path) -> Path:
    """Recipe and gold: English speech without labels; a Spanish and a French speaker are held out."""
    folder = tmp_path_factory.mktemp("refine")
    for name, language in (("dev", "es"), ("test", "fr")):
        lines = [
            {"audio": str(prompt.path), "text": prompt.text, "language": language, "speaker": f"speaker of {language}"}
            for prompt in prompts(language)[10:16]
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    recipe = {
        "root": str(folder / "root"), "language": "en", "part_minutes": 1, "acquire": {"path": str(speech_folder)}, "decode": None,
        "segment": None, "identify": {"model": str(base_model)}, "transcribe": {"model": str(base_model), "beam_size": 1},
        "normalise": None,
        "refine": {
            "rounds": 2, "dev": str(folder / "dev.jsonl"), "test": {"french": str(folder / "test.jsonl")}, "tau": 0.5,
            "train": {
                "options": {"model": str(base_model), "part": "decoder"}, "epochs": 1, "batch_seconds": 30, "learning_rate": 1e-5,
                "checkpoint_minutes": 0.001,
            },
        },
        "pack": None,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def refined(home: Path) -> tuple[Path, list[dict], list[dict]]:
    """The root, the table of rounds and that of systems."""
    done = silver("--executor", "inline", "refine", str(home / "recipe.yaml"), "--quiet", "--format", "json", timeout=600)
    assert done.returncode == 0, done.stderr
    return (home / "root", *tables(done.stdout))


def tables(told: str) -> tuple[list[dict], list[dict]]:
    rows = json.loads(told)
    return [row for row in rows if row["table"] == "rounds"], [row for row in rows if row["table"] == "systems"]


def test_teacher_and_every_round_are_compared_on_what_nothing_was_trained_on(refined: tuple[Path, list[dict], list[dict]]) -> None:
    _, rounds, systems = refined
    assert [(row["system"], row["set"]) for row in systems] == [
        (name, which) for name in ("teacher", "round 1", "round 2") for which in ("dev", "test")
    ]
    assert all(0 < row["wer"] < 1 for row in systems), systems
    assert systems[2]["gain"] is not None
    assert [row["round"] for row in rounds] == [1, 2]
    assert rounds[0]["changed"] == 0, "the first round learns the original labels"
    for row in rounds:  # the mean with the student before was tried, and the better of the two stayed
        training = json.loads((refined[0] / row["student"] / "training.json").read_text())
        assert training["wer"] == min(training["soup"], *(epoch["wer"] for epoch in training["epochs"]))
    assert (rounds[0]["words"], rounds[0]["vocabulary"]) == (1, 1)
    assert 0.5 < rounds[1]["vocabulary"] < 1.5
    assert rounds[1]["before"] == rounds[0]["dev_wer"]
    assert rounds[1]["taken"] == (rounds[1]["dev_wer"] < rounds[0]["dev_wer"])
    told = collect(Corpus(str(refined[0])), 0)
    assert [row["round"] for row in told["rounds"]] == [1, 2]
    assert {row["system"] for row in told["systems"]} == {"teacher", "round 1", "round 2"}
    drawn = {path.name: path.read_text() for path in (refined[0] / "figures").iterdir()}
    assert "round 2" in drawn["rounds.svg"]
    assert "hours learned" in drawn["rounds.svg"]
    assert "word error rate on the dev set" in drawn["learning.svg"]


def test_every_row_says_whose_text_it_is_and_what_each_round_wrote(refined: tuple[Path, list[dict], list[dict]]) -> None:
    root, rounds, _ = refined
    adopted = next(manifest for manifest in Corpus(str(root)).manifests if manifest.stage == "adopt")
    rows = [row for ref in adopted.parts() for row in read_rows(adopted.store, ref)]
    kept = [row for row in rows if row["drop_reason"] is None]
    assert kept
    assert {row["round"] for row in kept} == {2}
    for row in kept:
        assert [label["labeller"].split("/")[0] for label in row["labels"]] == ["faster-whisper", "student", "student"]
        assert row["label_origin"] == row["labels"][-1]["labeller"]
    taken = rounds[-1]["student"] if rounds[-1]["taken"] else rounds[0]["student"]
    assert {row["student"] for row in kept} == {taken}
    told = silver("trace", str(root), kept[0]["segment_id"]).stdout
    assert all(stage in told for stage in ("select_1", "relabel_2", "select_2", "train_2", "adopt")), told


def test_a_student_labels_like_any_other_model(refined: tuple[Path, list[dict], list[dict]], tmp_path: Path, home: Path) -> None:
    root, rounds, _ = refined
    recipe = yaml.safe_load((home / "recipe.yaml").read_text())
    plain = {key: value for key, value in recipe.items() if key not in ("refine", "pack")} | {"root": str(tmp_path / "root")}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    model = root / rounds[0]["student"]
    done = silver("--executor", "inline", "run", str(tmp_path / "r.yaml"), f"transcribe.model={model}", "--quiet", timeout=200)
    assert done.returncode == 0, done.stderr
    assert (model / "transformers" / "model.safetensors").is_file()


def test_nothing_is_trained_again(refined: tuple[Path, list[dict], list[dict]], home: Path) -> None:
    done = silver("--executor", "inline", "refine", str(home / "recipe.yaml"), "--quiet", "--format", "json", timeout=200)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert tables(done.stdout) == refined[1:]


def test_gc_removes_students_that_no_row_names(refined: tuple[Path, list[dict], list[dict]], tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(refined[0], root, ignore=shutil.ignore_patterns("audio", "releases"))
    shutil.copytree(root / refined[1][0]["student"], root / "models" / "train_1" / "of-other-options")
    assert "models/train_1/of-other-options\n1 folder(s)" in silver("gc", str(root), "--yes").stdout
    assert all((root / row["student"]).is_dir() for row in refined[1])
    assert not (root / "models" / "train_1" / "of-other-options").exists()


def test_a_training_that_was_killed_goes_on_and_ends_in_the_same_table(
    refined: tuple[Path, list[dict], list[dict]], home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(refined[0], root, ignore=shutil.ignore_patterns("train_*", "models", "transcripts-*"))
    arguments = ["--executor", "inline", "refine", str(home / "recipe.yaml"), f"root={root}", "--quiet", "--format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "workflows.cli", *arguments], cwd=REPOSITORY, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while process.poll() is None and not any(root.glob("models/train_1/*/state/checkpoint.pt")):
            time.sleep(0.1)
        assert process.poll() is None, "it should have been in the middle of the training"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = silver(*arguments, timeout=600)
    assert done.returncode == 0, done.stderr
    systems = tables(done.stdout)[1]
    assert [[row[name] for name in WER] for row in systems] == [[row[name] for name in WER] for row in refined[2]]
    assert not any(root.glob("models/*/*/state")), "what only the training needed is gone"


def test_gold_that_is_not_held_out_fails_before_anything_is_trained(
    refined: tuple[Path, list[dict], list[dict]], home: Path, tmp_path: Path, speech_folder: Path
) -> None:
    leaking = tmp_path / "leaking.jsonl"
    show = min(speech_folder.glob("*.flac"))
    leaking.write_text(json.dumps({"audio": str(show), "start": 0, "end": 4, "text": "anything at all", "language": "en"}))
    done = silver("--executor", "inline", "refine", str(home / "recipe.yaml"), f"refine.dev={leaking}", "--quiet", timeout=200)
    assert done.returncode == 1
    assert "is not held out from the training data" in done.stderr
    assert "same recording" in done.stderr


def test_a_test_set_that_comes_after_the_training_is_compared_with_what_was_learned(
    refined: tuple[Path, list[dict], list[dict]], home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(refined[0], root)
    row = pq.read_table(root / refined[1][0]["student"] / "texts.parquet").to_pylist()[0]
    late = tmp_path / "late.jsonl"
    late.write_text(json.dumps({"audio": str(root / row["audio_path"]), "start": 0, "end": 4, "text": "anything at all", "language": "en"}))
    done = silver(
        "--executor", "inline", "refine", str(home / "recipe.yaml"), f"root={root}", f"refine.test={{late: {late}}}", "--quiet", timeout=200
    )
    assert done.returncode == 1
    assert "late.jsonl is not held out from the training data" in done.stderr


def test_a_dev_set_out_of_the_test_set_ends_the_run_before_anything_is_made(home: Path, tmp_path: Path) -> None:
    arguments = ["refine", str(home / "recipe.yaml"), f"root={tmp_path / 'root'}", f"refine.dev={home / 'test.jsonl'}"]
    done = silver("--executor", "inline", *arguments, timeout=200)
    assert done.returncode == 1
    assert "test.jsonl has what the test set" in done.stderr
    assert "same recording, 6 or 100.0%" in done.stderr
    assert not list((tmp_path / "root").glob("manifests/acquire/*/part-*"))


def test_a_test_set_that_is_not_there_ends_the_plan(home: Path, tmp_path: Path) -> None:
    arguments = ["plan", str(home / "recipe.yaml"), f"root={tmp_path / 'root'}", "refine.test={far: nowhere.jsonl}"]
    done = silver("--executor", "inline", *arguments, timeout=200)
    assert done.returncode == 1
    assert "nowhere.jsonl cannot be read" in done.stderr


def test_without_a_dev_set_nothing_begins(home: Path) -> None:
    done = silver("--executor", "inline", "refine", str(home / "recipe.yaml"), "refine.dev=nowhere.jsonl", "--quiet", timeout=100)
    assert done.returncode == 1
    assert "nowhere.jsonl" in done.stderr
    nothing = silver("--executor", "inline", "refine", "configs/folder.yaml", "root=x")
    assert (nothing.returncode, "has no section refine" in nothing.stderr) == (1, True)


def test_a_selection_of_nothing_says_what_to_loosen(refined: tuple[Path, list[dict], list[dict]], home: Path) -> None:
    done = silver("--executor", "inline", "refine", str(home / "recipe.yaml"), "refine.when=duration > 1000", "--quiet", timeout=200)
    assert done.returncode == 1
    assert "train_1: no segment is selected (" in done.stderr
    assert "are there): loosen `when`, `tau`, `keep` or `share`" in done.stderr


def test_two_workers_train_one_student_on_ray(
    refined: tuple[Path, list[dict], list[dict]], home: Path, tmp_path: Path, ray_nodes: SimpleNamespace
) -> None:
    root = tmp_path / "root"
    shutil.copytree(refined[0], root, ignore=shutil.ignore_patterns("train_*", "models"))
    arguments = ["run", str(home / "recipe.yaml"), f"root={root}", "--to", "train_1", "--quiet", "refine.train.workers=2"]
    done = silver("--executor", "ray", "--address", ray_nodes.address, *arguments, timeout=400)
    assert done.returncode == 0, done.stderr
    (record,) = root.glob("models/train_1/*/training.json")
    alone = json.loads((refined[0] / refined[1][0]["student"] / "training.json").read_text())
    together = json.loads(record.read_text())
    assert together["segments"] == alone["segments"]
    assert 0 < together["wer"] < 1


def test_a_new_month_that_makes_an_old_test_set_worse_is_not_taken(
    refined: tuple[Path, list[dict], list[dict]], home: Path, tmp_path: Path
) -> None:
    month = tmp_path / "month"
    month.mkdir()
    for prompt in prompts("es")[40:45]:
        shutil.copy(prompt.path, month)
    old, start = refined[0], refined[0] / refined[1][0]["student"]
    recipe = yaml.safe_load((home / "recipe.yaml").read_text())
    recipe |= {"root": str(tmp_path / "root"), "language": "es", "acquire": {"path": str(month)}}
    recipe["transcribe"]["model"] = str(start)
    recipe["refine"] |= {"rounds": 1, "test": {}, "replay": [{"root": str(old), "hours": 0.01}]}
    recipe["refine"]["train"] |= {"start": str(start), "guard": [str(home / "test.jsonl")], "learning_rate": 0.01}  # which breaks it
    (tmp_path / "month.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    done = silver("--executor", "inline", "refine", str(tmp_path / "month.yaml"), "--quiet", "--format", "json", timeout=400)
    assert done.returncode == 0, done.stderr
    (round_1,), systems = tables(done.stdout)
    assert not round_1["taken"]
    assert 0 < round_1["replayed"] <= 0.01
    assert [row["system"] for row in systems] == ["teacher"] * 2 + ["start"] * 2 + ["round 1"] * 2
    training = json.loads((tmp_path / "root" / round_1["student"] / "training.json").read_text())
    assert any("more than the margin of 0.005" in reason for reason in training["refused"]), training
    assert json.loads((tmp_path / "root" / training["start"] / "training.json").read_text())["source"] == str(start)
    adopted = next(manifest for manifest in Corpus(str(tmp_path / "root")).manifests if manifest.stage == "adopt")
    rows = [row for ref in adopted.parts() for row in read_rows(adopted.store, ref)]
    assert {row["student"].split("/")[1] for row in rows} == {"start"}
    assert any(label["labeller"].startswith("student/start/") for row in rows for label in row["labels"] or ())


def test_a_corpus_to_learn_again_must_be_packed(home: Path, tmp_path: Path) -> None:
    done = silver(
        "--executor", "inline", "refine", str(home / "recipe.yaml"), f"refine.replay=[{{root: {tmp_path}}}]", "--quiet", timeout=100
    )
    assert done.returncode == 1
    assert "is not a corpus root" in done.stderr
