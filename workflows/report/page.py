"""The page: what was collected, as JSON that a script draws. Nothing in it is fetched, and text from the web is only ever set as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workflows.audit.sheet import COLUMNS

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("report.js", "desk.js", "source.js")
_OWN = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
POLICY = _OWN + "media-src data: blob:"
"""Content security policy: the browser itself refuses to reach any other host."""
SERVED_POLICY = _OWN + "media-src 'self'; connect-src 'self'"
"""The same for a page with a server: that server, and no other."""


def page(collected: Mapping[str, Any], figures: Sequence[str] = (), *, served: bool = False) -> str:
    """The page as HTML; `served`: its segments are asked of a server. `figures` are made by Silver (calibration curves), not by anybody else."""
    title = f"{collected['summary']['recipe'] or 'corpus'}: {collected['summary']['root']}"
    body = (ASSETS / "report.html").read_text(encoding="utf-8")
    filled = {
        "TITLE": escape(title),
        "POLICY": escape(SERVED_POLICY if served else POLICY, quote=True),
        "STYLE": (ASSETS / "report.css").read_text(encoding="utf-8"),
        "FIGURES": "".join(figures)
        or "<p>No gold was given: <code>silver report ROOT --gold FILE</code> draws how well the confidence knows.</p>",
        "DATA": embedded({**collected, "sheet": [*COLUMNS, "note"]}),
        "SCRIPT": "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    pieces = body.split("@@")  # text, name, text, name, ...: what is filled in is never searched again
    return "".join(filled[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def as_json(value: Any) -> str:
    """JSON that a browser reads: a number that is none (NaN, infinite) is null.

    >>> as_json({"snr_db": float("nan"), "words": ["é"]})
    '{"snr_db":null,"words":["é"]}'
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return as_json(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def embedded(value: Any) -> str:
    r"""JSON that can stand in a `<script>`: nothing in it ends the element.

    >>> embedded("</script><script>alert(1)")
    '"\\u003c/script\\u003e\\u003cscript\\u003ealert(1)"'
    """
    text = as_json(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
