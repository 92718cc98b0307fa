"""Reliability diagram and risk-coverage curve as one HTML page with nothing outside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from stages.measures import right_share
from workflows.evaluate.measures import oracle, reliability, risk_coverage
from workflows.evaluate.table import Judged

SIDE, EDGE = 320, 44
"""Pixels of a plot, and around it."""
COLOURS = {"confidence": "#0b6", "mean word probability": "#c60", "a perfect ranking": "#888"}


def page(judged: Sequence[Judged], title: str) -> str:
    """The page; `title` is text."""
    style = "body{font:15px sans-serif;margin:2em;color:#222;background:#fff}figure{display:inline-block;margin:1em}svg{background:#fafafa}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
        f"<h1>{escape(title)}</h1>{''.join(plots(judged))}</html>\n"
    )


def plots(judged: Sequence[Judged]) -> list[str]:
    """The two figures, as HTML."""
    return [_reliability(judged), _curves(judged)]


def _reliability(judged: Sequence[Judged]) -> str:
    errors = [item.errors for item in judged]
    words, labels, wrong = ([getattr(item, name) for item in errors] for name in ("words", "label_words", "errors"))
    bins = reliability([item.confidence for item in judged], np.maximum(words, labels), right_share(words, labels, wrong))
    total = max(1, sum(each.words for each in bins))
    dots = [
        f'<circle cx="{_x(each.confidence):.1f}" cy="{_y(each.right):.1f}" r="{3 + 12 * (each.words / total) ** 0.5:.1f}" fill="#0b6" fill-opacity=".6">'
        f"<title>{each.words} words: expected {each.confidence:.2f}, right {each.right:.2f}</title></circle>"
        for each in bins
    ]
    diagonal = f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#888" stroke-dasharray="4"/>'
    return _plot(
        diagonal + "".join(dots),
        "confidence",
        "share of right words",
        "Reliability: on the line, the confidence is the share of right words",
        1.0,
    )


def _curves(judged: Sequence[Judged]) -> str:
    words, wrong = [item.errors.words for item in judged], [item.errors.errors for item in judged]
    rankings: dict[str, Any] = {
        "confidence": [item.confidence for item in judged],
        "mean word probability": [item.row.get("label_confidence") for item in judged],
        "a perfect ranking": oracle(words, wrong),
    }
    curves = {name: risk_coverage(scores, words, wrong) for name, scores in rankings.items()}
    top = max(0.01, max((float(rates.max()) for _, rates in curves.values() if len(rates)), default=0.01))
    lines, keys = [], []
    for number, (name, (shares, rates)) in enumerate(curves.items()):
        points = " ".join(f"{_x(float(share)):.1f},{_y(float(rate) / top):.1f}" for share, rate in zip(shares, rates, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        keys.append(f'<text x="{EDGE + 8}" y="{EDGE + 16 + 18 * number}" fill="{COLOURS[name]}">{name}</text>')
    return _plot(
        "".join(lines + keys),
        "share of the words kept",
        "WER of what is kept",
        "Risk and coverage: what is kept, the best first, and how wrong it is",
        top,
    )


def _plot(inside: str, across: str, up: str, caption: str, top: float) -> str:
    size = SIDE + 2 * EDGE
    ticks = "".join(
        f'<text x="{_x(part)}" y="{_y(0) + 16}" text-anchor="middle">{part:g}</text><text x="{_x(0) - 6}" y="{_y(part) + 4}" text-anchor="end">{part * top:.2g}</text>'
        for part in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    return (
        f'<figure><svg width="{size}" height="{size}" font-size="12" role="img" aria-label="{escape(caption)}">'
        f'<rect x="{EDGE}" y="{EDGE}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#bbb"/>{ticks}{inside}'
        f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">{across}</text><text x="{EDGE}" y="{EDGE - 10}">{up}</text></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _x(part: float) -> float:
    return EDGE + SIDE * part


def _y(part: float) -> float:
    return EDGE + SIDE * (1 - part)
