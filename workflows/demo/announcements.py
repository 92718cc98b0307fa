"""Synthetic speech for refinement with a small student: announcements of a railway, by several voices, in noise.

    pip install silver-asr[head]
    python -m workflows.demo.announcements demo/announcements --hours 1.5

leaves `audio/*.flac` (shows of some minutes, each by one voice and in one room), and gold by voices that are not in them: `dev.jsonl` (flite rms),
`voice.jsonl` (SVOX Pico en-US, of an engine that is in the audio) and `engine.jsonl` (espeak-ng, which is not). Every sentence is made anew.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from stages.audio import SAMPLE_RATE, Samples
from stages.train.noise import coloured, faster, in_a_room, with_noise
from workflows.head.voices import Say, load

TRAINED = ("piper", "pico en-GB", "flite slt", "flite awb", "flite kal16")
GOLD = {"dev": "flite rms", "voice": "pico en-US", "engine": "espeak en-us"}
SHOW = 120.0
"""Seconds of a file."""
SNR = (8.0, 20.0)
"""dB of the speech over the noise, of a show."""

_PLACES = [
    "bristol",
    "manchester",
    "leeds",
    "oxford",
    "norwich",
    "exeter",
    "glasgow",
    "brighton",
    "carlisle",
    "durham",
    "plymouth",
    "dover",
    "swansea",
    "derby",
    "lincoln",
    "preston",
    "chester",
    "ipswich",
    "stirling",
    "inverness",
    "cambridge",
    "newcastle",
    "liverpool",
    "southampton",
    "aberdeen",
    "coventry",
    "nottingham",
    "portsmouth",
    "worcester",
    "lancaster",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_TIMES = (
    "in the morning",
    "in the afternoon",
    "in the evening",
    "at noon",
    "at midnight",
    "before sunrise",
    "after sunset",
    "during the night",
)
_REASONS = (
    "a broken signal", "heavy snow", "a fallen tree", "a missing driver", "flooding near the river", "sheep on the line", "strong winds", "an earlier accident",
    "thick fog", "repairs to the bridge", "a lost dog in the tunnel", "a power failure", "frozen points", "a strike of the guards", "a landslide", "a burst water pipe",
)  # fmt: skip
_TRAINS = (
    "express train",
    "slow train",
    "night train",
    "goods train",
    "steam train",
    "sleeper",
    "local service",
    "replacement bus",
    "mail train",
    "special train",
)
_THINGS = (
    "a red umbrella", "a black suitcase", "a silver watch", "a green bicycle", "a leather wallet", "a small violin", "a brown hat", "a bag of apples", "a wooden box",
    "a pair of glasses", "a woollen scarf", "a blue rucksack", "a birthday cake", "a yellow raincoat", "a map of scotland", "a box of candles",
)  # fmt: skip
_PLACES_IN = (
    "waiting room",
    "ticket office",
    "dining car",
    "last carriage",
    "station garden",
    "upper hall",
    "front carriage",
    "lower platform",
    "booking hall",
    "car park",
)
_STATES = (
    "delayed",
    "cancelled",
    "running early",
    "very crowded",
    "on time",
    "held at the station",
    "sent by another route",
    "shorter than usual",
)
_WEATHER = ("rain", "snow", "bright sunshine", "fog", "a cold wind", "thunder", "hail", "frost", "a warm breeze", "grey clouds")
_FOOD = (
    "hot soup",
    "fresh bread",
    "cheese sandwiches",
    "black coffee",
    "cold lemonade",
    "apple pie",
    "roast chicken",
    "green tea",
    "tomato salad",
    "ginger biscuits",
)


def sentence(chance: random.Random) -> str:
    """Something that is announced.

    >>> sentence(random.Random(4))
    'cold lemonade and cold lemonade are sold in the last carriage of the night train to brighton'
    """
    pick = chance.choice
    there, then = pick(_PLACES), pick(_PLACES)
    return pick((
        f"the {pick(_TRAINS)} to {there} on {pick(_DAYS)} {pick(_TIMES)} is {pick(_STATES)} because of {pick(_REASONS)}",
        f"the {pick(_TRAINS)} from {there} to {then} will be {pick(_STATES)} {pick(_TIMES)} owing to {pick(_REASONS)}",
        f"somebody has left {pick(_THINGS)} and {pick(_THINGS)} in the {pick(_PLACES_IN)} of the {pick(_TRAINS)} from {there}",
        f"would the owner of {pick(_THINGS)} please come to the {pick(_PLACES_IN)} in {there} on {pick(_DAYS)} {pick(_TIMES)}",
        f"we expect {pick(_WEATHER)} and {pick(_WEATHER)} between {there} and {then} on {pick(_DAYS)} {pick(_TIMES)}",
        f"{pick(_FOOD)} and {pick(_FOOD)} are sold in the {pick(_PLACES_IN)} of the {pick(_TRAINS)} to {there}",
        f"passengers for {there} and {then} should wait in the {pick(_PLACES_IN)} until {pick(_REASONS)} has been dealt with",
    ))  # fmt: skip


def make(folder: Path, hours: float, gold_minutes: float) -> None:
    """Write audio and gold."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    chance = random.Random("announcements")  # noqa: S311 - a reproducible choice
    for number in range(round(hours * 3600 / SHOW)):
        samples, _ = _show(load(TRAINED[number % len(TRAINED)]), chance)
        soundfile.write(folder / "audio" / f"show-{number:03d}.flac", samples, SAMPLE_RATE)
    for part, voice in GOLD.items():
        lines = []
        for number in range(round(gold_minutes * 60 / SHOW)):
            samples, said = _show(load(voice), chance)
            (folder / part).mkdir(exist_ok=True)
            soundfile.write(folder / part / f"{number:03d}.flac", samples, SAMPLE_RATE)
            lines += [
                json.dumps(
                    {
                        "audio": f"{part}/{number:03d}.flac",
                        "start": round(start, 3),
                        "end": round(end, 3),
                        "text": text,
                        "language": "en",
                        "speaker": voice,
                    }
                )
                for start, end, text in said
            ]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _show(say: Say, chance: random.Random) -> tuple[Samples, list[tuple[float, float, str]]]:
    """Sentences with pauses between them, in a room with noise; and start, end and text of each."""
    pieces, said, at, speed = [], [], 0.0, chance.uniform(0.9, 1.12)
    for text in _sentences(chance):
        spoken = faster(say(text, chance), speed)
        pause = np.zeros(round(chance.uniform(0.8, 1.5) * SAMPLE_RATE), np.float32)
        pieces += [pause, spoken / max(1e-3, float(np.abs(spoken).max()))]
        start = at + len(pause) / SAMPLE_RATE
        at = start + len(spoken) / SAMPLE_RATE
        said.append((start, at, text))
        if at > SHOW:
            break
    dice = np.random.default_rng(chance.getrandbits(32))
    samples = np.concatenate(pieces)
    decay = chance.uniform(0.15, 0.5)
    samples = in_a_room(samples, dice.normal(size=round(decay * SAMPLE_RATE)), decay, chance.uniform(0.1, 0.6))
    samples = with_noise(samples, coloured(dice.normal(size=len(samples)), chance.uniform(0, 0.8)), chance.uniform(*SNR))
    return (0.7 * samples / np.abs(samples).max()).astype(np.float32), said


def _sentences(chance: random.Random) -> Iterator[str]:
    while True:
        yield sentence(chance)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=1.5, help="of audio without labels")
    parser.add_argument("--gold-minutes", type=float, default=10, help="of each set of gold")
    options = parser.parse_args()
    make(options.folder, options.hours, options.gold_minutes)
