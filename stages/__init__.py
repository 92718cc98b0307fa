"""What happens to speech: one file a stage, one folder where a stage has several backends.

This list is all there is to register. Modules are imported when a recipe names their stage, so that `silver --help` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pipeline.contract import Stage

STAGES = {
    "acquire": "stages.acquire:Acquire",
    "decode": "stages.decode:Decode",
    "segment": "stages.segment:Segment",
    "identify": "stages.identify:Identify",
    "transcribe": "stages.transcribe:Transcribe",
    "combine": "stages.combine:Combine",
    "align": "stages.align:Align",
    "resegment": "stages.resegment:Resegment",
    "normalise": "stages.normalise:Normalise",
    "score": "stages.score:Score",
    "perplexity": "stages.perplexity:Perplexity",
    "confidence": "stages.confidence:Confidence",
    "filter": "stages.filter:Filter",
    "deduplicate": "stages.deduplicate:Deduplicate",
    "split": "stages.split:Split",
    "pack": "stages.pack:Pack",
    "select": "stages.select:Select",
    "train": "stages.train:Train",
    "relabel": "stages.relabel:Relabel",
    "adopt": "stages.adopt:Adopt",
}


def find(name: str) -> type[Stage]:
    """The class of a stage. Raises KeyError for a name that is not in the list."""
    module, _, attribute = STAGES[name].partition(":")
    return cast("type[Stage]", getattr(importlib.import_module(module), attribute))
