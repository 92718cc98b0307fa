"""Confidence: one number a segment, the expected share of right words."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

import pyarrow as pa

from manifests.schema import Row
from pipeline.contract import FilePath, PartContext, PartStage, SilverError, StageParams, operational
from stages.confidence.calibration import Calibration
from stages.confidence.features import features

SHIPPED = "confidence.json"


class Confidence(PartStage):
    """The expected share of right words of each segment, 0..1: all signals as one calibrated number.

    A logistic regression over the features of stages/confidence/features.py (what the labeller and the aligner think of each word, whether
    they agree), put right by isotonic regression; see stages/confidence/calibration.py. The default was fitted on recorded speech of the
    languages named in it; `silver calibrate` fits one on your own gold. Null where no feature is known.
    """

    name, version = "confidence", "1"
    reads = ("words", "labels", "text")
    adds = pa.schema([("confidence", pa.float32())])
    light = True

    class Params(StageParams):
        """Which calibration."""

        calibration: FilePath = operational(None, "a file made by `silver calibrate`; by default the one that Silver ships")

    def identity(self) -> Mapping[str, str]:
        """Hash of the calibration. Raises SilverError when it is missing or none."""
        text, name = self._read()
        Calibration.from_json(text, name)
        return {"calibration": hashlib.sha256(text.encode()).hexdigest()[:16]}

    def setup(self, _context: PartContext) -> None:
        """Read the calibration."""
        self._calibration = Calibration.from_json(*self._read())

    def process(self, rows: list[Row], _context: PartContext) -> Iterator[Row]:
        """Add the confidence of each row."""
        values = self._calibration([features(row) for row in rows])
        for row, value in zip(rows, values.tolist(), strict=True):
            yield row | {"confidence": value if math.isfinite(value) else None}

    def _read(self) -> tuple[str, str]:
        path: str | None = self.params.calibration
        if path is None:
            return resources.files("stages.confidence").joinpath("assets", SHIPPED).read_text("utf-8"), SHIPPED
        try:
            return Path(path).read_text("utf-8"), path
        except (OSError, UnicodeDecodeError) as error:
            raise SilverError(f"confidence.calibration: {path} cannot be read ({error}); make it with `silver calibrate`") from error
