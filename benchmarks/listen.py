"""One listen: what language, second opinion and word times cost beside the transcription, and against whisperX doing the same.

    .venv/bin/python benchmarks/listen.py --minutes 6

Three sides take turns over the same windows of real recorded prompts, with Whisper base in int8:

alone      the transcribe stage
chain      identify, transcribe and align (embedded: times, scores and the greedy text of the CTC network) as stages of one part
whisperx   faster-whisper's batched pipeline over the windows, then `whisperx.align` with a wav2vec 2.0 of base size. No pretrained one can
           be had without a hub, so its weights are random: its times are worth nothing, its cost is that of the model whisperX loads for English

Printed are seconds, and the ratios chain / alone and whisperx / chain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("SILVER_MODELS", str(Path(__file__).parents[1] / ".cache" / "models"))

import soundfile
from faster_whisper import BatchedInferencePipeline

from benchmarks.transcribe import windows
from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext
from stages import models, whisper
from stages.align import Align
from stages.audio import SAMPLE_RATE
from stages.identify import Identify
from stages.transcribe import Transcribe
from workflows.demo.speech import long_speech


def main() -> None:
    """Run the three in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    models.fetch("base")
    samples, spans = long_speech("en", options.minutes * 60)
    clips = windows(spans)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "speech.flac", samples, SAMPLE_RATE)
        rows: list[Row] = [
            {
                "recording_id": "speech",
                "segment_id": str(start),
                "audio_path": "speech.flac",
                "start": start,
                "end": end,
                "duration": end - start,
                "language": "en",
            }
            for start, end in clips
        ]
        context = PartContext(Store(str(folder)), threads=options.threads)
        stages = [Identify(Identify.Params(model="base")), Transcribe(Transcribe.Params(model="base")), Align(Align.Params())]
        for stage in stages:
            stage.setup(context)
        pipeline = BatchedInferencePipeline(whisper.load("base", "auto", context))
        aligner, metadata = _aligner(folder, options.threads)

        def through(chosen: list[Identify | Transcribe | Align]) -> None:
            part = PartContext(context.store, threads=options.threads)
            written = rows
            for stage in chosen:
                written = [row for children in stage.apply(written, part) for row in children]
            assert all(row.get("drop_reason") is None for row in written)

        def whisperx() -> None:
            from whisperx import alignment

            clip_times = [{"start": start, "end": end} for start, end in clips]
            segments, _ = pipeline.transcribe(samples, language="en", beam_size=5, batch_size=8, clip_timestamps=clip_times)
            # Letters only: the random network has no other classes.
            texts = [{"start": segment.start, "end": segment.end, "text": segment.text} for segment in segments]
            alignment.align(texts, aligner, metadata, samples, "cpu")

        sides = {"alone": lambda: through(stages[1:2]), "chain": lambda: through(stages), "whisperx": whisperx}
        print(f"{len(clips)} windows, {sum(end - start for start, end in clips):.0f} s; {options}; load {os.getloadavg()[0]:.1f}")
        wall, cpu = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0.0)
        for turn in range(options.rounds + 1):
            for side, run in sides.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                run()
                if turn:  # the first warms up
                    wall[side] += time.perf_counter() - began
                    cpu[side] += time.process_time() - began_cpu
        for side in sides:
            print(f"{side:9} {wall[side]:7.1f} s on the wall, {cpu[side]:7.1f} s of CPU time")
        print(f"chain / alone    {wall['chain'] / wall['alone']:.2f} ({cpu['chain'] / cpu['alone']:.2f} in CPU time)")
        print(
            f"whisperx / chain {wall['whisperx'] / wall['chain']:.2f} ({cpu['whisperx'] / cpu['chain']:.2f} in CPU time); load {os.getloadavg()[0]:.1f}"
        )


def _aligner(folder: Path, threads: int) -> tuple[object, dict[str, object]]:
    """A wav2vec 2.0 of base size with random weights, as whisperX loads one from a folder, and what it says of it."""
    import torch
    from nltk.tokenize.punkt import PunktSentenceTokenizer
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
    from whisperx import alignment

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    alignment.nltk_load = lambda _path: PunktSentenceTokenizer()  # it would download sentence models
    letters = {"<pad>": 0, "|": 1} | {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz'", start=2)}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(letters), pad_token_id=0)).eval()
    (folder / "vocab.json").write_text(json.dumps(letters))
    return model, {"language": "en", "dictionary": letters, "type": "huggingface"}


if __name__ == "__main__":
    main()
