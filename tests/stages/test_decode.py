from __future__ import annotations

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext
from stages.acquire.media import media_uri
from stages.audio import SAMPLE_RATE, read_audio
from stages.decode import Decode
from stages.ffmpeg import mix_weights
from stages.sound import Meter
from tests.hostile import DECODES, GOOD, encode, make_hostile, riff, voice_like, wav, write_long_noise

REPOSITORY = Path(__file__).parents[2]


def decode(root: Path, *files: Path, **params: float) -> list[Row]:
    """The rows of files after the stage."""
    rows = [{"source_id": str(index), "segment_id": None, "media_uri": media_uri(str(file))} for index, file in enumerate(files)]
    return [row for (row,) in Decode(Decode.Params(**params)).apply(rows, PartContext(Store(str(root))))]


def decode_bytes(tmp_path: Path, data: bytes, name: str = "file", **params: float) -> Row:
    (tmp_path / name).write_bytes(data)
    return decode(tmp_path / "root", tmp_path / name, **params)[0]


def samples_of(tmp_path: Path, row: Row) -> np.ndarray:
    return read_audio(Store(str(tmp_path / "root")), row)


def test_every_hostile_file_gets_its_reason_and_harms_no_other(tmp_path: Path) -> None:
    kinds = make_hostile(tmp_path / "found")
    assert len(kinds) > 190
    assert len(set(kinds.values())) >= 30
    rows = dict(zip(kinds, decode(tmp_path / "root", *(tmp_path / "found" / name for name in kinds)), strict=True))
    wrong = {
        name: (row.get("drop_reason"), row.get("drop_detail"))
        for name, row in rows.items()
        if row.get("drop_reason") != DECODES[kinds[name]]
    }
    assert wrong == {}
    kept = {name: row for name, row in rows.items() if row.get("drop_reason") is None}
    for name, row in kept.items():
        audio = soundfile.info(tmp_path / "root" / row["audio_path"])
        assert (audio.frames / SAMPLE_RATE, audio.samplerate, audio.channels) == (row["duration"], SAMPLE_RATE, 1), name
        assert (row["start"], row["end"]) == (0, row["duration"]), name
        assert all(row[signal] is None or np.isfinite(row[signal]) for signal in ("bandwidth_hz", "loudness_lufs", "clipping")), name
    durations = {kind: [row["duration"] for name, row in kept.items() if kinds[name] == kind] for kind in set(kinds.values())}
    assert durations["good"] == pytest.approx([2.0] * len(GOOD), abs=0.06)
    assert durations["wav_lies_about_length"] == pytest.approx([2.0] * 6)
    assert durations["changes_midway"] == pytest.approx([4.0] * 6, abs=0.15)
    assert min(durations["flipped_bits"]) > 0.5
    assert [row["loudness_lufs"] for name, row in kept.items() if kinds[name] == "silence"] == [None] * 6
    assert os.listdir(tmp_path / "root" / "tmp") == []
    assert {str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root" / "audio").rglob("*.flac")} == {
        r["audio_path"] for r in kept.values()
    }


def test_pcm_at_16_khz_is_kept_to_the_bit(tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 50_000).astype("<i2")
    row = decode_bytes(tmp_path, riff(pcm.tobytes()))
    stored, _ = soundfile.read(tmp_path / "root" / row["audio_path"], dtype="int16")
    assert np.array_equal(stored, pcm)
    assert (row["codec"], row["source_rate"], row["source_channels"], row["decode_note"]) == ("pcm_s16le", 16_000, 1, None)


def test_resampling_keeps_speech_and_folds_nothing_back(tmp_path: Path) -> None:
    time = np.arange(3 * 44_100) / 44_100
    row = decode_bytes(tmp_path, wav(0.4 * np.sin(2 * np.pi * 1000 * time) + 0.4 * np.sin(2 * np.pi * 11_000 * time), 44_100))
    heard = samples_of(tmp_path, row)[4000:44_000]
    assert row["duration"] == pytest.approx(3.0, abs=1e-4)
    wanted = 0.4 * np.sin(2 * np.pi * 1000 * (np.arange(4000, 44_000) / SAMPLE_RATE))
    assert 20 * np.log10(np.std(heard - wanted) / np.std(wanted)) < -75


