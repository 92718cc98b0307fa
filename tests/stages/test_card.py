"""What the card says, out of the release and nothing else, and its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest

from manifests.release import read_release, sums
from manifests.verify import verify_release
from stages.pack.card import card
from stages.pack.figures import figures
from stages.pack.licences import licence_of, terms
from tests.released import LICENCES, released
from tests.small_corpus import SmallCorpus, small_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SmallCorpus:
    return released(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def text(corpus: SmallCorpus) -> str:
    return corpus.files("v1")["README.md"].decode()


def again(corpus: SmallCorpus, **more: Any) -> str:
    """The card, had the release said this too."""
    schema = pq.read_schema(Path(corpus.store.path("releases/v1/index.parquet")))
    return card(read_release(corpus.store, "v1") | more, schema)


def test_licences_by_hours_with_what_they_allow(corpus: SmallCorpus, text: str) -> None:
    hours = read_release(corpus.store, "v1")["counts"]["licence"]["CC-BY-4.0"]["hours"]
    assert f"| CC-BY-4.0 | {hours} | yes | yes | yes | no | yes | https://creativecommons.org/licenses/by/4.0/ |" in text
    assert f"| https://creativecommons.org/licenses/by-nd/4.0/ | {hours} | yes | yes | no | no | yes |" in text
    assert f"| All rights reserved | {hours} | not known | not known |" in text
    assert f"**{hours} hours have no stated licence: nothing allows passing them on.**" in text
    assert f"**{hours} hours are under a licence that forbids passing on changed copies (ND)." in text
    assert f"{hours} hours are for non-commercial use only (NC)." in text
    assert f"**{hours} hours are under terms that are not known here (All rights reserved)" in text


def test_who_asks_for_credit_is_listed_and_who_does_not_is_not(text: str) -> None:
    credit = text.split("## Credit")[1].split("\n## ", maxsplit=1)[0]
    assert "| station | CC-BY-4.0 |" in credit
    assert "| merchant | CC BY-NC 4.0 |" in credit
    assert "| silent |" not in credit
    assert "| own |" not in credit


def test_names_from_the_web_stay_text(text: str) -> None:
    assert "no \\| &lt;b>pipes&lt;/b>" in text
    assert "<b>" not in text


def test_a_licence_is_read_in_many_spellings() -> None:
    for spelling in ("CC BY 4.0", "cc_by_4.0", "https://creativecommons.org/licenses/by/4.0/deed.en", "CC-BY-4.0"):
        found = terms(spelling)
        assert found is not None
        assert (found.url, found.derivatives) == ("https://creativecommons.org/licenses/by/4.0/", True)
    assert terms("Creative Commons Attribution license (reuse allowed)") is not None
    assert terms("YouTube Standard License") is None


def test_models_with_their_licences(text: str) -> None:
    assert "| transcribe | large-v3 | abc123 | MIT | https://github.com/openai/whisper" in text
    assert "| align | MMS\\_FA | c0ffee | CC-BY-NC-4.0 |" in text
    assert "| second | greek-2 | f00 | unknown |" in text
    assert licence_of("faster-whisper-large-v3")[0] == licence_of("base")[0] == licence_of("distil-large-v3")[0] == "MIT"
    assert licence_of("VOXPOPULI_ASR_BASE_10K_DE")[0] == "CC-BY-NC-4.0"
    for name in ("my-large-model", "whisper-small-greek", "wav2vec2-large-xlsr-53-greek", ""):
        assert licence_of(name) == ("unknown", "")


def test_the_expected_error_is_that_of_the_confidence_by_split(corpus: SmallCorpus, text: str) -> None:
    rows = pq.read_table(Path(corpus.store.path("releases/v1/index.parquet"))).to_pylist()
    for split in {row["split"] for row in rows}:
        own = [row for row in rows if row["split"] == split]
        letters = [row["letters_per_second"] * row["duration"] for row in own]
        expected = sum((1 - row["confidence"]) * n for row, n in zip(own, letters, strict=True)) / sum(letters)
        assert f"| {split} | {round(expected, 4)} | {len(own)} |" in text
    assert "weighted by letters" in text


def test_without_a_confidence_it_says_so_and_draws_none(tmp_path: Path) -> None:
    plain = small_corpus(tmp_path)
    plain.pack(version="v1")
    text = plain.files("v1")["README.md"].decode()
    assert "No calibrated confidence" in text
    assert "expected WER" not in text
    assert "figures/confidence.svg" not in plain.files("v1")
    assert "No contact was given with this release" in text


def test_how_to_cite_and_whom_to_ask(text: str) -> None:
    assert "@misc{radio-v1,\n  title = {Radio},\n  version = {v1},\n  note = {Talk of many stations},\n}" in text
    assert "write to corpus@example.org" in text
    assert "author" not in text.split("```bibtex")[1].split("```", maxsplit=1)[0]


def test_takedowns_leaks_subsets_and_changes_are_shown_if_the_release_has_them(corpus: SmallCorpus, text: str) -> None:
    for heading in ("## Leaks", "## What was taken down", "## What changed", "## By subset", "## Without labels"):
        assert heading not in text
    counts = read_release(corpus.store, "v1")["counts"]
    more = again(
        corpus,
        leaks=[{"set": "LibriSpeech test-clean", "kind": "audio", "count": 3, "share": 0.01, "waived": True}],
        takedowns=[{"request": "channel 0123", "reason": "the | owner asked", "when": "2026-01-01", "rows": 12, "hours": 0.5}],
        changes=[{"release": "v2", "after": "v1", "table": [{"change": "added", "why": "new audio", "segments": 7, "hours": 0.1}]}],
        counts=counts
        | {"subsets": {"XS": {"samples": 2, "hours": 0.1}}, "split": counts["split"] | {"unlabelled": {"samples": 4, "hours": 0.2}}},
    )
    assert "| LibriSpeech test-clean | audio | 3 | 0.01 | yes |" in more
    assert more.index("## Leaks") < more.index("## By split")
    assert "must not be measured on these sets" in more
    assert "Splits that were published" not in more
    assert "**Splits that were published have something in common.**" in again(
        corpus, leaks=[{"set": "releases", "kind": "channel", "count": 1, "share": None, "waived": True, "examples": ["a and b (ARD)"]}]
    )
    assert "| channel 0123 | the \\| owner asked | 2026-01-01 | 12 | 0.5 |" in more
    assert "v2 after v1:" in more
    assert "| added | new audio | 7 | 0.1 |" in more
    assert "| XS | 2 | 0.1 |" in more
    assert "4 samples, 0.2 hours" in more


def test_figures_are_svg_with_units_and_the_card_shows_each_with_words_for_those_who_cannot_see(corpus: SmallCorpus, text: str) -> None:
    files = corpus.files("v1")
    drawn = [name for name in files if name.startswith("figures/")]
    assert drawn == ["figures/confidence.svg", "figures/duration.svg", "figures/funnel.svg", "figures/hours.svg"]
    for name in drawn:
        root = ET.fromstring(files[name])
        title = root.findtext("{http://www.w3.org/2000/svg}title")
        assert title
        assert f"![{title.replace('|', '')}]({name})" in text
        assert any(word in " ".join(root.itertext()) for word in ("hours", "seconds"))
    bars = ET.fromstring(files["figures/duration.svg"]).findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + 1  # the paper, and all segments of 1 to 2 seconds


def test_figures_are_checked_like_any_other_file(tmp_path: Path) -> None:
    corpus = released(tmp_path)
    assert list(verify_release(corpus.store, "v1")) == []
    figure = tmp_path / "releases/v1/figures/hours.svg"
    figure.write_text(figure.read_text().replace("#0072b2", "#ff0000"))
    assert [finding.file for finding in verify_release(corpus.store, "v1", fast=True)] == ["figures/hours.svg"]


def test_hostile_names_cannot_leave_the_text_of_a_figure(corpus: SmallCorpus) -> None:
    release = read_release(corpus.store, "v1")
    name = '</text><script>alert("x")</script>\x1b'
    release["statistics"]["language_split"] = {name: {"train": 1.0}}
    release["dropped"] = {name: {"rows": 1, "hours": 2.0}}
    for _, svg in figures(release).values():
        assert not [node for node in ET.fromstring(svg).iter() if node.tag.endswith("script")]


def test_the_same_release_says_the_same_on_another_machine(corpus: SmallCorpus, tmp_path: Path) -> None:
    other = released(tmp_path)
    assert other.files("v1") == corpus.files("v1")
    listed = corpus.files("v1")["SHA256SUMS"]
    assert sums({line[66:]: line[:64] for line in listed.decode().splitlines()}) == listed
    assert len(LICENCES) == len(json.loads(other.files("v1")["release.json"])["counts"]["channel"])
