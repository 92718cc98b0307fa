from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.corpus import Manifest
from manifests.release import read_release, sha256, sums
from manifests.store import Store
from manifests.verify import verify_release
from tests.small_corpus import small_corpus


@pytest.fixture
def release(tmp_path: Path) -> tuple[Store, Path]:
    corpus = small_corpus(tmp_path, recordings=4)
    corpus.split(splits={"dev": 0.4})
    corpus.pack(version="v1", shard_seconds=4)
    return corpus.store, tmp_path / "releases/v1"


def findings(store: Store, **options: Any) -> list[str]:
    return [str(finding) for finding in verify_release(store, "v1", **options)]


def reseal(store: Store, folder: Path, change: Callable[[dict[str, Any]], None] = lambda _release: None) -> None:
    """Make every checksum right again, as somebody would who rewrote a shard with care."""
    names = [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name not in {"SHA256SUMS", "release.json"}
    ]
    digests = {name: sha256(store, f"releases/v1/{name}") for name in names}
    release = read_release(store, "v1")
    for shard in release["shards"]:
        shard["sha256"] = digests[shard["path"]]
    change(release)
    (folder / "release.json").write_text(json.dumps(release))
    (folder / "SHA256SUMS").write_bytes(sums(digests | {"release.json": sha256(store, "releases/v1/release.json")}))


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write a tar again with each member changed, or left out."""
    data = io.BytesIO(path.read_bytes())
    with tarfile.open(fileobj=data) as source, tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as target:
        for member in source:
            if changed := change(member.name, source.extractfile(member).read()):  # type: ignore[union-attr]
                info = tarfile.TarInfo(changed[0])
                info.size = len(changed[1])
                target.addfile(info, io.BytesIO(changed[1]))


def test_a_good_release_has_no_findings(release: tuple[Store, Path]) -> None:
    assert findings(release[0]) == []
    assert findings(release[0], fast=True) == []


def test_one_flipped_bit_anywhere_is_found_and_named(release: tuple[Store, Path]) -> None:
    store, folder = release
    choose = random.Random(0)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for at in (0, len(data) - 1, *(choose.randrange(len(data)) for _ in range(12))):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :])
            found = findings(store, fast=choose.random() < 0.5)
            assert any(str(path.relative_to(folder)) in finding for finding in found), (path.name, at, found)
        path.write_bytes(data)
    assert findings(store) == []


def test_a_truncated_shard_a_lost_one_and_a_stranger_are_named(release: tuple[Store, Path]) -> None:
    store, folder = release
    first, second, *_ = sorted(folder.glob("*/*.tar"))
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    second.unlink()
    (folder / "notes.txt").write_text("by hand")
    found = findings(store)
    for name, problem in ((first, "has sha256"), (second, "is not there"), (folder / "notes.txt", "is not in SHA256SUMS")):
        assert any(finding.startswith(f"{name.relative_to(folder)}: {problem}") for finding in found), found


def test_what_is_no_release_is_said(tmp_path: Path) -> None:
    assert "release.json: is not there" in findings(Store(str(tmp_path)))[0]


def shorten(name: str, data: bytes) -> tuple[str, bytes]:
    import soundfile

    if not name.endswith(".flac"):
        return name, data
    audio, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    sink = io.BytesIO()
    soundfile.write(sink, audio[:-2], rate, format="FLAC")
    return name, sink.getvalue()


def with_json(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[str, bytes], tuple[str, bytes]]:
    return lambda name, data: (name, json.dumps(change(json.loads(data))).encode()) if name.endswith(".json") else (name, data)


DEFECTS: list[tuple[Callable[[str, bytes], tuple[str, bytes] | None], str]] = [
    (lambda name, data: None if name.endswith(".flac") else (name, data), "has the members json"),
    (lambda name, data: (name, b"{") if name.endswith(".json") else (name, data), "its JSON cannot be used"),
    (lambda name, data: (name, b"[1]") if name.endswith(".json") else (name, data), "its JSON cannot be used"),
    (lambda name, data: (name, b"noise") if name.endswith(".flac") else (name, data), "its FLAC does not decode"),
    (shorten, "its FLAC holds"),
    (with_json(lambda row: row | {"duration": row["duration"] + 1}), "its FLAC holds"),
    (with_json(lambda row: row | {"segment_id": "x"}), "its JSON is that of x"),
    (with_json(lambda row: row | {"split": "test"}), "its JSON says split test"),
    (with_json(lambda row: row | {"licence": "stolen"}), "counts of licence"),
    (with_json(lambda row: row | {"text": row["text"] * 600}), "index.parquet says"),
    (lambda name, data: ("same." + name.partition(".")[2], data), "has the members"),
]


@pytest.mark.parametrize(("change", "problem"), DEFECTS, ids=[f"{n}-{problem.replace(' ', '-')}" for n, (_, problem) in enumerate(DEFECTS)])
def test_a_defect_under_right_checksums_is_found_in_its_shard(
    release: tuple[Store, Path], change: Callable[[str, bytes], tuple[str, bytes] | None], problem: str
) -> None:
    store, folder = release
    path = sorted(folder.glob("*/*.tar"))[1]
    rewrite(path, change)
    reseal(store, folder)
    found = findings(store)
    assert any(problem in finding for finding in found), found
    assert any(finding.startswith(str(path.relative_to(folder))) for finding in found), found
    assert findings(store, fast=True) == []


def test_a_sample_that_is_there_twice_and_a_recording_in_two_splits_are_found(release: tuple[Store, Path]) -> None:
    store, folder = release
    one, other = next(folder.glob("dev/*.tar")), next(folder.glob("train/*.tar"))
    data = one.read_bytes()
    other.write_bytes(data.replace(b'"split": "dev"', b'"split": "tra"'))
    reseal(store, folder)
    found = findings(store)
    assert any("is there twice" in finding for finding in found)
    assert any(" is in tra too" in finding for finding in found)


def test_counts_that_do_not_add_up_are_found(release: tuple[Store, Path]) -> None:
    store, folder = release

    def fewer(record: dict[str, Any]) -> None:
        record["counts"]["samples"] -= 1
        record["shards"][0]["seconds"] += 1

    reseal(store, folder, fewer)
    found = findings(store)
    assert any(finding.startswith("release.json: counts of samples") for finding in found), found
    assert any("rows, but" in finding for finding in found)
    assert any("release.json says" in finding and ".tar" in finding for finding in found)


def test_an_index_with_other_offsets_or_rows_is_found(release: tuple[Store, Path]) -> None:
    store, folder = release
    index = pq.read_table(folder / "index.parquet")
    pq.write_table(index.slice(1), folder / "index.parquet")
    reseal(store, folder)
    assert any("index.parquet says" in finding for finding in findings(store))
    (folder / "index.parquet").write_bytes(b"no parquet")
    reseal(store, folder)
    assert any(finding.startswith("index.parquet: cannot be read") for finding in findings(store))


def every_json(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for path in folder.glob("*/*.tar"):
        rewrite(path, with_json(change))


@pytest.mark.parametrize("name", ["channel", "speaker"])
def test_a_channel_or_speaker_in_two_splits_is_found_where_splits_are_made_by_it(release: tuple[Store, Path], name: str) -> None:
    store, folder = release
    every_json(folder, lambda row: row | {name: "one and the same"})
    reseal(store, folder)
    assert not any("one and the same is in" in finding for finding in findings(store))
    reseal(store, folder, lambda record: record.update(splits={"by": [name]}))
    assert any(f"{name} one and the same is in train too" in finding for finding in findings(store))


def test_subsets_that_are_not_nested_not_of_train_or_of_other_hours_are_found(release: tuple[Store, Path]) -> None:
    store, folder = release
    every_json(folder, lambda row: row | {"subsets": ["XS"]})
    reseal(store, folder, lambda record: record.update(subsets={"XS": {"hours": 9.0}, "S": {"hours": 0.0}}))
    found = findings(store)
    for problem in ("not in every larger subset", "subsets are of train", "subset XS: 9.0 h, but"):
        assert any(problem in finding for finding in found), found
    assert not any("subset S:" in finding for finding in found), found


def test_a_manifest_with_other_rows_than_the_release_is_found(release: tuple[Store, Path]) -> None:
    store, _ = release
    manifest = Manifest(store, "pack", "ab")
    parts = Manifest(store, "split", "ab").parts()
    manifest.finish(parts, "")
    assert [str(finding) for finding in verify_release(store, "v1")] == []
    manifest.finish(parts[:-1], "")
    (finding,) = verify_release(store, "v1", fast=True)
    assert "samples with labels, but the manifest of pack has" in finding.problem


def test_an_index_that_says_other_things_than_the_shards_is_found(release: tuple[Store, Path]) -> None:
    store, folder = release
    good = pq.read_table(folder / "index.parquet")
    for name, value in (("text", "other"), ("licence", "CC0-1.0"), ("split", "test"), ("start", 17.0), ("speaker", "Ann")):
        column = pa.array([value] * len(good), good.schema.field(name).type)
        pq.write_table(good.set_column(good.column_names.index(name), name, column), folder / "index.parquet")
        reseal(store, folder)
        assert any(f"index.parquet has another {name} than its JSON" in finding for finding in findings(store)), name


def test_a_text_file_that_is_not_the_text_is_found(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path, recordings=2)
    corpus.pack(version="v1", text=True)
    folder = tmp_path / "releases/v1"
    rewrite(next(folder.glob("train/*.tar")), lambda name, data: (name, b"x" * len(data) if name.endswith(".txt") else data))
    reseal(corpus.store, folder)
    assert any("its text is not that of its JSON" in finding for finding in findings(corpus.store))


def test_a_sentence_of_a_held_out_set_in_train_is_found_where_splits_are_made_by_text(release: tuple[Store, Path]) -> None:
    store, folder = release
    every_json(folder, lambda row: row | {"text": "the same eight words in each of them"})
    index = pq.read_table(folder / "index.parquet")
    texts = pa.array(["the same eight words in each of them"] * len(index))
    pq.write_table(index.set_column(index.column_names.index("text"), "text", texts), folder / "index.parquet")
    reseal(store, folder)
    assert not any("which is held out" in finding for finding in findings(store))
    reseal(store, folder, lambda record: record.update(splits={"by": ["text"]}))
    assert any(finding.startswith("train/") and "which is held out" in finding for finding in findings(store))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda record: record.pop("counts"), "release.json: does not say what pack writes: KeyError: 'counts'"),
        (lambda record: record.update(shards=5), "release.json: does not say what pack writes: TypeError"),
        (lambda record: record.update(members=["json"]), "release.json: does not say what pack writes"),
        (lambda record: record["shards"][0].update(bytes=1), "bytes; release.json says 1"),
        (lambda record: record["shards"][0].update(subsets=["M"]), "release.json says of the shard ['M']"),
        (lambda record: record["shards"].append(record["shards"][0]), "is there twice"),
    ],
)
def test_a_release_json_that_says_something_else_is_found(
    release: tuple[Store, Path], change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    store, folder = release
    reseal(store, folder, change)
    assert any(problem in finding for finding in findings(store)), findings(store)