def test_the_same_audio_is_stored_once_and_its_bytes_are_reproducible(tmp_path: Path) -> None:
    samples = (voice_like(3) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    soundfile.write(tmp_path / "b.flac", samples, SAMPLE_RATE)
    first, second = decode(tmp_path / "root", tmp_path / "a.wav", tmp_path / "b.flac")
    assert first["audio_path"] == second["audio_path"]
    assert first["recording_id"] == second["recording_id"] == Path(first["audio_path"]).stem[:16]
    stored = tmp_path / "root" / first["audio_path"]
    os.utime(stored, (1, 1))
    decode(tmp_path / "root", tmp_path / "a.wav")
    assert stored.stat().st_mtime == 1
    decode(tmp_path / "other", tmp_path / "a.wav")
    assert (tmp_path / "other" / first["audio_path"]).read_bytes() == stored.read_bytes()


@pytest.mark.parametrize(("channel", "share"), [("FL", 0.159), ("FC", 0.226), ("SL", 0.113), ("LFE", 0.0)])
def test_surround_is_mixed_by_the_place_of_each_channel(tmp_path: Path, channel: str, share: float) -> None:
    layout = av.AudioLayout("7.1")
    names = [each.name for each in layout.channels]
    samples = np.zeros((8, 48_000), np.float32)
    samples[names.index(channel)] = 0.5 * np.sin(np.arange(48_000) * 0.05)
    path = tmp_path / "surround.flac"
    with av.open(path, "w") as output:
        stream = output.add_stream("flac", rate=48_000, layout="7.1", format="s16")
        frame = av.AudioFrame.from_ndarray((samples.T.reshape(1, -1) * 32767).astype(np.int16), format="s16", layout="7.1")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        resampler = av.AudioResampler("s16", "7.1", 48_000, frame_size=stream.frame_size or 4608)
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(ready))
        output.mux(stream.encode(None))
    (row,) = decode(tmp_path / "root", path)
    assert row["source_channels"] == 8
    assert np.abs(samples_of(tmp_path, row)).max() == pytest.approx(0.5 * share, abs=0.01)


@pytest.mark.parametrize(
    ("container", "codec", "layout"), [("adts", "aac", "7.1"), ("wv", "wavpack", "16 channels"), ("ogg", "libopus", "5.1")]
)
def test_planar_frames_of_many_channels_are_read_to_the_last_and_no_further(
    tmp_path: Path, container: str, codec: str, layout: str
) -> None:
    row = decode_bytes(tmp_path, encode(container, codec, layout=layout))
    sound = soxr.resample(voice_like(2.0, 48_000), 48_000, SAMPLE_RATE)
    heard = samples_of(tmp_path, row)
    assert row["source_channels"] == av.AudioLayout(layout).nb_channels
    assert np.std(heard) == pytest.approx(np.std(sound), rel=0.1)


def test_channels_without_a_place_count_the_same() -> None:
    assert mix_weights(["NONE"] * 3) == pytest.approx([1 / 3] * 3)
    assert mix_weights(["FC"]) == [1.0]
    assert mix_weights(["LFE"]) == [1.0]


