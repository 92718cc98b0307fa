"""The engine with small stages, in the calling process: what lies on disk after a run, and what a second run does."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from manifests.corpus import Corpus
from manifests.funnel import funnel
from manifests.part import read_rows
from manifests.store import Store
from pipeline.contract import SilverError
from pipeline.executors import InlineExecutor, LazyExecutor
from pipeline.forecast import forecast
from pipeline.plan import outstanding, resolve, why
from pipeline.progress import Progress
from pipeline.recipe import load
from pipeline.run import Result, run
from tests.pipeline.toy import STAGES, find

RECIPE = """
root: {root}
lines: {{file: {file}}}
letters:
shout:
  mark: "!"
short: {{limit: 6}}
book:
"""


class Corner:
    """A recipe over a text file, and ways to run it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.file, self.recipe = folder / "root", folder / "lines.txt", folder / "recipe.yaml"
        self.file.write_text("one two\nempty\nbad three\nfour elephants\n")
        self.recipe.write_text(RECIPE.format(root=self.root, file=self.file))
        self.said = io.StringIO()

    def load(self, *overrides: str):
        return load(str(self.recipe), overrides, find, STAGES)

    def run(self, *overrides: str, **options: str) -> Result:
        self.said = io.StringIO()
        return run(self.load(*overrides), InlineExecutor(), Progress(Console(file=self.said)), **options)

    def rows(self, stage: str) -> list[dict]:
        corpus = Corpus(str(self.root))
        return [row for m in corpus.manifests if m.stage == stage for ref in m.parts() for row in read_rows(corpus.store, ref)]

    def bytes(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in sorted(self.root.rglob("part-*")) if p.is_file()}


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    return Corner(tmp_path)


def test_every_row_is_there_with_the_reason_it_left(corner: Corner) -> None:
    corner.run()
    rows = {row["title"]: row for row in corner.rows("book")}
    assert {title: (row["drop_stage"], row["drop_reason"]) for title, row in rows.items()} == {
        "one": (None, None), "two": (None, None), "three": (None, None), "four": (None, None),
        "empty": ("letters", "no_words"), "bad": ("shout", "unshoutable"), "elephants": ("short", "long"),
    }  # fmt: skip
    assert rows["elephants"]["drop_detail"] == "10 letters"
    assert rows["bad"]["shouted"] is None
    assert (corner.root / "book.txt").read_text() == "ONE!\nTWO!\nTHREE!\nFOUR!"


def test_the_funnel_adds_up_at_every_stage(corner: Corner) -> None:
    corner.run()
    table = funnel(Corpus(str(corner.root)))
    for row in table:
        if row["reason"] is None:
            assert row["rows_in"] + row["made"] == row["kept"] + row["dropped"], row
    assert [(row["stage"], row["reason"], row["dropped"]) for row in table if row["reason"]] == [
        ("letters", "no_words", 1), ("shout", "unshoutable", 1), ("short", "long", 1),
    ]  # fmt: skip


def test_a_second_run_has_nothing_to_do(corner: Corner) -> None:
    corner.run()
    before = corner.bytes()
    assert corner.run().made == {}
    assert corner.bytes() == before


def test_two_roots_hold_the_same_bytes(corner: Corner, tmp_path: Path) -> None:
    corner.run()
    first = corner.bytes()
    corner.root = tmp_path / "other"
    corner.run(f"root={corner.root}")
    assert corner.bytes() == first


def test_a_moved_threshold_reruns_that_stage_and_what_follows(corner: Corner) -> None:
    corner.run()
    assert corner.run("short.limit=20").made == {"short": 2, "book": 2}
    assert "ELEPHANTS!" in (corner.root / "book.txt").read_text()
    assert corner.run().made.get("short") is None, "the old manifest is still there"


def test_an_operational_parameter_reruns_nothing(corner: Corner) -> None:
    corner.run()
    assert corner.run("shout.batch=7").made == {}


def test_an_unchanged_output_stops_the_wave(corner: Corner) -> None:
    corner.run()
    made = corner.run("lines.language=it", "short.limit=6").made
    assert made["shout"] == 2  # the rows carry another language
    corner.run()
    # Another limit that drops the same rows: book's input parts are the same, so nothing of it is new but the release.
    assert corner.run("short.limit=7").made == {"short": 2, "book": 2}


def test_a_part_with_the_same_input_is_taken_over_from_an_older_manifest(corner: Corner) -> None:
    corner.run()
    shouted = STAGES["letters"].version
    STAGES["letters"].version = "2"  # a new version that gives the same rows
    try:
        assert corner.run().made == {"letters": 2, "book": 2}
    finally:
        STAGES["letters"].version = shouted


def test_new_lines_make_new_parts_only(corner: Corner) -> None:
    corner.run()
    corner.file.write_text(corner.file.read_text() + "five\n")
    assert corner.run().made == {"lines": 1, "letters": 1, "shout": 1, "short": 1, "book": 3}


def test_only_from_and_to_choose_stages(corner: Corner) -> None:
    assert set(corner.run(last="letters").made) == {"lines", "letters"}
    with pytest.raises(SilverError, match="short needs shout, which has not finished"):
        corner.run(only="short")
    assert set(corner.run(only="shout").made) == {"shout"}
    assert set(corner.run(first="short").made) == {"short", "book"}
    with pytest.raises(SilverError, match="no stage 'shrot'; it has lines"):
        corner.run(only="shrot")


def test_a_stage_that_breaks_fails_its_part_and_leaves_the_others(corner: Corner) -> None:
    corner.file.write_text("one\ntwo\nboom\nfour\nfive\nsix\n")
    with pytest.raises(SilverError, match=r"1 part\(s\) failed(.|\n)*shout on manifests/letters/.*RuntimeError: boom"):
        corner.run()
    assert [row["title"] for row in corner.rows("short")].count("five") == 1
    assert "Traceback" in next(corner.root.glob("runs/*/events.jsonl")).read_text()
    corner.file.write_text("one\ntwo\nfour\nfive\nsix\n")
    assert not (corner.root / "book.txt").exists()


