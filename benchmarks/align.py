"""How the search for word times grows with the length of a row, and against one search over the whole of it by torchaudio.

    python benchmarks/align.py [--hours 3] [--wrong 0.2]
    python benchmarks/align.py --speech 60 [--language en]

The emissions are made up (`tests/lattices.py`): so the true times are known, and no model's time is in the figures. Processor time of
one thread. `to linear` is the time a second of audio over that of the shortest row that is searched in pieces; torchaudio over the whole
is left out where its back pointers would take more than 2 GB.

With `--speech` so many minutes of real speech (Asterisk's prompts, again and again where they are fewer) are one row, aligned with their
transcript by the aligner that comes with Silver: time, memory, and how far the words are from the edges of their prompts.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("SILVER_MODELS", str(Path(__file__).parents[1] / ".cache" / "models"))

import numpy as np
import soundfile
import torch

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext
from stages.align import Align
from stages.align.network import LogProbs
from stages.align.pieces import LARGEST, Piece, search_in_pieces
from stages.align.torchaudio import Torchaudio
from stages.align.viterbi import Spans, aligned_words
from stages.audio import SAMPLE_RATE
from tests.lattices import CLASSES, STRIDE, greedy_of, lattice, made_up_words
from workflows.demo.speech import LANGUAGES, long_speech

SECONDS = (10, 30, 120, 300, 600, 1200, 3600, 10_800, 21_600)


def in_pieces(log_probs: LogProbs, words: Sequence[Sequence[int]]) -> list[Spans]:
    """As the stage does it."""

    def search(piece: Piece) -> list[Spans]:
        own = words[piece.first_word : piece.end_word]
        return aligned_words(log_probs[piece.first : piece.end], own, 0, None, Torchaudio.path)

    return search_in_pieces(search, greedy_of(log_probs), words, len(log_probs), STRIDE)


def at_once(log_probs: LogProbs, words: Sequence[Sequence[int]]) -> list[Spans]:
    """One search over all."""
    return aligned_words(log_probs, words, 0, None, Torchaudio.path)


def timed(
    search: Callable[[LogProbs, Sequence[Sequence[int]]], list[Spans]], log_probs: LogProbs, words: Sequence[Sequence[int]]
) -> tuple[float, list[Spans]]:
    """Processor time, and what was found."""
    began = time.process_time()
    found = search(log_probs, words)
    return time.process_time() - began, found


def speech(language: str, minutes: float) -> None:
    """Align one long row of real speech, and print what it cost."""
    samples, prompts = long_speech(language, minutes * 60)
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "speech.flac", samples, SAMPLE_RATE)
        row: Row = {"audio_path": "speech.flac", "start": 0.0, "end": len(samples) / SAMPLE_RATE, "language": language}
        del samples
        stage, context = Align(Align.Params(text="text_source")), PartContext(Store(folder))
        stage.identity()
        stage.setup(context)
        # What is loaded once is loaded.
        list(stage.process([row | {"end": prompts[0].end, "text_source": prompts[0].text}], context))
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        [out] = stage.process([row | {"text_source": " ".join(prompt.text for prompt in prompts)}], context)
        took, grown = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    late, words = [], iter(out["words"])
    for prompt in prompts:
        own = [next(words) for _ in prompt.text.split()]
        late += [own[0]["start"] - prompt.start, prompt.end - own[-1]["end"]]
    print(f"{language}: {row['end']:.0f} s, {len(out['words'])} words, {len(prompts)} prompts")
    print(
        f"processor time {took:.1f} s, {row['end'] / took:.1f} x real time; memory beside the loaded models {grown / 1024**2:.2f} GB at most"
    )
    print(
        f"first and last words at least 0.5 s from the edges of their prompts, which have silence of their own: {np.mean(np.abs(late) > 0.5):.4f}"
    )


def main() -> None:
    """Print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="the longest row")
    parser.add_argument("--wrong", type=float, default=0.2, help="share of the characters that are heard wrong")
    parser.add_argument("--speech", type=float, metavar="MINUTES", help="real speech instead")
    parser.add_argument("--language", default="en", choices=LANGUAGES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.speech:
        speech(arguments.language, arguments.speech)
        return
    words = made_up_words(45_000)
    at_once(*lattice(words[:5], CLASSES)[:1], words[:5])  # torchaudio is imported
    print(f"made-up emissions, {arguments.wrong:.0%} of the characters heard wrong")
    print("audio s   search s  x real time  to linear   words > 0.5 s off   whole: search s   same words")
    first = None
    for seconds in SECONDS:
        if seconds > arguments.hours * 3600:
            break
        log_probs, truth = lattice(words, CLASSES, arguments.wrong, seconds=seconds)
        own = words[: len(truth)]
        took, found = timed(in_pieces, log_probs, own)
        late = np.abs([word.start - start for (word, _), (start, _) in zip(found, truth, strict=True)]) * STRIDE
        cells = len(log_probs) * 2 * sum(map(len, own))
        first = took / seconds if first is None and cells > LARGEST else first
        line = f"{seconds:7d} {took:10.3f} {seconds / took:12.0f} {took / seconds / first if first else float('nan'):10.2f}"
        line += f" {np.mean(late > 0.5):19.4f}"
        if cells < 2e9:
            whole, expected = timed(at_once, log_probs, own)
            line += f" {whole:17.3f} {np.mean([a.word[:2] == b.word[:2] for a, b in zip(found, expected, strict=True)]):12.4f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
