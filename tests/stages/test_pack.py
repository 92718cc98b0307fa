from __future__ import annotations

import hashlib
import io
import json
import math
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from pydantic import ValidationError

from manifests.corpus import CURRENT
from manifests.part import PartRef, read_rows, write_part
from manifests.release import read_release
from manifests.verify import verify_release
from pipeline.contract import CorpusContext, SilverError
from stages.audio import read_audio
from stages.pack import Pack
from stages.pack.shards import records
from tests.small_corpus import SmallCorpus, small_corpus


def samples(corpus: SmallCorpus, version: str, split: str = "train") -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for name, data in corpus.files(version).items():
        if name.startswith(f"{split}/"):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    key, _, ending = member.name.partition(".")
                    found.setdefault(key, {})[ending] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return found


def live(corpus: SmallCorpus) -> list[dict[str, Any]]:
    return [row for ref in corpus.parts for row in read_rows(corpus.store, ref) if row["drop_reason"] is None]


def committed(corpus: SmallCorpus, tables: list[pa.Table]) -> list[PartRef]:
    from manifests.part import Counts

    return [write_part(corpus.store, "manifests/pack/ab", f"{n:016x}", t, Counts.of(t.to_pylist())) for n, t in enumerate(tables)]


def test_every_live_segment_is_in_the_release_with_exactly_its_samples(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1", shard_seconds=4)
    found = samples(corpus, "v1")
    assert found.keys() == {row["segment_id"] for row in live(corpus)}
    for row in live(corpus):
        audio, rate = soundfile.read(io.BytesIO(found[row["segment_id"]]["flac"]), dtype="float32")
        assert rate == 16000
        np.testing.assert_array_equal(audio, read_audio(corpus.store, row))
        record = json.loads(found[row["segment_id"]]["json"])
        assert record["text"] == row["text"]
        word = {key: value for key, value in record["words"][0].items() if value is not None}
        assert word == {"word": "word", "start": row["start"], "end": row["end"], "score": 0.1}
        assert record["align_score"] == 0.87
        assert list(record) == sorted(record)
        assert not record.keys() & {"audio_path", "media_uri", "drop_reason"}
    assert len([name for name in corpus.files("v1") if name.endswith(".tar")]) > 2


def test_the_index_leads_to_the_bytes_and_the_rows_say_where_they_went(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    tables = corpus.pack(version="v1", shard_seconds=4)
    index = pq.read_table(tmp_path / "releases/v1/index.parquet").to_pylist()
    assert [row["key"] for row in index] == [row["segment_id"] for row in index]
    places = {}
    for row in index:
        data = (tmp_path / "releases/v1" / row["shard"]).read_bytes()
        assert data[row["offset"] :][:4] == b"fLaC"
        assert json.loads(data[row["json_offset"] :][: row["json_size"]])["segment_id"] == row["key"]
        assert row["words"]
        places[row["key"]] = (f"releases/v1/{row['shard']}", row["offset"])
    assert len(tables) == len(corpus.parts)
    for ref, table in zip(corpus.parts, tables, strict=True):
        for before, after in zip(read_rows(corpus.store, ref), table.to_pylist(), strict=True):
            assert before.items() <= after.items()
            assert (after["shard"], after["shard_offset"]) == places.get(after["segment_id"], (None, None))
            assert (after["split"] is None) == (after["drop_reason"] is not None)


def test_two_machines_make_the_same_bytes_and_the_order_is_mixed(tmp_path: Path) -> None:
    one, two = small_corpus(tmp_path / "one", recordings=12), small_corpus(tmp_path / "two", recordings=12)
    for corpus in (one, two):
        corpus.split(splits={"dev": 0.3})
    one.pack(shard_seconds=5)
    two.pack(shard_seconds=5, map=lambda f, jobs: iter([f(pickle.loads(pickle.dumps(job))) for job in reversed(list(jobs))]))
    (version,) = one.store.names("releases")
    assert one.files(version) == two.files(version)
    keys = pq.read_table(tmp_path / "one/releases" / version / "index.parquet", columns=["key"]).column(0).to_pylist()
    recordings = [key[:16] for key in keys]
    neighbours = sum(a == b for a, b in pairwise(recordings))
    assert neighbours < len(keys) / 3

    other = small_corpus(tmp_path / "other", recordings=12)
    other.pack(version="v", shard_seconds=5, seed=1)
    again = pq.read_table(tmp_path / "other/releases/v/index.parquet", columns=["key"]).column(0).to_pylist()
    assert sorted(again) == sorted(keys)
    assert again != keys


def test_a_corpus_that_does_not_fit_in_memory_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are gathered in many groups and buckets, as of 20 million samples; with another number of rows at once."""
    whole, pieces = small_corpus(tmp_path / "a", recordings=16), small_corpus(tmp_path / "b", recordings=16)
    whole.pack(version="v1", shard_seconds=3)
    monkeypatch.setattr("stages.pack.shuffle.ROWS", 7)
    files: list[str] = []

    def watched(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for job in jobs:
            files.append(getattr(job, "target", ""))
            yield function(job)

    pieces.pack(version="v1", shard_seconds=3, map=watched)
    assert sum("group-" in name for name in files) > 3
    assert sum("bucket-" in name for name in files) > 3
    assert pieces.files("v1") == whole.files("v1")


def test_headers_hold_nothing_of_the_machine(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1")
    with tarfile.open(tmp_path / "releases/v1/train/train-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.isreg()) for m in tar} == {(0, 0, 0, "", "", 0o644, True)}
    for name, data in corpus.files("v1").items():
        assert str(tmp_path).encode() not in data, name


def test_the_version_stands_for_the_content(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack()
    corpus.pack()
    assert len(corpus.store.names("releases")) == 1
    corpus.add(corpus.segments("/audio/new.mp3", 99, [(0.0, 1.0)]))
    corpus.pack()
    assert len(corpus.store.names("releases")) == 2


def test_a_finished_release_never_changes(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1")
    before = corpus.files("v1")
    corpus.add(corpus.segments("/audio/new.mp3", 99, [(0.0, 1.0)]))
    with pytest.raises(SilverError, match=r"release v1 exists.*another pack.version"):
        corpus.pack(version="v1")
    assert corpus.files("v1") == before
    assert list(verify_release(corpus.store, "v1")) == []


def test_a_release_with_lost_files_is_not_complete_and_is_made_again(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    parts = committed(corpus, corpus.pack(version="v1", shard_seconds=4))
    pack = Pack(Pack.Params(version="v1", shard_seconds=4))
    context = CorpusContext(corpus.store, parts, 1200, "ab", {}, map)
    assert pack.is_complete(context)
    before = corpus.files("v1")
    for lost in ("train/train-000001.tar", "index.parquet", "croissant.json", "figures/hours.svg", "release.json"):
        (tmp_path / "releases/v1" / lost).unlink()
        assert not pack.is_complete(context)
        corpus.pack(version="v1", shard_seconds=4)
        assert corpus.files("v1") == before
        assert pack.is_complete(context)


def test_the_same_audio_under_two_names_is_packed_once_and_says_so(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    spans = [(0.0, 1.0), (1.0, 2.0)]
    corpus.add(corpus.segments("https://z.example/a.mp3", 7, spans, text="later name"))
    corpus.add(corpus.segments("https://a.example/b.mp3", 7, spans, text="earlier name"))
    first, second = (table.to_pylist() for table in corpus.pack(version="v1"))
    assert {row["drop_reason"] for row in first} == {"duplicate_audio"}
    assert all("https://a.example/b.mp3" in row["drop_detail"] and row["shard"] is None for row in first)
    assert {row["drop_reason"] for row in second} == {None}
    release = read_release(corpus.store, "v1")
    assert release["dropped"]["pack:duplicate_audio"]["rows"] == 2
    assert release["rows"] == release["counts"]["samples"] + 2
    assert list(verify_release(corpus.store, "v1")) == []


@pytest.mark.parametrize("version", ["../v1", "a/b", ".hidden", "", "v 1"])
def test_a_version_is_a_plain_name(version: str) -> None:
    with pytest.raises(ValidationError):
        Pack.Params(version=version)


HOSTILE = [
    "\x00nul",
    'quote " \\ back',
    "</script><b>",
    "| cell | `code`\n# head\n---\n",
    "a\u2028b",
    "日本語 ελληνικά 🎙",
    "../../etc/passwd",
]


def test_hostile_text_and_numbers_are_data(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    for n, text in enumerate(HOSTILE):
        rows = corpus.segments(f"/{n}.mp3", n, [(0.0, 0.5)], text=text, title=text, channel=text, licence=text, align_score=math.nan)
        rows[0]["labels"][0] |= {"avg_logprob": -math.inf}
        corpus.add(rows)
    corpus.pack(version="v1", text=True)
    found = samples(corpus, "v1")
    records = [json.loads(sample["json"], parse_constant=pytest.fail) for sample in found.values()]
    assert {record["text"] for record in records} == set(HOSTILE)
    assert {sample["txt"].decode() for sample in found.values()} == set(HOSTILE)
    assert all(record["align_score"] is None and record["labels"][0]["avg_logprob"] is None for record in records)
    assert list(verify_release(corpus.store, "v1")) == []
    card = (tmp_path / "releases/v1/README.md").read_text()
    assert "<b>" not in card
    assert card.count("\n# ") == 1
    assert "日本語" in card


def plain(value: Any, kind: pa.DataType) -> Any:
    """One value as JSON should say it."""
    if value is None or (pa.types.is_floating(kind) and not math.isfinite(value)):
        return None
    if pa.types.is_list(kind):
        return [plain(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: plain(value[field.name], field.type) for field in kind}
    return float(str(np.float32(value))) if kind == pa.float32() else value


def test_records_say_what_the_columns_say() -> None:
    chance = np.random.default_rng(0)
    single = chance.integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32).tolist()  # any bits: NaN and infinity too
    double = chance.integers(0, 2**64, 3000, dtype=np.uint64).view(np.float64).tolist()
    kind = pa.list_(pa.struct([("z", pa.float32()), ("a", pa.list_(pa.float64())), ("text", pa.string())]))
    nested = [
        None if n % 7 == 0 else [None, {"z": single[n], "a": [double[n], None] if n % 3 else None, "text": HOSTILE[n % 7]}][: n % 4]
        for n in range(3000)
    ]
    table = pa.table(
        {"single": pa.array(single, pa.float32()), "nested": pa.array(nested, kind), "count": list(range(3000)), "double": double}
    )
    for some in (table, table.slice(100, 1000), pa.concat_tables([table.slice(5, 9), table.slice(0, 0), table]), table.slice(7, 0)):
        lines = list(records(some))
        assert len(lines) == len(some)
        for line, row in zip(lines, some.to_pylist(), strict=True):
            expected = {column.name: plain(row[column.name], column.type) for column in some.schema}
            assert line == json.dumps(expected, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def test_the_card_says_what_release_json_says(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.split(splits={"dev": 0.4})
    corpus.pack(version="v1")
    release = read_release(corpus.store, "v1")
    text = (tmp_path / "releases/v1/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["language"] == ["en"]
    assert metadata["license"] == ["cc-by-4.0"]
    assert metadata["size_categories"] == ["n<1K"]
    assert [entry["split"] for entry in metadata["configs"][0]["data_files"]] == ["dev", "train"]
    assert f"{release['counts']['samples']} segments, {release['counts']['hours']} hours" in body
    for channel, group in release["counts"]["channel"].items():
        assert f"| {channel} | {group['samples']} | {group['hours']} |" in body
    assert "| filter:agreement;snr | 3 |" in body
    assert release["dropped"]["filter:agreement;snr"]["rows"] == 3
    assert f"soundfile | {release['software']['soundfile']}" in body
    assert sum(group["samples"] for group in release["counts"]["split"].values()) == release["counts"]["samples"] == len(live(corpus))
    assert release["counts"]["hours"] == round(sum(row["duration"] for row in live(corpus)) / 3600, 4)


def test_hugging_face_hub_accepts_the_card(tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1")
    card = DatasetCard.load(tmp_path / "releases/v1/README.md")
    assert card.data.task_categories == ["automatic-speech-recognition"]


def test_sha256sum_reads_the_checksums(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.pack(version="v1", shard_seconds=4)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "releases/v1", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(corpus.files("v1")) - 1


def audio_of(corpus: SmallCorpus) -> Path:
    return Path(corpus.store.path(live(corpus)[0]["audio_path"]))


def truncate(path: Path) -> None:
    audio, rate = soundfile.read(path)
    soundfile.write(path, audio[: rate // 2], rate)


def damage(path: Path) -> None:
    """One bit, in the frame that the first segment ends in."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * 3.5 * 4096 / soundfile.info(path).frames)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "is gone"),
        (lambda path: path.write_bytes(b"no audio"), "cannot be read"),
        (damage, "cannot be read"),
        (truncate, "should have"),
    ],
)
def test_audio_that_is_not_there_is_named_with_the_way_to_mend_it(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    corpus = small_corpus(tmp_path)
    path = audio_of(corpus)
    whole = path.read_bytes()
    spoil(path)
    with pytest.raises(SilverError, match=message) as caught:
        corpus.pack(version="v1", shard_seconds=4)
    assert str(path) in str(caught.value)
    assert path.name[:16] in str(caught.value)
    assert "run again" in str(caught.value)
    assert not (tmp_path / "releases/v1/release.json").exists()
    path.write_bytes(whole)
    corpus.pack(version="v1", shard_seconds=4)
    assert list(verify_release(corpus.store, "v1")) == []


def test_nothing_to_pack_says_where_to_look(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    corpus.add([row | {"drop_stage": "filter", "drop_reason": "x"} for row in corpus.segments("/a.mp3", 1, [(0.0, 1.0)])])
    with pytest.raises(SilverError, match="silver funnel"):
        corpus.pack(version="v1")
    assert not (tmp_path / "releases").exists()


def test_a_shard_that_cannot_hold_a_sample_is_refused_before_any_work(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    with pytest.raises(SilverError, match=r"a shard of 1\.4 s cannot hold the longest segment \(1\.5 s\).*set shard_seconds to 15 or more"):
        corpus.pack(version="v1", shard_seconds=1.4)
    assert not corpus.store.exists("releases/v1")


def test_recordings_without_segments_are_refused(tmp_path: Path) -> None:
    corpus = SmallCorpus(tmp_path)
    corpus.add(corpus.segments("/a.mp3", 1, [(0.0, 1.0)], segment_id=None))
    with pytest.raises(SilverError, match=r"/a\.mp3.*segment"):
        corpus.pack(version="v1")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The limit on the size of a file stands for the disk: the write fails in the kernel, in the middle of a shard."""
    corpus, reference = small_corpus(tmp_path / "a"), small_corpus(tmp_path / "b")
    reference.pack(version="v1", shard_seconds=4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            corpus.pack(version="v1", shard_seconds=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not corpus.store.names("tmp")
    assert not [name for name in corpus.files("v1") if not name.startswith(".state/")]
    corpus.pack(version="v1", shard_seconds=4)
    assert corpus.files("v1") == reference.files("v1")


def test_what_is_packed_is_not_packed_again(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)

    def broken(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for number, job in enumerate(jobs):
            if number == 2:
                raise ConnectionError
            yield function(job)

    with pytest.raises(ConnectionError):
        corpus.pack(version="v1", shard_seconds=4, map=broken)
    left: list[str] = []
    corpus.pack(version="v1", shard_seconds=4, map=lambda f, jobs: map(f, [left.append(job.path) or job for job in jobs]))
    shards = [name for name in corpus.files("v1") if name.endswith(".tar")]
    assert sorted(left) == shards[2:]
    assert list(verify_release(corpus.store, "v1")) == []


def test_a_release_begun_with_other_content_leaves_nothing_behind(tmp_path: Path) -> None:
    corpus, reference = small_corpus(tmp_path / "a"), small_corpus(tmp_path / "b")

    def broken(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        yield function(next(iter(jobs)))
        raise ConnectionError

    for parameters in ({"version": "v1", "shard_seconds": 2}, {"shard_seconds": 2}):
        with pytest.raises(ConnectionError):
            corpus.pack(map=broken, **parameters)
    assert len(corpus.store.names("releases")) == 1  # the one that nobody would go on with went
    for each in (corpus, reference):
        each.pack(version="v1", shard_seconds=4)
    assert corpus.store.names("releases") == ["v1"]
    assert corpus.files("v1") == reference.files("v1")


def _pack_and_die(root: str, parts: list[PartRef], commits: int) -> None:
    """Die by SIGKILL just before commit number `commits`."""
    left = commits
    replace = os.replace

    def counted(source: Any, target: Any) -> None:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        replace(source, target)

    os.replace = counted
    corpus = SmallCorpus(Path(root))
    corpus.parts = parts
    corpus.pack(version="v1", shard_seconds=6)


def _kill_each(roots: list[str], parts: list[PartRef], deaths: Any) -> None:
    """In a process of its own, which has no threads yet: one fork that dies for each root, at one commit later than the one before."""
    import pyarrow.dataset  # noqa: F401 - reading Parquet imports it, which takes longer than a release: once, not in every fork

    for commits, root in enumerate(roots):
        if (child := os.fork()) == 0:
            _pack_and_die(root, parts, commits)
            os._exit(0)
        deaths.put(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def test_killed_at_any_commit_the_next_run_makes_the_same_release(tmp_path: Path) -> None:
    def contents(corpus: SmallCorpus) -> dict[str, bytes]:
        return {name: hashlib.sha256(data).digest() for name, data in corpus.files("v1").items()}

    reference = small_corpus(tmp_path / "reference", recordings=4)
    reference.pack(version="v1", shard_seconds=6)
    expected = contents(reference)
    commits = (
        3 + 2 * sum(name.endswith(".tar") for name in expected) + 8
    )  # digest of the content, rows by part and by shard, each shard and fragment, three figures and the five files
    killed = [small_corpus(tmp_path / str(n), recordings=4) for n in range(commits + 1)]
    processes = multiprocessing.get_context("spawn")
    codes = processes.Queue()
    helper = processes.Process(target=_kill_each, args=([corpus.store.root for corpus in killed], killed[0].parts, codes))
    helper.start()
    exits = [codes.get(timeout=120) for _ in killed]
    helper.join()
    assert exits == [-signal.SIGKILL] * commits + [0]
    for corpus in killed[:-1]:
        assert [finding.file for finding in verify_release(corpus.store, "v1")] == ["release.json"]
        corpus.pack(version="v1", shard_seconds=6)
        assert contents(corpus) == expected
        assert not corpus.store.names("tmp")
    assert contents(killed[-1]) == expected


def test_what_people_said_of_the_labels_makes_a_new_release_with_the_same_shards(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    corpus.store.write(CURRENT, json.dumps({"recipe": "x", "stages": [{"stage": "filter", "fingerprint": "feedbeef"}]}).encode())

    def audited(read: str) -> None:
        row = {
            "of": "kept labels",
            "measure": "wer",
            "value": 0.07,
            "low": 0.05,
            "high": 0.09,
            "judged": 9,
            "segments": 12,
            "hours": 0.1,
            "covered": 1.0,
        }
        result = {"fingerprint": "feedbeef", "read": read, "judged": 9, "drawn": 9, "statement": [row]}
        corpus.store.write("audits/a/result.json", json.dumps(result).encode())

    def releases() -> set[str]:
        return set(corpus.store.names("releases"))

    corpus.pack()
    (before,) = releases()
    audited("2026-01-01T00:00:00+00:00")
    corpus.pack()
    (after,) = releases() - {before}
    old, new = corpus.files(before), corpus.files(after)
    assert "has not been measured yet" in old["README.md"].decode()
    assert "WER 0.07 (95 % 0.05 to 0.09)" in new["README.md"].decode()
    assert {name: data for name, data in old.items() if name.endswith(".tar")} == {
        name: data for name, data in new.items() if name.endswith(".tar")
    }
    audited("2026-02-02T00:00:00+00:00")
    corpus.pack()
    assert releases() == {before, after}, "the same sheet, read again"
