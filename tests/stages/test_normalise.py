"""What was written, as it was said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.part import to_table
from manifests.schema import ROW, extend
from pipeline.contract import PartContext
from stages.normalise import Normalise
from stages.normalise.languages import LANGUAGES
from stages.normalise.numbers import can_count
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
        (
            "In 1998, 1200 people; the 1990s and '80s",
            "en",
            "in nineteen ninety eight twelve hundred people the nineteen nineties and eighties",
        ),
        ("$5 million, £3 and US$2.05", "en", "five million dollars three pounds and two dollars five cents"),
        ("10-12 mp3 at 10:05, 007", "en", "ten twelve mp three at ten zero five zero zero seven"),
        ("3,5 % von 10 000 €", "de", "drei komma fünf prozent von zehntausend euro"),
        ("am 3.5.2020", "de", "am drei fünf zweitausendzwanzig"),
        ("1'000 und 3.5", "de-CH", "eintausend und drei komma fünf"),
        ("le 1er, la 1ère, 5 millions €", "fr", "le premier la première cinq millions d'euros"),
        ("la 1ª, el 1er, 3,5", "es", "la primera el primer tres coma cinco"),
        ("3.5", "es-MX", "tres punto cinco"),
        ("R$ 20,50", "pt-BR", "vinte reais cinquenta"),
        ("3,5", "it", "tre virgola cinque"),
        ("yüzde: %25", "tr", "yüzde yüzde yirmibeş"),
        ("у нас 3,5%", "ru", "у нас три запятая пять процентов"),
        ("٢٥ و٣٫٥", "ar", "خمسة و عشرون و ثلاثة فاصلة خمسة"),
        ("我有3个，10万，25%", "zh-Hans-CN", "我有三个 十万 百分之二十五"),
        ("10050007", "zh", "一千零五万零七"),
        ("3名、25%", "ja", "三名 二十五パーセント"),
        ("1,25,000", "en-IN", "one lakh twenty five thousand"),
        ("999999999999", "am", "999999999999"),
        ("3.5% of 1,000", "xx", "3.5 of 1,000"),
        ("так, п’ять", "uk", "так п'ять"),
        ("co\u00adop na\u0308ıve \u200bword", "en", "coop näıve word"),
        ("I ❤️ it 1️⃣", "en", "i it one"),
        ("❤️", "en", ""),
        ("می\u200cخواهم", "fa", "میخواهم"),
        ("नमस्ते", "hi", "नमस्ते"),
        ("צה״ל", "he", "צהל"),
        ("Ինչո՞ւ", "hy", "ինչու"),
        ("col·lecció l'home", "ca", "col·lecció l'home"),
        ("'t is '90 dogs' --well-", "nl", "t is negentig dogs well"),
        ("R & B, R&B", "en", "r and b r b"),
        ("<i>Hi</i> [a [b] c] there", "en", "hi there"),
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


TEXTS = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from(list("0123456789.,$€%'-’·:/&[]()* IİıΣς½²ﬁ٣๓\u200d\ufe0fª千"))
    ),
    max_size=40,
)


@given(TEXTS, st.sampled_from(["en", "fr", "de", "pt-BR", "tr", "th", "zh", "ar", "el", None]))
@settings(max_examples=300, deadline=None)
def test_applied_twice_it_changes_nothing(text: str, language: str | None) -> None:
    once = normalise(text, language)
    assert normalise(once, language) == once
    assert punctuated(punctuated(text)) == punctuated(text)


@pytest.mark.parametrize("text", ["[" * 50_000, "1,000" * 10_000, "9" * 50_000, "$1 " * 10_000, "*a" * 25_000, "<a" * 25_000])
def test_a_hostile_text_is_read_to_the_end(text: str) -> None:
    assert isinstance(normalise(text, "en"), str)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_of_the_table_reads_its_numbers(language: str) -> None:
    mark = LANGUAGES[language].mark
    read = normalise(f"12 1{mark}5 30% 123456789 1999 €5 {'9' * 30}", language)
    assert not any(character.isdigit() for character in read) if can_count(language) else "12" in read
    assert normalise(read, language) == read


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
