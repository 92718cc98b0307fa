"""Share of a text's letters that belong to the scripts its language is written in (Unicode Script_Extensions, UAX 24).

After GigaSpeech 2 (Yang et al. 2024), which drops a text with any character outside its language's list; a share lets a name stay.
"""

from __future__ import annotations

from functools import cache

import regex

from stages.normalise.languages import split

SCRIPTS = {
    "Arabic": "ar arz ary fa ps ur ug sd ckb",
    "Armenian": "hy",
    "Bengali": "as bn",
    "Cyrillic": "ab av ba be bg ce cv kk kv ky mk mn os ru rue sah tg tt tyv udm uk",
    "Cyrillic Latin": "sr bs sh uz",
    "Devanagari": "bh bho gom hi mai mr ne new sa",
    "Ethiopic": "am ti",
    "Georgian": "ka xmf",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Han": "zh yue wuu",
    "Han Hiragana Katakana": "ja",
    "Hangul Han": "ko",
    "Hebrew": "he yi",
    "Kannada": "kn",
    "Khmer": "km",
    "Lao": "lo",
    "Latin": "af an ast az br ca ceb co cs cy da de en eo es et eu fi fil fo fr fy ga gd gl gn gv ha haw hr ht hu ia id ie io is it jv kw la lb ln"
    " lt lv mg mi ms mt nds nl no oc om pl pt qu rm ro sc scn sco sk sl sn so sq su sv sw tk tl tr vec vi vo wa war yo zu",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Oriya": "or",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
    "Tibetan": "bo dz",
}
_BY_LANGUAGE = {language: scripts.split() for scripts, languages in SCRIPTS.items() for language in languages.split()}
_LETTER = regex.compile(r"\p{L}")


def charset(text: str, language: str | None) -> float | None:
    """0..1; None where the language's script is not known or the text has no letters.

    >>> charset("привет hello", "ru"), charset("tōkyō", "en"), charset("hello", None)
    (0.5454545454545454, 1.0, None)
    """
    base, _ = split(language)
    letters = len(_LETTER.findall(text))
    if base not in _BY_LANGUAGE or not letters:
        return None
    return len(_pattern(base).findall(text)) / letters


@cache
def _pattern(base: str) -> regex.Pattern[str]:
    scripts = "".join(rf"\p{{scx={script}}}" for script in [*_BY_LANGUAGE[base], "Common", "Inherited"])
    return regex.compile(rf"[\p{{L}}&&[{scripts}]]", regex.V1)
