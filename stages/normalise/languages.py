"""What the normaliser knows of a language beyond its letters: the decimal mark, and how signs beside a number are read aloud.

A language that is not here, or that `numbers.cardinal` cannot count in, keeps its digits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """`mark` separates the decimals in writing; `point` is its name; `percent` stands behind the number, or in front of it."""

    mark: str
    point: str
    percent: str = ""
    percent_first: bool = False
    ampersand: str = ""


LANGUAGES = {
    "ar": Language(".", "فاصلة", "بالمئة", ampersand="و"),
    "az": Language(",", "vergül", "faiz", ampersand="və"),
    "be": Language(",", "коска", "працэнтаў", ampersand="і"),
    "bn": Language(".", "দশমিক", "শতাংশ", ampersand="এবং"),
    "ca": Language(",", "coma", "per cent", ampersand="i"),
    "cs": Language(",", "celá", "procent", ampersand="a"),
    "cy": Language(".", "pwynt", "y cant", ampersand="a"),
    "da": Language(",", "komma", "procent", ampersand="og"),
    "de": Language(",", "Komma", "Prozent", ampersand="und"),
    "el": Language(",", "κόμμα", "τοις εκατό", ampersand="και"),
    "en": Language(".", "point", "percent", ampersand="and"),
    "eo": Language(",", "komo", "elcento", ampersand="kaj"),
    "es": Language(",", "coma", "por ciento", ampersand="y"),
    "fa": Language(".", "ممیز", "درصد", ampersand="و"),
    "fi": Language(",", "pilkku", "prosenttia", ampersand="ja"),
    "fr": Language(",", "virgule", "pour cent", ampersand="et"),
    "he": Language(".", "נקודה", "אחוז"),
    "hu": Language(",", "egész", "százalék", ampersand="és"),
    "id": Language(",", "koma", "persen", ampersand="dan"),
    "is": Language(",", "komma", "prósent", ampersand="og"),
    "it": Language(",", "virgola", "per cento", ampersand="e"),
    "ja": Language(".", "点", "パーセント"),
    "kk": Language(",", "бүтін", "пайыз", ampersand="және"),
    "kn": Language(".", "ಬಿಂದು", "ಶೇಕಡಾ", percent_first=True),
    "ko": Language(".", "점", "퍼센트"),
    "lt": Language(",", "kablelis", "procentų", ampersand="ir"),
    "lv": Language(",", "komats", "procenti", ampersand="un"),
    "nl": Language(",", "komma", "procent", ampersand="en"),
    "no": Language(",", "komma", "prosent", ampersand="og"),
    "pl": Language(",", "przecinek", "procent", ampersand="i"),
    "pt": Language(",", "vírgula", "por cento", ampersand="e"),
    "ro": Language(",", "virgulă", "la sută", ampersand="și"),
    "ru": Language(",", "запятая", "процентов", ampersand="и"),
    "sk": Language(",", "celá", "percent", ampersand="a"),
    "sl": Language(",", "celih", "odstotkov", ampersand="in"),
    "sr": Language(",", "zapeta", "posto", ampersand="i"),
    "sv": Language(",", "komma", "procent", ampersand="och"),
    "te": Language(".", "పాయింట్", "శాతం"),
    "tg": Language(",", "нуқта", "фоиз"),
    "th": Language(".", "จุด", "เปอร์เซ็นต์"),
    "tr": Language(",", "virgül", "yüzde", percent_first=True, ampersand="ve"),
    "uk": Language(",", "кома", "відсотків", ampersand="і"),
    "vi": Language(",", "phẩy", "phần trăm", ampersand="và"),
    "zh": Language(".", "点", "百分之", percent_first=True),
}

POINT_REGIONS = {"es-MX", "es-US", "es-GT", "es-SV", "es-HN", "es-NI", "es-PA", "es-PR", "es-DO", "de-CH", "de-LI", "it-CH"}
"""Regions that write a decimal point where their language writes a comma (CLDR)."""

UNSPACED = {"zh", "yue", "ja", "th", "lo", "km", "my", "bo"}
"""Written without spaces between words: what replaces a number gets none either."""

CURRENCIES = {
    "R$": "BRL",
    "US$": "USD",
    "€": "EUR",
    "$": "USD",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₽": "RUB",
    "₴": "UAH",
    "₩": "KRW",
    "₫": "VND",
    "฿": "THB",
    "₺": "TRY",
}

# Where num2words declines the name with the number it is asked; these languages do not decline it.
CURRENCY_NAMES = {
    "ar": {"EUR": "يورو", "USD": "دولار", "GBP": "جنيه"},
    "da": {"EUR": "euro", "USD": "dollar", "GBP": "pund"},
    "el": {"EUR": "ευρώ", "USD": "δολάρια", "GBP": "λίρες"},
    "fa": {"EUR": "یورو", "USD": "دلار", "GBP": "پوند"},
    "hu": {"EUR": "euró", "USD": "dollár", "GBP": "font"},
    "id": {"EUR": "euro", "USD": "dolar", "GBP": "pound"},
    "ja": {"EUR": "ユーロ", "USD": "ドル", "GBP": "ポンド", "JPY": "円"},
    "ko": {"EUR": "유로", "USD": "달러", "GBP": "파운드", "KRW": "원", "JPY": "엔"},
    "no": {"EUR": "euro", "USD": "dollar", "GBP": "pund"},
    "pt-BR": {"BRL": "reais", "EUR": "euros", "USD": "dólares", "GBP": "libras"},
    "sv": {"EUR": "euro", "USD": "dollar", "GBP": "pund"},
    "th": {"EUR": "ยูโร", "USD": "ดอลลาร์", "GBP": "ปอนด์", "THB": "บาท"},
    "tr": {"EUR": "avro", "USD": "dolar", "GBP": "sterlin", "TRY": "lira"},
    "vi": {"EUR": "euro", "USD": "đô la", "GBP": "bảng", "VND": "đồng"},
    "zh": {"EUR": "欧元", "USD": "美元", "GBP": "英镑", "JPY": "日元"},
}

MAGNITUDES = {
    "en": "thousand|million|billion|trillion",
    "de": "Tausend|Millionen?|Milliarden?|Billionen?",
    "es": "mil|mill[oó]n|millones|bill[oó]n|billones",
    "fr": "mille|millions?|milliards?|billions?",
    "it": "mila|milioni?|milione|miliard[oi]",
    "nl": "duizend|miljoen|miljard|biljoen",
    "pt": "mil|milh[aãõ]o|milhões|bilh[aã]o|bilhões",
}
"""Written between the figure and the currency when both are read: "$5 million" is "five million dollars"."""

ORDINALS = {
    "en": "st|nd|rd|th",
    "fr": "ers?|ères?|re|nde?|e|ème|eme|è",
    "es": "o|a|er|ero|ra|do|da|to|ta",
    "it": "o|a",
    "pt": "o|a",
    "ca": "r|n|t|è",
    "nl": "e|de|ste",
}
"""Endings written straight behind a figure (º and ª are o and a after NFKC)."""


def split(tag: str | None) -> tuple[str, str]:
    """Language and region of a BCP 47 tag, in its usual case.

    >>> split("pt_br"), split("zh-Hans-CN"), split("EN"), split(None)
    (('pt', 'BR'), ('zh', 'CN'), ('en', ''), ('', ''))
    """
    subtags = (tag or "").replace("_", "-").split("-")
    base = subtags[0].lower()
    region = next((s.upper() for s in subtags[1:] if len(s) == 2 and s.isalpha()), "")
    return {"nb": "no", "nn": "no", "cmn": "zh", "iw": "he", "in": "id", "fil": "tl"}.get(base, base), region
