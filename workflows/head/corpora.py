"""What the network learns from and is tested on: recorded speech with transcripts, and synthetic speech. All of it is fetched at run time.

The corpora that Silver's benchmarks use (`TEST`) are never trained on, and neither are their texts.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages.audio import SAMPLE_RATE, Samples
from workflows.demo.speech import cached, dialogues, prompts, read_samples, unpack
from workflows.head import voices

RECORDED = ("cs", "it", "ru")
"""Fish Fillets in Czech (two actors), Asterisk's prompts in Italian and Russian (one speaker each)."""

TEST = ("en", "es", "fr", "nl")
"""Asterisk's prompts in English, Spanish and French, Fish Fillets in Dutch: speakers that the network never heard."""

SYNTHETIC = {
    "synthetic-en-joe": ("en", "piper", 30), "synthetic-en-gb": ("en", "pico en-GB", 12), "synthetic-en-us": ("en", "pico en-US", 12),
    "synthetic-en-slt": ("en", "flite slt", 10), "synthetic-en-rms": ("en", "flite rms", 10), "synthetic-en-awb": ("en", "flite awb", 10),
    "synthetic-en-kal": ("en", "flite kal16", 5), "synthetic-en-espeak": ("en", "espeak en-us", 4),
    "synthetic-de": ("de", "pico de-DE", 22), "synthetic-de-espeak": ("de", "espeak de", 3),
    "synthetic-es": ("es", "pico es-ES", 22), "synthetic-es-espeak": ("es", "espeak es", 3),
    "synthetic-fr": ("fr", "pico fr-FR", 25), "synthetic-fr-espeak": ("fr", "espeak fr", 3),
    "synthetic-it": ("it", "pico it-IT", 10), "synthetic-nl": ("nl", "espeak nl", 12), "synthetic-pl": ("pl", "espeak pl", 4),
    "synthetic-pt": ("pt", "espeak pt", 4), "synthetic-sv": ("sv", "espeak sv", 4),
}  # fmt: skip
"""Language, voice and minutes of each synthetic corpus. espeak-ng hardly sounds like a person: it is there for languages without other voices."""

_DIALOGUE = re.compile(r'dialogStr\("((?:[^"\\]|\\.)*)"\)')
_ENGLISH_DIALOGUE = re.compile(r'dialogId\("[^"]+",\s*"[^"]+",\s*"((?:[^"\\]|\\.)*)"\)')
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[^\W\d_])")
_PLAIN = re.compile(r"[^\W\d_][^\W\d_ ,;:.!?'’\-—–…¿¡]*(?:[ ,;:.!?'’\-—–…¿¡]+[^\W\d_]+)*[.!?…]+")
_CAPITALS = re.compile(r"[^\W\d_a-zà-öø-ÿ]{2}")


@dataclass(frozen=True)
class Utterance:
    """One utterance: 16 kHz samples, what is said in them, in which language, by whom."""

    samples: Samples
    text: str
    language: str
    speaker: str
    synthetic: bool


def utterances(corpus: str) -> Iterator[Utterance]:
    """The utterances of a corpus in a reproducible random order.

    Raises:
        SilverError: its packages cannot be fetched here.
    """
    if corpus in SYNTHETIC:
        yield from _synthetic(corpus)
        return
    if corpus in {"cs", "nl"}:
        lines = [(f"{corpus}-{speaker}", path, text) for speaker, path, text in dialogues(corpus)]
    else:
        lines = [(f"{corpus}-asterisk", prompt.path, prompt.text) for prompt in prompts(corpus)]
    random.Random(corpus).shuffle(lines)  # noqa: S311 - a reproducible choice
    for speaker, path, text in lines:
        # A question mark inside a word is a letter that the transcript lost.
        if not re.search(r"\?\S|[^\W\d_]\?\s+[^\W\d_A-ZА-Я]", text) and len(samples := read_samples(path)):
            yield Utterance(samples, text, corpus, speaker, synthetic=False)


def _synthetic(corpus: str) -> Iterator[Utterance]:
    language, voice, minutes = SYNTHETIC[corpus]
    chance = random.Random(corpus)  # noqa: S311 - a reproducible choice
    # The corpora of a language share its sentences out, so that few are said twice.
    siblings = [name for name, (other, _, _) in SYNTHETIC.items() if other == language]
    lines = sentences(language)[siblings.index(corpus) :: len(siblings)]
    samples_left = minutes * 60 * SAMPLE_RATE
    say = voices.load(voice)
    for text in lines:
        if samples_left <= 0:
            return
        samples = say(text, chance)
        if len(samples) > SAMPLE_RATE // 2:
            samples_left -= len(samples)
            yield Utterance(samples, text, language, corpus, synthetic=True)


@cache
def sentences(language: str) -> list[str]:
    """Sentences to be said by synthetic voices, in a reproducible random order: of the dialogues of Fish Fillets (GPL 2; not the Dutch ones,
    which are a test), of Debian's installation guide (GPL 2) and, in English, of fortunes (BSD). Without digits, abbreviations and names of files.
    """
    folder = cached("texts", _fetch_texts)
    texts = []
    if language != "nl":
        for script in sorted((folder / "fillets-ng/script").glob("*")):
            path = script / f"dialogs_{'cs' if language == 'en' else language}.lua"
            if path.is_file():
                found = (_ENGLISH_DIALOGUE if language == "en" else _DIALOGUE).findall(path.read_text("utf-8"))
                texts += [line.replace("\\", "") for line in found]
    for page in sorted((folder / "installation-guide").glob(f"{language}/*.html")):
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text("utf-8", "replace"), re.DOTALL):
            if "<code" not in paragraph:
                texts.append(html.unescape(re.sub(r"<[^>]*>", "", paragraph)))
    if language == "en":
        for file in sorted((folder / "fortunes").glob("*.u8")):
            texts += file.read_text("utf-8").split("\n%\n")
    whole = {" ".join(sentence.split()) for text in texts for sentence in _SENTENCE_END.split(" ".join(text.split()))}
    plain = sorted(text for text in whole if _PLAIN.fullmatch(text) and 3 <= len(text.split()) <= 25 and not _CAPITALS.search(text))
    random.Random(language).shuffle(plain)  # noqa: S311 - a reproducible choice
    return plain


def _fetch_texts(work: Path) -> Path:
    unpacked = unpack(["fillets-ng-data", "installation-guide-amd64", "fortunes-min", "fortunes"], work)
    made = work / "texts"
    made.mkdir()
    (unpacked / "usr/share/games/fillets-ng").rename(made / "fillets-ng")
    (unpacked / "usr/share/doc/installation-guide-amd64").rename(made / "installation-guide")
    (unpacked / "usr/share/games/fortunes").rename(made / "fortunes")
    return made
