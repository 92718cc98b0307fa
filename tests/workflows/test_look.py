"""What changed, what would change, what is damaged: the commands over a real corpus whose filter was moved, and over a broken one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from manifests.corpus import Corpus, Manifest
from manifests.part import read_rows
from manifests.sample import sample_rows
from manifests.status import running
from manifests.trace import trace
from tests.corpus import MOVED_RULE, build_arguments, silver


def answer(*arguments: str) -> list[dict]:
    done = silver(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_if_foretells_what_the_run_then_keeps(built: Path, moved: Path) -> None:
    foretold = {row["rows"]: row for row in answer("what-if", str(built), f"filter.rules.duration={MOVED_RULE}") if row["slice"] == "en"}
    now, then = (
        answer("sql", str(root), "select count(*) n, sum(duration) s from filter where drop_reason is null")[0] for root in (built, moved)
    )
    assert (foretold["kept now"]["segments"], foretold["kept then"]["segments"]) == (now["n"], then["n"])
    assert foretold["kept then"]["hours"] == pytest.approx(then["s"] / 3600, abs=1e-4)
    assert foretold["leaves"]["segments"] == now["n"] - then["n"] > 0
    assert foretold["comes back"]["segments"] == 0
    assert 0 < foretold["kept then"]["expected_wer"] < 1
    back = {row["rows"]: row["segments"] for row in answer("what-if", str(moved), "filter.rules.duration=null") if row["slice"] == "en"}
    assert (back["kept then"], back["comes back"]) == (now["n"], now["n"] - then["n"])


def test_what_if_meets_an_expected_error(built: Path) -> None:
    now = {row["rows"]: row for row in answer("what-if", str(built), "filter.target_wer=0.5")}["kept now"]
    target = round(now["expected_wer"] * 0.97, 4)
    then = {row["rows"]: row for row in answer("what-if", str(built), f"filter.target_wer={target}")}["kept then"]
    assert 0 < then["segments"] < now["segments"]
    assert then["expected_wer"] <= target + 0.001


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("filter.rules.x=confidnce > 1", "did you mean 'confidence'"),
        ("filter.rules.x=confidence >", "is not a DuckDB expression"),
        ("filter.rules.x=random() > 0.5", "not a function of one row"),
        ("fliter.x=1", "is no change of filter"),
        ("filter.target_wer=two", "target_wer"),
    ],
)
def test_what_if_refuses_what_the_filter_would_refuse(built: Path, change: str, said: str) -> None:
    done = silver("what-if", str(built), change)
    assert (done.returncode, said in done.stderr or "number" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_diff_says_what_left_since_the_last_change(moved: Path) -> None:
    table = answer("diff", str(moved))
    changes = {row["change"]: row for row in table if row["table"] == "changes"}
    assert changes["left"]["after"] == "duration"
    left = answer("sql", str(moved), "select count(*) n from filter where drop_reason = 'duration' and duration > 9")[0]["n"]
    assert changes["left"]["rows"] == left > 0
    assert set(changes) <= {"left", "other reason", "same"}
    total = answer("sql", str(moved), "select count(*) n from filter")[0]["n"]
    assert sum(row["rows"] for row in table if row["table"] == "changes") == total
    shown = [row for row in table if row["table"] == "examples" and row["change"] == "left"]
    assert shown
    assert shown[0]["text_before"] == shown[0]["text_after"]


def test_diff_of_two_releases_and_of_another_labeller(built: Path, moved: Path, tmp_path: Path) -> None:
    table = {
        row["change"]: row for row in answer("diff", str(moved / "releases/v1"), str(moved / "releases/v2")) if row["table"] == "changes"
    }
    kept = [answer("sql", str(root), "select count(*) n from pack where drop_reason is null")[0]["n"] for root in (built, moved)]
    assert (table["same"]["rows"], table["only in A"]["rows"]) == (kept[1], kept[0] - kept[1])
    folders = [f"{moved}/manifests/filter/{path.name}" for path in (moved / "manifests/filter").iterdir()]
    assert {row["change"] for row in answer("diff", *folders) if row["table"] == "changes"} & {"left", "came back"}
    for wrong in (str(tmp_path), str(built / "releases/v9"), f"{built}/manifests/filter/none"):
        done = silver("diff", wrong, str(built))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert wrong.rpartition("/")[2] in done.stderr


def test_hist_and_funnel_by_account_for_every_row(moved: Path) -> None:
    rows = answer("sql", str(moved), "select count(*) n, count(*) filter (drop_reason is null) live from segments")[0]
    for column in ("confidence", "drop_reason", "language", "hallucination"):
        bins = answer("hist", str(moved), column)
        assert sum(row["rows"] for row in bins) == rows["n"]
        assert sum(row["rows"] * row["kept"] for row in bins) == pytest.approx(rows["live"], abs=0.1)
    sliced = answer("funnel", str(moved), "--by", "channel")
    assert sum(row["rows"] for row in sliced if row["reason"] == "kept") == rows["live"]
    assert "did you mean 'confidence'" in silver("hist", str(moved), "confidense").stderr
    assert "did you mean 'channel'" in silver("funnel", str(moved), "--by", "chanel").stderr


def test_a_damaged_corpus_names_the_file_and_shows_the_rest(moved: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(moved, root)
    whole = answer("sql", str(root), "select count(*) n from filter")[0]["n"]
    current = {entry["stage"]: entry["fingerprint"] for entry in json.loads((root / "manifests/current.json").read_text())["stages"]}
    first, second, *_ = sorted((root / "manifests/filter" / current["filter"]).glob("part-*"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:5000])
    done = silver("sql", str(root), "select count(*) n from filter", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)[0]["n"] < whole
    assert f"{first} is missing" in done.stderr
    assert f"{second} is no Parquet file" in done.stderr
    (root / "manifests/score" / current["score"] / "_SUCCESS").write_text('{"inputs": "abc", "par')
    status = silver("status", str(root))
    assert status.returncode == 0, status.stderr
    for path in (first, second, root / "manifests/score" / current["score"] / "_SUCCESS"):
        assert f"damaged: {path}" in status.stdout.replace("\n", "")
    assert not running(Corpus(str(root)))
    for command in (("funnel",), ("rows",), ("errors",), ("hist", "confidence"), ("what-if", "filter.rules.duration=null")):
        done = silver(command[0], str(root), *command[1:])
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_part_cut_off_in_the_middle_is_gone_without_wherever_parts_are_named(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(moved, root)
    monkeypatch.setattr("manifests.trace.FEW", 1)
    corpus = Corpus(str(root))
    lost = corpus.query("SELECT segment_id FROM filter ORDER BY segment_id")[-1]["segment_id"]
    live = {manifest.stage: manifest for manifest in corpus.manifests}["pack"]
    path = next(ref.path for ref in live.listed if lost in {row["segment_id"] for row in read_rows(corpus.store, ref)})
    (root / path).write_bytes((root / path).read_bytes()[:3000])
    for damaged in (Corpus(str(root)), Corpus(str(root))):
        rows = sample_rows(damaged, "segments", ["segment_id"], "true", 1000)
        assert len(rows) > 0
        assert lost not in {row["segment_id"] for row in rows}
        entries = trace(damaged, lost)
        assert {entry["stage"] for entry in entries} >= {"decode", "segment", "filter"}
        assert any(path in note and "is no Parquet file" in note for note in damaged.notes)
    first = Corpus(str(root))
    assert {entry["stage"] for entry in trace(first, lost)} >= {"decode", "segment", "filter"}, "a query that names the part itself"
    filters = [Manifest(first.store, "filter", name) for name in first.store.names("manifests/filter")]
    changed = next(ref for ref in filters[0].listed if ref.digest not in {other.digest for other in filters[1].listed})
    (root / changed.path).write_bytes(b"PAR1 cut off")
    done = silver("diff", str(root))
    assert (done.returncode, "Traceback" in done.stderr, changed.path.rpartition("/")[2] in done.stderr) == (1, False, True), done.stderr


def test_a_rule_that_begins_and_ends_with_a_quote_keeps_them(built: Path) -> None:
    rows = {
        row["rows"]: row
        for row in answer("what-if", str(built), "filter.rules.mine='en' = language or language = 'xx'")
        if row["slice"] == "en"
    }
    assert rows["kept then"]["segments"] == rows["kept now"]["segments"] > 0


def test_the_report_is_one_file_with_sound_and_hostile_text_is_only_data(moved: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = silver("report", str(moved), "--out", str(out), "--clips", "3")
    assert done.returncode == 0, done.stderr
    page = out.read_text(encoding="utf-8")
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", page)
    assert page.count("<script") == page.count("</script>") == 2
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    groups = [reason for clip in data["clips"] for reason in clip["reasons"]]
    assert groups.count("kept") == 3
    assert "duration" in groups
    heard = [clip for clip in data["clips"] if clip["audio"]]
    assert all(clip["audio"].startswith("data:audio/mpeg;base64,") and max(clip["peaks"]) == 100 for clip in heard)
    assert all(0 <= start <= end <= clip["duration"] + 0.5 for clip in heard for _, start, end, _ in clip["words"] if start is not None)
    line = next(signal for signal in data["signals"] if signal["name"] == "duration")
    assert {threshold["value"] for threshold in line["thresholds"]} == {1.0, 9.0}
    rows = answer("sql", str(moved), "select count(*) n from filter where drop_stage = 'filter' or drop_reason is null")[0]["n"]
    assert sum(sum(counts[verdict]) for counts in line["series"].values() for verdict in ("kept", "dropped")) == rows


def test_diff_of_two_recipes_is_what_their_manifests_differ_in(built: Path, moved: Path) -> None:
    (before,) = built.glob("runs/*/recipe.yaml")
    (after,) = (path for path in moved.glob("runs/*/recipe.yaml") if MOVED_RULE in path.read_text())
    table = {row["change"]: row for row in answer("diff", str(before), str(after), "--stage", "filter") if row["table"] == "changes"}
    left = answer("sql", str(moved), "select count(*) n from filter where drop_reason = 'duration' and duration > 9")[0]["n"]
    assert (table["left"]["rows"], table["left"]["after"]) == (left, "duration")
    unbuilt = built.parent / "unbuilt.yaml"
    unbuilt.write_text(after.read_text().replace(MOVED_RULE, "duration between 2 and 9"))
    done = silver("diff", str(before), str(unbuilt), "--stage", "filter")
    assert (done.returncode, "has not been run to the end of filter" in done.stderr) == (1, True), done.stderr
    assert f"silver run {unbuilt}" in done.stderr


def test_errors_name_a_part_that_failed_in_the_last_run(built: Path, tmp_path: Path, speech_folder: Path, base_model: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    lost = Corpus(str(root)).query("SELECT DISTINCT audio_path FROM segments WHERE drop_reason IS NULL ORDER BY ALL")[0]["audio_path"]
    for stage in ("resegment", "normalise", "score", "perplexity", "confidence", "filter", "pack"):
        shutil.rmtree(root / "manifests" / stage, ignore_errors=True)
    (root / lost).unlink()
    done = silver("--executor", "inline", "run", *build_arguments(root, speech_folder, base_model))
    assert done.returncode == 1, done.stdout
    failed = [row for row in answer("errors", str(root)) if lost in row["example"]]
    assert failed, answer("errors", str(root))
    assert failed[0]["stage"] == "score"
