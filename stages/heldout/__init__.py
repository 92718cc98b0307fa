"""Held-out sets: reading them, what a system makes of them, systems against each other, and what of them was trained on."""

from stages.heldout.compare import Gain, gain, table
from stages.heldout.leaks import Leak, apart, check, leaks
from stages.heldout.sets import HeldOut, Window
from stages.heldout.transcribe import Transcripts, Written, evaluate, transcribe

__all__ = [
    "Gain",
    "HeldOut",
    "Leak",
    "Transcripts",
    "Window",
    "Written",
    "apart",
    "check",
    "evaluate",
    "gain",
    "leaks",
    "table",
    "transcribe",
]
