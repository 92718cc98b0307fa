"""The form that word error rates are counted in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.normalise.scoring import scoring_form, scoring_words
from tests.stages.test_normalise import TEXTS
from workflows.demo.speech import prompts

ENGLISH_WORDS = re.findall(
    r"\S+",
    "one oh two twenty hundred thousand million dollars cents point half and a percent mr. won't it's ain't gonna uh double o triple 5 1,000 "
    "$3.50 20th first seconds centre 's (laughs) [x] £3 naïve .5 -5 00 prof it'd let's 1990s ... .",
)
ENGLISH = st.lists(st.sampled_from(ENGLISH_WORDS), max_size=8).map(" ".join)
LANGUAGES = ["en", "en-GB", "fr", "de", "tr", "th", "zh", "ja", "ar", "hi", "el", None]


@pytest.mark.parametrize(
    ("text", "language", "form"),
    [
        ("The Colour isn't grey; it's twenty-one per cent.", "en", "the color is not gray it is 21%"),  # published: openai/whisper, tests
        ("he's like", "en", "he is like"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "en", "mister park visited associate professor kim junior"),
        ("five hundred and sixty two", "en", "562"),
        ("Aujourd’hui, à 8 h !", "fr", "aujourd hui à 8 h"),
        ("[Musik] Straße", "de", "straße"),
        ("IĞDIR", "tr", "ığdır"),
        ("नमस्ते दुनिया।", "hi", "नमस्ते दुनिया"),
        ("สวัสดี ครับ", "th", "ส วั ส ดี ค รั บ"),
        ("今日は、晴れ。", "ja", "今 日 は 晴 れ"),
        ("e\u0301te\u0301", "fr", "été"),
        ("🎉 ...", "en", ""),
        ("🎉 ...", "fr", ""),
        ("", None, ""),
    ],
)
def test_the_scoring_form(text: str, language: str | None, form: str) -> None:
    assert scoring_form(text, language) == form


@given(st.one_of(TEXTS, ENGLISH), st.sampled_from(LANGUAGES))
@settings(max_examples=400, deadline=None)
def test_applied_twice_it_changes_nothing(text: str, language: str | None) -> None:
    once = scoring_form(text, language)
    assert scoring_form(once, language) == once
    assert once == " ".join(once.split())


@given(TEXTS, st.sampled_from(LANGUAGES))
@settings(max_examples=200, deadline=None)
def test_case_and_punctuation_do_not_count(text: str, language: str | None) -> None:
    assert scoring_form(text + " !", language) == scoring_form(text, language) == scoring_form(f" {text}", language)


@given(st.one_of(TEXTS, ENGLISH), st.sampled_from(LANGUAGES))
@settings(max_examples=200, deadline=None)
def test_a_label_and_its_transcript_are_brought_to_the_same_words(text: str, language: str | None) -> None:
    from stages.normalise import normalise

    assert scoring_words(normalise(text, language), language) == scoring_words(text, language)


def test_real_transcripts_keep_their_words() -> None:
    for prompt in prompts("es"):
        assert len(scoring_words(prompt.text, "es")) >= len(prompt.text.split()) - 1
        assert scoring_words(prompt.text.upper(), "es", fold_accents=True) == scoring_words(prompt.text, "es", fold_accents=True)


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "one " * 20_000, "9" * 50_000, "$1 " * 10_000, "(" * 50_000, "a." * 20_000, "decillion " * 5_000]
)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_hostile_text_is_read_to_the_end(text: str, language: str) -> None:
    assert isinstance(scoring_form(text, language), str)