def test_a_broken_stage_does_not_drop_the_corpus_quietly(corner: Corner) -> None:
    corner.file.write_text("\n".join(["bad " * 10, "x"]) + "\n")
    with pytest.raises(SilverError, match=r"10 of 11 rows failed in shout \(limit 20%\)"):
        corner.run()


def test_many_small_parts_of_errors_stop_the_run(corner: Corner) -> None:
    corner.file.write_text("".join(f"bad{n} ok{n}\nbad{n}b ok{n}b\n" for n in range(60)))
    with pytest.raises(SilverError, match="rows failed in shout so far"):
        corner.run()


def test_a_stage_that_loses_a_row_is_caught(corner: Corner) -> None:
    corner.recipe.write_text(corner.recipe.read_text().replace("short: {limit: 6}", "liar:"))
    with pytest.raises(SilverError, match="liar was given 3 rows and answered for 2"):
        corner.run()


def test_a_removed_part_is_made_again(corner: Corner) -> None:
    corner.run()
    before = corner.bytes()
    victim = next(path for path in before if "/shout/" in path)
    (corner.root / victim).unlink()
    assert corner.run().made == {"shout": 1}
    assert corner.bytes() == before


def test_a_lost_output_is_written_again(corner: Corner) -> None:
    corner.run()
    (corner.root / "book.txt").unlink()
    corner.run()
    assert (corner.root / "book.txt").exists()


def test_conservation_notices_a_tampered_record(corner: Corner) -> None:
    corner.run()
    success = next(corner.root.glob("manifests/shout/*/_SUCCESS"))
    record = json.loads(success.read_text())
    record["parts"][0]["counts"]["rows"] -= 1
    success.write_text(json.dumps(record))
    with pytest.raises(SilverError, match="rows"):
        corner.run()


def test_two_runs_at_once(corner: Corner) -> None:
    corner.run()
    store = Store(str(corner.root))
    from pipeline.lock import LOCK, RootLock

    with RootLock(store), pytest.raises(SilverError, match="is in use by process"):
        corner.run()
    corner.run()
    store.write(LOCK, json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "born": "1", "refreshed": 0}).encode())
    corner.run()  # expired
    assert not store.exists(LOCK)


def test_what_a_killed_process_left_is_swept(corner: Corner) -> None:
    corner.run()
    (corner.root / "tmp").mkdir()
    (corner.root / "tmp" / "half.parquet").write_bytes(b"half")
    corner.run()
    assert not (corner.root / "tmp").exists()


def test_why_names_what_changed(corner: Corner) -> None:
    corner.run()
    nodes = resolve(corner.load("short.limit=9"), Store(str(corner.root)))
    assert [why(node) for node in nodes[3:]] == ["short.limit: 6 -> 9", "a stage before it changed"]
    todo, _ = outstanding(nodes[1:4], nodes[0].manifest.listed)
    assert [item.start for item in todo] == [2, 2]


def test_progress_speaks_plainly_without_a_terminal(corner: Corner) -> None:
    corner.run()
    assert "shout: 2/2 parts, 4 rows, 1 dropped" in corner.said.getvalue().replace("5 rows", "4 rows")


def test_a_stage_runs_twice_under_two_names(corner: Corner) -> None:
    corner.recipe.write_text(
        RECIPE.format(root=corner.root, file=corner.file).replace("short:", "again: {stage: shout, mark: '?'}\nshort:")
    )
    corner.run()
    assert [row["shouted"] for row in corner.rows("again") if row["segment_id"] and not row["drop_reason"]] == [
        "ONE?",
        "TWO?",
        "THREE?",
        "FOUR?",
        "ELEPHANTS?",
    ]
    assert {row["drop_stage"] for row in corner.rows("again") if row["drop_reason"]} == {"letters", "shout"}
    assert [line["stage"] for line in funnel(Corpus(str(corner.root))) if line["reason"] is None] == [
        "lines",
        "letters",
        "shout",
        "again",
        "short",
        "book",
    ]
    assert corner.run("again.mark=.").made == {"again": 2, "short": 2, "book": 2}, "the first instance is left alone"


def test_a_stage_that_must_see_the_whole_manifest_sees_it_before_its_first_part(corner: Corner) -> None:
    corner.recipe.write_text(RECIPE.format(root=corner.root, file=corner.file).replace("short: {limit: 6}", "longest:"))
    corner.run()
    live = [row["shouted"] for row in corner.rows("longest") if not row["drop_reason"]]
    assert live == ["ELEPHANTS!"]
    assert corner.run().made == {}
    assert {line["state"] for line in forecast(resolve(corner.load(), Store(str(corner.root))), Store(str(corner.root)))} == {"up to date"}
    corner.file.write_text(corner.file.read_text() + "hippopotamus\n")
    assert corner.run().made["longest"] == 3, "a new longest word makes all parts of this stage again"
    assert [row["shouted"] for row in corner.rows("longest") if not row["drop_reason"]] == ["HIPPOPOTAMUS!"]
    longest = next(manifest for manifest in Corpus(str(corner.root)).manifests if manifest.stage == "longest")
    assert longest.info()["surveyed"] == len("HIPPOPOTAMUS!"), "what was found is on record"


def test_a_survey_of_a_stage_without_model_starts_no_cluster() -> None:
    executor = LazyExecutor()
    assert list(executor.map(len, ["a", "bb", "ccc", ""], light=True)) == [1, 2, 3, 0]
    assert not executor.ray.connected
