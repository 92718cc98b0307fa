"""The command line over a real corpus: what a user types, and what comes back."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.corpus import build_arguments, silver


def answer(*arguments: str) -> list[dict]:
    done = silver(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_funnel_accounts_for_every_row_and_its_hours(built: Path) -> None:
    table = answer("funnel", str(built))
    stages = [row for row in table if row["reason"] is None]
    assert stages[0]["stage"] == "acquire"
    assert stages[-1]["stage"] == "pack"
    for row in stages:
        assert row["rows_in"] + row["made"] == row["kept"] + row["dropped"]
        reasons = [other for other in table if other["stage"] == row["stage"] and other["reason"]]
        assert row["dropped_only"] == sum(other["dropped_only"] for other in reasons)
        assert max((other["dropped"] for other in reasons), default=0) <= row["dropped"] <= sum(other["dropped"] for other in reasons)
    assert stages[1]["hours_kept"] == pytest.approx(110 / 3600, rel=0.15)


def test_sql_answers_over_the_views(built: Path) -> None:
    live = answer("sql", str(built), "select count(*) as n from segments where drop_reason is null")[0]["n"]
    assert live == len(answer("rows", str(built), "--where", "drop_reason is null", "--sample", "1000")) > 5
    assert answer("sql", str(built), "select count(*) as n from recordings")[0]["n"] == 6
    assert answer("sql", str(built), "select count(distinct stage) as n from funnel")[0]["n"] == 13
    wrong = silver("sql", str(built), "select sdarop_reason from segments")
    assert wrong.returncode == 1
    assert "sdarop_reason" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_rows_in_three_formats_and_the_nearest_name(built: Path) -> None:
    arguments = ["rows", str(built), "--columns", "segment_id,duration,text", "--sample", "3"]
    as_json = answer(*arguments)
    as_csv = list(csv.DictReader(io.StringIO(silver(*arguments, "--format", "csv").stdout)))
    assert [row["segment_id"] for row in as_csv] == [row["segment_id"] for row in as_json]
    assert as_json[0]["segment_id"] in silver(*arguments).stdout
    wrong = silver("rows", str(built), "--columns", "txt")
    assert (wrong.returncode, "did you mean 'text'?" in wrong.stderr) == (1, True)
    wrong = silver("rows", str(built), "--stage", "fliter")
    assert (wrong.returncode, "did you mean 'filter'?" in wrong.stderr) == (1, True)


def test_trace_follows_a_segment_from_its_file_to_its_shard(built: Path) -> None:
    row = answer("rows", str(built), "--where", "drop_reason is null", "--columns", "segment_id,source_uri,shard", "--sample", "1")[0]
    entries = answer("trace", str(built), row["segment_id"])
    assert [entry["stage"] for entry in entries] == [entry["stage"] for entry in answer("status", str(built))]
    assert entries[-1]["wrote"]["shard"] == row["shard"]
    by_source = answer("trace", str(built), row["source_uri"])
    assert row["segment_id"] in {entry["id"] for entry in by_source}
    missing = silver("trace", str(built), "nobody")
    assert (missing.returncode, "no stage" in missing.stderr) == (1, True)


def test_status_names_the_last_run(built: Path) -> None:
    said = silver("status", str(built)).stdout
    assert "last run" in said
    assert "slowest: " in said


def test_a_moved_threshold_runs_filter_and_pack_only_and_plan_says_why(
    built: Path, tmp_path: Path, speech_folder: Path, base_model: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    arguments = build_arguments(root, speech_folder, base_model, "filter.rules.duration=duration between 1 and 9", "pack.version=v2")
    plan = {row["stage"]: row for row in answer("plan", *arguments)}
    assert {stage for stage, row in plan.items() if row["state"] != "up to date"} == {"filter", "pack"}
    assert "filter.rules.duration: " in plan["filter"]["why"]
    assert "duration between 1 and 9" in plan["filter"]["why"]
    done = silver("run", *arguments)
    assert done.returncode == 0, done.stderr
    made = done.stdout.splitlines()[-2 if "note:" in done.stdout else -1]
    assert "filter" in done.stdout
    assert "transcribe" not in made
    counts = {row["reason"]: row["dropped"] for row in answer("funnel", str(root)) if row["stage"] == "filter"}
    assert any("duration" in str(reason) for reason in counts)
    assert silver("verify", str(root / "releases" / "v2")).returncode == 0
    assert silver("verify", str(root / "releases" / "v1")).returncode == 0, "the older release is still there"


def test_nothing_to_do_and_a_new_file(built: Path, tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    root, audio = tmp_path / "root", tmp_path / "audio"
    shutil.copytree(speech_folder, audio)
    spare = audio / "show-5.flac"
    spare.rename(tmp_path / "later.flac")
    arguments = build_arguments(root, audio, base_model, "pack.version=null")
    first = silver("--executor", "inline", "run", *arguments)
    assert first.returncode == 0, first.stderr
    assert "nothing to do" in silver("run", *arguments).stdout
    before = {path: path.stat().st_mtime_ns for path in root.glob("manifests/transcribe/*/part-*")}
    (tmp_path / "later.flac").rename(spare)
    again = silver("--executor", "inline", "run", *arguments)
    assert "transcribe 1," in again.stdout, again.stdout
    after = {path: path.stat().st_mtime_ns for path in root.glob("manifests/transcribe/*/part-*")}
    assert {path: after[path] for path in before} == before


def test_verify_names_the_shard_of_one_flipped_byte(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    shard = next(root.glob("releases/v1/train/*.tar"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    failed = silver("verify", str(root / "releases" / "v1"))
    assert failed.returncode == 1
    assert shard.name in failed.stdout


def test_gc_lists_then_removes_what_the_recipe_no_longer_uses(built: Path, tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    assert (
        silver("run", *build_arguments(root, speech_folder, base_model, "filter.rules.duration=duration < 9", "pack.version=v2")).returncode
        == 0
    )
    assert silver("gc", str(root)).stdout.count("manifests/filter/") == 1
    assert "manifests/filter/" in silver("gc", str(root), "--yes").stdout
    assert len(list(root.glob("manifests/filter/*"))) == 1
    assert "0 folder(s)" in silver("gc", str(root)).stdout


def test_help_teaches_and_bad_usage_is_status_2(tmp_path: Path) -> None:
    assert "acquire.path=AUDIO_DIR" in silver("run", "--help").stdout
    assert silver("rune", "x").returncode == 2
    assert silver("run", "configs/folder.yaml").returncode == 2  # no root
    assert silver("funnel", str(tmp_path)).returncode == 1
    listed = silver("stages").stdout
    assert "transcribe" in listed
    assert "beam_size" in silver("stages", "transcribe").stdout
