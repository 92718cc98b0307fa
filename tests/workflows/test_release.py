"""A release that is made after another one: which, and what is said of one that somebody touched by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.contract import SilverError
from tests.corpus import silver
from tests.manifests.test_verify import reseal
from tests.small_corpus import SmallCorpus, small_corpus
from workflows.release import read_back, to_follow


@pytest.fixture
def corpus(tmp_path: Path) -> SmallCorpus:
    """With a release `v1`."""
    corpus = small_corpus(tmp_path, recordings=4)
    corpus.split(splits={"dev": 0.4})
    corpus.pack(version="v1", shard_seconds=4)
    return corpus


def flip(path: Path) -> None:
    """Another byte, in a file of its own: a shard of the next release may be a second name of this one."""
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.unlink()
    path.write_bytes(data)


TOUCHED: list[tuple[str, Callable[[Path], object], str]] = [
    ("train/train-000000.tar", Path.unlink, "train/train-000000.tar: is not there"),
    ("index.parquet", Path.unlink, "index.parquet: is not there"),
    ("index.parquet", flip, "index.parquet: has sha256"),
    ("figures/hours.svg", Path.unlink, "figures/hours.svg: is not there"),
    ("README.md", flip, "README.md: has sha256"),
    ("SHA256SUMS", Path.unlink, "SHA256SUMS: is not there"),
    ("notes.txt", lambda path: path.write_text("by hand"), "notes.txt: is not in SHA256SUMS"),
    ("release.json", lambda path: path.write_text("{"), "release.json: has sha256"),
]


@pytest.mark.parametrize(("name", "touch", "said"), TOUCHED, ids=[f"{name} {said.partition(': ')[2]}" for name, _, said in TOUCHED])
def test_nothing_is_made_after_a_release_that_was_touched_and_what_was_is_named(
    corpus: SmallCorpus, name: str, touch: Callable[[Path], object], said: str
) -> None:
    touch(Path(corpus.store.path("releases/v1")) / name)
    for make in (
        lambda: to_follow(corpus.store, "v2"),
        lambda: corpus.pack(version="v2", after="v1", shard_seconds=4),
        lambda: corpus.split(splits={"dev": 0.4}),
    ):
        with pytest.raises(SilverError, match="release v1 was touched after it was made") as error:
            make()
        assert said in str(error.value)
    assert corpus.store.names("releases") == ["v1"]


def test_a_shard_that_is_not_what_it_was_is_not_taken_over(corpus: SmallCorpus) -> None:
    flip(Path(corpus.store.path("releases/v1/train/train-000000.tar")))
    with pytest.raises(SilverError, match=r"releases/v1/train/train-000000\.tar is not what it was.*--after none"):
        corpus.pack(version="v2", after="v1", shard_seconds=4)
    assert not corpus.store.exists("releases/v2/release.json")
    corpus.pack(version="v2", shard_seconds=4)
    assert "release.json" in corpus.files("v2")


def test_a_release_itself_that_cannot_be_read_says_so_and_one_that_lost_a_file_is_made_whole(corpus: SmallCorpus) -> None:
    files = corpus.files("v1")
    Path(corpus.store.path("releases/v1/train/train-000000.tar")).unlink()
    assert to_follow(corpus.store, "v1") is None
    corpus.pack(version="v1", shard_seconds=4)
    assert corpus.files("v1") == files
    Path(corpus.store.path("releases/v1/release.json")).write_text("{")
    with pytest.raises(SilverError, match=r"releases/v1/release\.json is no JSON"):
        to_follow(corpus.store, "v1")


def test_the_last_one_with_a_name_is_followed_and_two_last_ones_are_asked_about(corpus: SmallCorpus) -> None:
    assert to_follow(corpus.store, "v2") == "v1"
    corpus.pack(shard_seconds=4)  # without a name
    assert to_follow(corpus.store, "v2") == "v1"
    corpus.pack(version="other", shard_seconds=4)
    with pytest.raises(SilverError, match="could follow any of other, v1"):
        to_follow(corpus.store, "v2")


PAPERS: list[tuple[str, Callable[[str], str], str]] = [
    ("README.md", lambda text: text.replace("CC-BY-4.0", "CC0-1.0"), "README.md: does not say what release.json says"),
    (
        "croissant.json",
        lambda text: text.replace("hours of speech", "years of speech"),
        "croissant.json: does not say what release.json says",
    ),
    ("figures/hours.svg", lambda text: text.replace("train", "other"), "figures/hours.svg: does not say what release.json says"),
    (
        "release.json",
        lambda text: text.replace('"bin_seconds": 1.0', '"bin_seconds": 2.0'),
        "release.json: its statistics are not those of index",
    ),
]


@pytest.mark.parametrize(("name", "change", "said"), PAPERS, ids=[name for name, _, _ in PAPERS])
def test_a_card_that_says_other_things_than_the_data_is_found_under_right_checksums(
    corpus: SmallCorpus, name: str, change: Callable[[str], str], said: str
) -> None:
    path = Path(corpus.store.path("releases/v1")) / name
    path.write_text(change(path.read_text()))
    reseal(corpus.store, path.parents[1] if "/" in name else path.parent)
    found = [str(finding) for finding in read_back(corpus.store, "releases/v1")]
    assert any(finding.startswith(said) for finding in found), found


def test_a_copy_of_a_release_is_read_back_wherever_it_lies(corpus: SmallCorpus, tmp_path: Path) -> None:
    shutil.copytree(corpus.store.path("releases/v1"), tmp_path / "somewhere/else")
    done = silver("verify", str(tmp_path / "somewhere/else"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/somewhere/else: every shard, hash, sample and count is right\n"), done.stderr
    flip(tmp_path / "somewhere/else/README.md")
    assert "README.md" in silver("verify", str(tmp_path / "somewhere/else")).stdout
    for nothing in (tmp_path, tmp_path / "nowhere"):
        assert "is not a release folder" in silver("verify", str(nothing)).stderr