def test_a_truncated_download_is_kept_and_says_how_much_is_missing(tmp_path: Path) -> None:
    whole = encode("flac", "flac", seconds=10, seed=7)
    row = decode_bytes(tmp_path, whole[: len(whole) // 2])
    assert row.get("drop_reason") is None
    assert 4 < row["duration"] < 6
    assert row["declared_duration"] == pytest.approx(10)
    assert "of the 10.0 s that the header declares" in row["decode_note"]


@pytest.mark.parametrize(("container", "codec"), [("flac", "flac"), ("ogg", "libopus"), ("ipod", "aac")])
def test_damage_in_the_middle_costs_what_is_hit_and_is_told(tmp_path: Path, container: str, codec: str) -> None:
    data = bytearray(encode(container, codec, seconds=10, seed=8))
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    row = decode_bytes(tmp_path, bytes(data))
    assert 8.9 < row["duration"] < 9.98
    assert re.search(r"after [45]\.\d s", row["decode_note"])
    assert decode_bytes(tmp_path, encode(container, codec, seconds=10, seed=8))["decode_note"] is None


def test_too_short_and_too_long_are_drops(tmp_path: Path) -> None:
    sound = wav(voice_like(20))
    assert decode_bytes(tmp_path, sound, min_seconds=30)["drop_reason"] == "too_short"
    long = decode_bytes(tmp_path, sound, max_hours=0.005)
    assert (long["drop_reason"], long["drop_detail"]) == ("too_long", "more than 0.005 hours of audio")
    assert list((tmp_path / "root").rglob("*.flac")) == []


@pytest.mark.parametrize(
    "form", ["#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{0}'\n"]
)
def test_a_file_never_makes_another_file_be_read(tmp_path: Path, form: str) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(voice_like(2)))
    row = decode_bytes(tmp_path, form.format(secret).encode(), "talk.mp3")
    assert row["drop_reason"] == "not_audio"


def test_headerless_audio_is_known_by_its_name(tmp_path: Path) -> None:
    row = decode_bytes(tmp_path, bytes(np.random.default_rng(0).integers(0, 256, 16_000, np.uint8)), "prompt.g722")
    assert (row["codec"], row["duration"]) == ("adpcm_g722", 2.0)


def test_the_best_audio_of_a_video_is_taken(tmp_path: Path) -> None:
    row = decode_bytes(tmp_path, encode("mp4", "aac", video=True, layout="stereo"))
    assert (row["codec"], row["source_channels"]) == ("aac", 2)
    assert row["duration"] == pytest.approx(2.0, abs=0.06)


def test_clipping_is_the_share_of_samples_at_full_scale(tmp_path: Path) -> None:
    loud = np.clip(voice_like(5, 44_100) * 30, -1, 1)
    row = decode_bytes(tmp_path, wav(loud, 44_100))
    assert row["clipping"] == pytest.approx(np.mean(np.abs(loud) > 0.9999), rel=0.01)
    assert row["clipping"] > 0.1
    assert decode_bytes(tmp_path, wav(loud * 0.5, 44_100))["clipping"] == 0


def loudness_by_ffmpeg(samples: np.ndarray) -> float:
    """Integrated loudness by FFmpeg's EBU R 128 filter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono", time_base=Fraction(1, SAMPLE_RATE))
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    graph.push(frame)
    graph.push(None)
    loudness = -np.inf
    while True:
        try:
            loudness = float(graph.pull().metadata["lavfi.r128.I"])
        except (av.error.EOFError, av.error.BlockingIOError):
            return loudness


def measured(samples: np.ndarray, block: int = 50_000) -> Meter:
    meter = Meter()
    for start in range(0, len(samples), block):
        meter.add(samples[start : start + block].astype(np.float32))
    return meter


@pytest.mark.parametrize("kind", ["voice", "quiet", "with a long silence", "tone"])
def test_loudness_is_that_of_another_implementation(kind: str) -> None:
    sound = {
        "voice": voice_like(20),
        "quiet": voice_like(20) * 0.02,
        "with a long silence": np.concatenate([voice_like(10), np.zeros(30 * SAMPLE_RATE, np.float32)]),
        "tone": np.sin(2 * np.pi * 997 * np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE),
    }[kind]
    assert measured(sound).loudness() == pytest.approx(loudness_by_ffmpeg(sound), abs=0.2)


def test_signals_do_not_depend_on_the_blocks() -> None:
    sound = voice_like(7)
    one, many = measured(sound, len(sound)), measured(sound, 777)
    assert one.loudness() == pytest.approx(many.loudness(), abs=1e-4)
    assert one.bandwidth() == many.bandwidth()


def test_bandwidth_tells_telephone_from_wide_band(tmp_path: Path) -> None:
    sound = voice_like(10)
    assert measured(sound).bandwidth() == 8000
    assert decode_bytes(tmp_path, wav(soxr.resample(sound, 16_000, 8_000), 8_000))["bandwidth_hz"] == pytest.approx(4000, abs=200)
    assert measured(np.zeros(16_000)).bandwidth() is None


def test_a_long_recording_does_not_grow_the_worker(tmp_path: Path) -> None:
    """An hour is 230 MB as floats."""
    write_long_noise(tmp_path / "long.wav", hours=1)
    script = """
import sys
from manifests.store import Store
from pipeline.contract import PartContext
from stages.decode import Decode
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
context, stage = PartContext(Store(sys.argv[1])), Decode(Decode.Params())
def run(path):
    return stage.apply([{"source_id": "0", "segment_id": None, "media_uri": path}], context)[0][0]
run(sys.argv[2])
before = peak()
row = run(sys.argv[3])
print(row["duration"], peak() - before)
"""
    (tmp_path / "short.wav").write_bytes(wav(voice_like(60)))
    command = [sys.executable, "-c", script, str(tmp_path / "root"), str(tmp_path / "short.wav"), str(tmp_path / "long.wav")]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    duration, grown = map(float, output.split())
    assert duration == pytest.approx(3600)
    assert grown < 50
