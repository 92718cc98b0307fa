"""The language of each recording, heard by the real Whisper base on real English and French."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.schema import Row
from pipeline.contract import PartContext, SilverError
from stages import whisper
from stages.identify import Identify
from tests.models import tiny_en_model
from tests.windows import context, spoken, store_windows


@pytest.fixture(scope="module")
def part(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PartContext, list[Row]]:
    """Two English recordings and a French one, each expected to be English."""
    root = tmp_path_factory.mktemp("corpus")
    rows = store_windows(root, [window.samples for window in spoken("en", 4, 6)], "en-US")
    rows += store_windows(root, [window.samples for window in spoken("en", 1, 8, skip=40)], "en")
    rows += store_windows(root, [window.samples for window in spoken("fr", 2, 6)], "en")
    return context(root), rows


def identify(part: tuple[PartContext, list[Row]], *, language: Any = ..., **params: Any) -> list[Row]:
    shared, rows = part
    stage = Identify(Identify.Params(model="base", **params))
    stage.setup(shared)
    rows = [row | ({} if language is ... else {"language": language}) for row in rows]
    return [row for children in stage.apply(rows, shared) for row in children]


def test_a_recording_in_another_language_goes_and_says_why(part: tuple[PartContext, list[Row]]) -> None:
    rows = identify(part)
    assert [row["audio_language"] for row in rows] == ["en"] * 5 + ["fr"] * 2
    assert [row["drop_reason"] for row in rows] == [None] * 5 + ["audio_language"] * 2
    assert rows[-1]["drop_detail"].startswith("heard fr 0.9")
    assert rows[-1]["drop_detail"].endswith("expected en 0.00")
    assert len({row["audio_language_probability"] for row in rows}) == 3  # one verdict a recording
    assert all(row["audio_language_probability"] > 0.8 for row in rows)


def test_no_expectation_drops_nothing(part: tuple[PartContext, list[Row]]) -> None:
    rows = identify(part, language=None)
    assert [row["drop_reason"] for row in rows] == [None] * 7
    assert rows[-1]["audio_language"] == "fr"


def test_codes_of_other_traditions(part: tuple[PartContext, list[Row]]) -> None:
    assert [row["drop_reason"] for row in identify(part, language="fr-CA")] == ["audio_language"] * 5 + [None] * 2
    rows = identify(part, language="tlh")  # Klingon: Whisper cannot say
    assert {row["drop_reason"] for row in rows} == {"language_unknown"}
    assert "tlh" in rows[0]["drop_detail"]
    codes = {"en": "en", "EN_us": "en", "zh-Hant-TW": "zh", "zh-yue": "yue", "nb-NO": "no", "jv": "jw", "iw": "he", " de ": "de"}
    assert {tag: whisper.language_code(tag) for tag in codes} == codes


def test_the_limit_is_of_the_expected_language(part: tuple[PartContext, list[Row]]) -> None:
    english = identify(part)[0]["audio_language_probability"]
    assert identify(part, minimum_probability=english - 0.001)[0]["drop_reason"] is None
    assert identify(part, minimum_probability=min(1.0, english + 0.001))[0]["drop_reason"] == "audio_language"


def test_windows_are_spread_and_the_longest_of_each_stretch(part: tuple[PartContext, list[Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    encode = whisper.encode
    monkeypatch.setattr(
        whisper, "encode", lambda shared, model, rows: heard.extend(row["start"] for row in rows) or encode(shared, model, rows)
    )
    shared, rows = part
    identify((shared, rows[:4]), windows=2)
    halves = [rows[:2], rows[2:4]]
    assert heard == [max(half, key=lambda row: row["end"] - row["start"])["start"] for half in halves]


def test_damaged_audio_costs_its_own_recording_only(part: tuple[PartContext, list[Row]]) -> None:
    shared, rows = part
    root = Path(shared.store.root)
    bad = store_windows(root, [np.zeros(16000, np.float32)], "en")
    path = root / bad[0]["audio_path"]
    path.write_bytes(path.read_bytes()[:20])
    fresh = context(root)
    result = identify((fresh, [*bad, rows[4]]))
    assert [row["drop_reason"] for row in result] == ["audio_unreadable", None]
    assert bad[0]["audio_path"] in result[0]["drop_detail"]
    assert fresh.errors == 1


def test_an_english_only_model_is_refused_before_any_work() -> None:
    tiny_en_model()
    with pytest.raises(SilverError, match=r"tiny\.en knows English only"):
        Identify(Identify.Params(model="tiny.en")).identity()
    assert not whisper.is_multilingual(tiny_en_model())


def test_what_is_no_whisper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    with pytest.raises(SilverError, match="no Whisper in CTranslate2's format"):
        Identify(Identify.Params(model=str(tmp_path))).identity()
