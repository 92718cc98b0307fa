"""Real models for tests, fetched once into the checkout's cache and checked by hash."""

from __future__ import annotations

import os
from pathlib import Path

from stages.models import fetch

os.environ.setdefault("SILVER_MODELS", str(Path(__file__).parents[1] / ".cache" / "models"))


def base_model() -> Path:
    """Whisper base, multilingual, CTranslate2. After this call it can be named `base`."""
    return fetch("base")


def tiny_en_model() -> Path:
    """Whisper tiny, English only, CTranslate2. After this call it can be named `tiny.en`."""
    return fetch("tiny.en")
