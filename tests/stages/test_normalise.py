"""What was written, as it was said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.part import to_table
from manifests.schema import ROW, extend
from pipeline.contract import PartContext
from stages.normalise import Normalise
from stages.normalise.text import normalise, punctuated, spoken


@pytest.mark.parametrize(
    ("text", "language", "verbatim"),
    [
        ("It's 25% — [Music] Mr. O’Neil-Smith!", "en", "it's twenty five percent mr o'neil-smith"),
        ("I paid $3.50 for 1,200 things.", "en", "i paid three dollars fifty cents for one thousand two hundred things"),
        ("the 3rd of 21", "en-GB", "the third of twenty one"),
        ("call 0049 now", "en", "call zero zero four nine now"),
        ("1.250,5 Euro", "de", "eintausendzweihundertfünfzig komma fünf euro"),
        ("J'ai 71 ans. L'été…", "fr", "j'ai soixante et onze ans l'été"),
        ("¿Qué? ¡100!", "es", "qué cien"),
        ("IĞDIR İzmir", "tr", "ığdır izmir"),
        ("สวัสดีครับ", "th", "สวัสดีครับ"),
        ("مَرْحَبًا بِكُمْ!", "ar", "مَرْحَبًا بِكُمْ"),
        ("你好，世界。", "zh", "你好 世界"),
        ("Καλημέρα σας", "el", "καλημέρα σας"),
        ("v1.2.3", "en", "v one two three"),
        ("half 5", None, "half 5"),
        ("♪ la la ♪ (laughs) *coughs*", "en", ""),
        (
            "12345678901234567890",
            "en",
            "one two three four five six seven eight nine zero one two three four five six seven eight nine zero",
        ),
    ],
)
def test_the_verbatim_form(text: str, language: str | None, verbatim: str) -> None:
    assert normalise(text, language) == verbatim


@given(st.text(max_size=60), st.sampled_from(["en", "fr", "de", "tr", "th", "el", None]))
@settings(max_examples=300, deadline=None)
def test_applied_twice_it_changes_nothing(text: str, language: str | None) -> None:
    once = normalise(text, language)
    assert normalise(once, language) == once
    assert punctuated(punctuated(text)) == punctuated(text)


def test_a_word_may_be_spoken_as_several_or_not_at_all() -> None:
    assert spoken("42,", "fr") == "quarante deux"
    assert spoken("—", "en") == ""


def test_tiers_and_the_reason_of_an_empty_one() -> None:
    schema = extend(ROW, Normalise.adds)
    rows = [{"text_raw": "Hello,  World 2.", "language": "en"}, {"text_raw": "[Applause]", "language": "en"}]
    done = [children[0] for children in Normalise(Normalise.Params()).apply(rows, PartContext(store=None))]  # type: ignore[arg-type]
    assert (done[0]["text"], done[0]["text_pnc"], done[0]["text_raw"]) == ("hello world two", "Hello, World 2.", "Hello,  World 2.")
    assert (done[1]["drop_reason"], done[1]["drop_detail"]) == ("empty_text", "nothing spoken in '[Applause]'")
    to_table([{key: value for key, value in row.items() if key != "text_raw"} for row in done], schema)
