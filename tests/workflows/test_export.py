"""Every format read back: by its own library where there is one here, else by what its own documentation says of it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.kaldi import load_kaldi_data_dir

from pipeline.contract import SilverError
from tests.small_corpus import SmallCorpus
from tests.stages.test_pack import samples
from workflows.export import FORMATS, export

HOSTILE = ['quote " and \\ back', "a --> b & <i>c</i>", "=1+2", "日本語 ελληνικά", "tab\there\nand a line", "| cell | # x"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    corpus = SmallCorpus(tmp_path / "corpus")
    for n in range(6):
        rows = corpus.segments(
            f"/audio/{n}.mp3", n, [(0.5, 1.5), (1.5, 2.25), (2.5, 4.0)], channel=f"channel {n}", speaker="Ann Lee" if n % 2 else None
        )
        for index, row in enumerate(rows):
            row["text"] = HOSTILE[(n + index) % len(HOSTILE)]
            row["words"] = [{"word": "word", "start": row["start"] + 0.1, "end": row["end"] - 0.1, "score": 0.5}]
        corpus.add(rows)
    corpus.split(splits={"dev": 0.2})
    corpus.pack(version="v1", shard_seconds=4)
    return tmp_path / "corpus/releases/v1"


@pytest.fixture
def expected(release: Path) -> dict[str, dict[str, Any]]:
    """By key: the record, and the samples."""
    corpus = SmallCorpus(release.parents[1])
    found = {key: value for split in ("train", "dev") for key, value in samples(corpus, "v1", split).items()}
    return {key: json.loads(some["json"]) | {"samples": soundfile.read(io.BytesIO(some["flac"]))[0]} for key, some in found.items()}


def line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("to", ["lhotse", "lhotse-shar"])
def test_lhotse_reads_texts_words_and_every_sample(release: Path, expected: dict[str, Any], tmp_path: Path, to: str) -> None:
    out = export(str(release), str(tmp_path / "out"), to)
    cuts: list[Any] = []
    for split in ("train", "dev"):
        cuts += CutSet.from_file(out / f"{split}_cuts.jsonl.gz") if to == "lhotse" else CutSet.from_shar(in_dir=out / split)
    assert {cut.id for cut in cuts} == expected.keys()
    for cut in cuts:
        row = expected[cut.id]
        np.testing.assert_array_equal(cut.load_audio()[0], row["samples"].astype(np.float32))
        (said,) = cut.supervisions
        assert (said.text, said.language, said.speaker) == (line(row["text"]), "en", row["speaker"])
        (word,) = said.alignment["word"]
        assert (word.symbol, word.start, word.duration) == ("word", 0.1, pytest.approx(row["duration"] - 0.2))
        assert said.custom["source_uri"] == row["source_uri"]


def test_nemo_manifests_have_the_fields_of_nemo_and_audio_that_is_there(release: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out = export(str(release), str(tmp_path / "out"), "nemo")
    lines = [json.loads(text) for split in ("train", "dev") for text in (out / f"{split}_manifest.json").read_text().splitlines()]
    assert len(lines) == len(expected)
    for item in lines:
        row = expected[Path(item["audio_filepath"]).stem]
        assert item.keys() == {"audio_filepath", "duration", "text", "lang", "speaker"}
        assert (item["text"], item["duration"], item["lang"]) == (line(row["text"]), row["duration"], "en")
        np.testing.assert_array_equal(soundfile.read(item["audio_filepath"])[0], row["samples"])


def test_nemo_tars_hold_what_their_manifests_say(release: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    import tarfile

    out = export(str(release), str(tmp_path / "out"), "nemo-tarred")
    found = set()
    for split in ("train", "dev"):
        whole = [json.loads(text) for text in (out / split / "tarred_audio_manifest.json").read_text().splitlines()]
        for number in sorted({item["shard_id"] for item in whole}):
            own = [json.loads(text) for text in (out / split / f"sharded_manifests/manifest_{number}.json").read_text().splitlines()]
            assert own == [item for item in whole if item["shard_id"] == number]
            with tarfile.open(out / split / f"audio_{number}.tar") as tar:
                assert tar.getnames() == [item["audio_filepath"] for item in own]
                for item in own:
                    key = Path(item["audio_filepath"]).stem
                    audio, _ = soundfile.read(io.BytesIO(tar.extractfile(item["audio_filepath"]).read()))  # type: ignore[union-attr]
                    np.testing.assert_array_equal(audio, expected[key]["samples"])
                    found.add(key)
    assert found == expected.keys()


def test_kaldi_directories_are_sorted_whole_and_read_by_lhotse(release: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out = export(str(release), str(tmp_path / "out"), "kaldi", "train")
    folder = out / "train"
    keys: dict[str, list[str]] = {}
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "utt2lang", "spk2utt"):
        lines = (folder / name).read_bytes().splitlines()
        keys[name] = [text.split()[0].decode() for text in lines]
        assert keys[name] == sorted(set(keys[name]), key=lambda key: key.encode())
    assert keys["wav.scp"] == keys["text"] == keys["utt2spk"] == keys["utt2dur"] == keys["utt2lang"]
    pairs = [text.split() for text in (folder / "utt2spk").read_text().splitlines()]
    assert all(utterance.startswith(speaker + "-") for utterance, speaker in pairs)
    assert [speaker for _, speaker in pairs] == sorted(speaker for _, speaker in pairs)
    recordings, supervisions, _ = load_kaldi_data_dir(folder, sampling_rate=16000)
    assert supervisions is not None
    for said in supervisions:
        row = expected[said.id.partition("-")[2]]
        assert said.text == line(row["text"])
        np.testing.assert_array_equal(recordings[said.recording_id].load_audio()[0], row["samples"].astype(np.float32))


def test_jsonl_and_csv_have_every_column_and_lead_to_the_audio(release: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    for to in ("jsonl", "csv"):
        out = export(str(release), str(tmp_path / to), to)
        rows: list[dict[str, Any]] = []
        for path in sorted(out.glob(f"*.{to}")):
            text = path.read_text("utf-8")
            rows += [json.loads(item) for item in text.split("\n")[:-1]] if to == "jsonl" else csv.DictReader(io.StringIO(text, newline=""))
        assert len(rows) == len(expected)
        for row in rows:
            known = expected[row["segment_id"]]
            assert (row["text"], float(row["duration"])) == (known["text"], known["duration"])
            words = row["words"] if to == "jsonl" else json.loads(row["words"])
            assert words == known["words"]
            with (release / row["shard"]).open("rb") as handle:
                handle.seek(int(row["audio_offset"]))
                audio, _ = soundfile.read(io.BytesIO(handle.read(int(row["audio_size"]))))
            np.testing.assert_array_equal(audio, known["samples"])


def times(clock: str) -> float:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


@pytest.mark.parametrize(("to", "point"), [("srt", ","), ("vtt", r"\.")])
def test_captions_are_in_the_time_of_the_recording(release: Path, expected: dict[str, Any], tmp_path: Path, to: str, point: str) -> None:
    out = export(str(release), str(tmp_path / "out"), to)
    clock = rf"(\d\d:\d\d:\d\d{point}\d\d\d)"
    cue = re.compile(rf"(.+)\n{clock} --> {clock}\n(.*)\n")
    files = sorted(out.glob(f"*.{to}"))
    assert {path.stem for path in files} == {row["recording_id"] for row in expected.values()}
    for path in files:
        text = path.read_text("utf-8")
        assert to == "srt" or text.startswith("WEBVTT\n\n")
        blocks = text.removeprefix("WEBVTT\n\n").split("\n\n")
        rows = sorted((row for row in expected.values() if row["recording_id"] == path.stem), key=lambda row: row["start"])
        assert len(blocks) == len(rows)
        for number, (block, row) in enumerate(zip(blocks, rows, strict=True), 1):
            match = cue.fullmatch(block.rstrip("\n") + "\n")
            assert match
            assert match[1] == (str(number) if to == "srt" else row["segment_id"])
            assert (times(match[2]), times(match[3])) == (row["start"], row["end"])
            said = line(row["text"]).replace("-->", "->")
            assert match[4] == (said if to == "srt" else said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def test_textgrids_have_no_gaps(release: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out = export(str(release), str(tmp_path / "out"), "textgrid")
    for path in out.glob("*.TextGrid"):
        segments, words = path.read_text("utf-8").split("    item [")[1:]
        rows = sorted((row for row in expected.values() if row["recording_id"] == path.stem), key=lambda row: row["start"])
        for tier, said in ((segments, [line(row["text"]) for row in rows]), (words, ["word"] * len(rows))):
            found = re.findall(r'intervals \[(\d+)\]:\n +xmin = (.+)\n +xmax = (.+)\n +text = "((?:[^"]|"")*)"\n', tier)
            assert int(re.search(r"intervals: size = (\d+)", tier)[1]) == len(found)  # type: ignore[index]
            assert [float(item[1]) for item in found] == [0.0, *(float(item[2]) for item in found[:-1])]
            assert float(found[-1][2]) == max(row["end"] for row in rows)
            assert [item[3].replace('""', '"') for item in found if item[3]] == said


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_an_export_that_was_killed_goes_on_and_ends_in_the_same_bytes(release: Path, tmp_path: Path, to: str) -> None:
    def files(out: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(out)): path.read_bytes().replace(str(out).encode(), b"OUT") for path in out.rglob("*") if path.is_file()
        }

    whole = files(export(str(release), str(tmp_path / "whole"), to)) if "gz" not in to else {}
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        export(str(release), str(out), to, report=_interrupt)
    assert not json.loads((out / "export.json").read_text())["finished"]
    export(str(release), str(out), to)
    again = files(out)
    assert again.keys() == whole.keys()
    assert {name: data for name, data in again.items() if not name.endswith(".gz")} == {
        name: data for name, data in whole.items() if not name.endswith(".gz")
    }


def _interrupt(_line: str) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_exported_says_why(release: Path, tmp_path: Path) -> None:
    with pytest.raises(SilverError, match=r"no finished release: it has no release\.json"):
        export(str(release.parent), str(tmp_path / "out"), "nemo")
    with pytest.raises(SilverError, match="no split 'test'; there are dev, train"):
        export(str(release), str(tmp_path / "out"), "nemo", "test")
    with pytest.raises(SilverError, match="no format 'zip'"):
        export(str(release), str(tmp_path / "out"), "zip")
    with pytest.raises(SilverError, match="lies in the release"):
        export(str(release), str(release / "out"), "nemo")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(SilverError, match="is not empty"):
        export(str(release), str(tmp_path / "full"), "nemo")
