"""What the funnel says of the rules of a filter, and of rules that are not worth having."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.corpus import CURRENT, Corpus, Manifest
from manifests.funnel import FUNNEL_COLUMNS, funnel, rule_remarks
from manifests.part import Counts, to_table, write_part
from manifests.schema import ROW, Row
from manifests.store import Store
from pipeline.contract import PartContext
from stages.filter import Filter

RULES = {"long": "duration >= 2", "english": "language = 'en'", "titled": "title IS NOT NULL", "sane": "duration < 10000"}


def a_corpus(root: Path, rows: list[Row], rules: dict[str, str], name: str = "filter") -> Corpus:
    """A corpus of one filter over two parts."""
    store = Store(str(root))
    stage = Filter(Filter.Params(rules=dict.fromkeys(Filter.Params().rules) | rules))  # type: ignore[arg-type]
    manifest = Manifest(store, name, "feed")
    manifest.write_info({"parameters": {"rules": rules}})
    parts = []
    for number, part in enumerate((rows[::2], rows[1::2])):
        done = [row for (row,) in stage.apply(part, PartContext(store=store, schema=ROW))]
        done = [row | {"drop_stage": name} if row.get("drop_reason") else row for row in done]
        parts.append(write_part(store, manifest.folder, f"{number}", to_table(done, ROW), Counts.of(done, Counts.of(part))))
    manifest.finish(parts, "")
    store.write(CURRENT, b'{"stages": [{"stage": "%s", "fingerprint": "feed"}]}' % name.encode())
    return Corpus(str(root))


ROWS: list[Row] = [
    *[{"duration": 3600.0, "language": "en", "title": "t"}] * 3,
    *[{"duration": 1.8, "language": "en", "title": "t"}] * 10,  # long
    *[{"duration": 1.8, "language": "nl", "title": "t"}] * 4,  # long, english
    *[{"duration": 360.0, "language": "nl", "title": "t"}] * 2,  # english
    {"duration": 1.8, "language": "nl", "title": None},  # long, english, titled
]


def test_each_rule_has_its_drops_and_those_that_only_it_makes(tmp_path: Path) -> None:
    stage, *reasons = funnel(a_corpus(tmp_path, ROWS, RULES))
    assert {reason["reason"]: (reason["dropped"], reason["dropped_only"]) for reason in reasons} == {
        "long": (15, 10),
        "english": (7, 2),
        "titled": (1, 0),
    }
    assert [reason["reason"] for reason in reasons] == ["long", "english", "titled"]
    assert (stage["rows_in"], stage["dropped"], stage["kept"], stage["dropped_only"]) == (20, 17, 3, 12)
    assert stage["dropped_only"] == sum(reason["dropped_only"] for reason in reasons)
    hours = {reason["reason"]: (reason["hours_dropped"], reason["hours_only"]) for reason in [*reasons, stage]}
    assert hours["long"] == pytest.approx((15 * 1.8 / 3600, 10 * 1.8 / 3600), abs=1e-4)
    assert hours["english"] == pytest.approx((0.2 + 5 * 1.8 / 3600, 0.2), abs=1e-4)
    assert hours["titled"] == pytest.approx((1.8 / 3600, 0.0), abs=1e-4)
    assert hours[None] == pytest.approx((0.2 + 15 * 1.8 / 3600, 0.2 + 10 * 1.8 / 3600), abs=1e-4)
    assert stage["hours_in"] == pytest.approx(stage["hours_kept"] + stage["hours_dropped"], abs=1e-4)
    assert all(list(row) == [name for name, _ in FUNNEL_COLUMNS] for row in (stage, *reasons))


def test_it_can_be_asked_in_sql(tmp_path: Path) -> None:
    connection = a_corpus(tmp_path, ROWS, RULES).connection
    assert connection.execute("SELECT reason FROM funnel WHERE dropped_only = 0 AND reason IS NOT NULL").fetchall() == [("titled",)]


def test_rules_that_hit_nothing_or_nearly_everything_are_named(tmp_path: Path) -> None:
    none, most = rule_remarks(a_corpus(tmp_path / "a", ROWS, RULES | {"never": "duration < 0", "twice": "duration < 0 AND true"}, "tidy"))
    assert none == "tidy rules that hit nothing: sane"
    assert most == "tidy rules that hit nearly everything: never (20 of 20), twice (20 of 20)"
    assert rule_remarks(a_corpus(tmp_path / "b", ROWS, {"long": RULES["long"]})) == []
    assert rule_remarks(a_corpus(tmp_path / "c", [], RULES)) == [], "no row, no verdict on rules"
