"""The figures of the card, as SVG: plain rectangles and text, so that the same release gives the same bytes with whatever versions of packages.

The Hub shows SVG that lies in a data set (its own badges do). Colours are those of Okabe and Ito (2008), which colour-blind people tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from manifests.release import FIGURES

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
WIDTH, LEFT, RIGHT, TOP, ROW, PLOT = 720, 190, 90, 56, 24, 220
"""Pixels: of a figure; of its left, right and upper edge; of one bar that lies; of the height of a histogram."""
_MOST = 12  # bars that lie; the rest is one


def figures(release: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Path in the release to the text that stands for a figure, and its SVG. Only figures that have something to show."""
    told, counts = release["statistics"], release["counts"]
    splits = sorted(counts["split"], key=lambda name: -counts["split"][name]["hours"])
    drawn = [
        _lying("hours", f"Hours by language and split, {counts['hours']} h in all", "hours", told["language_split"], splits),
        _histogram(
            "duration", "Hours by length of a segment", f"seconds of a segment (the last bar: {len(told['duration']['hours']) - 1} and more)",
            told["duration"]["hours"], told["duration"]["bin_seconds"],
        ),
        _lying("funnel", f"What {release['rows']} rows became, in hours", "hours", _funnel(release), ["in the release", "dropped"]),
    ]  # fmt: skip
    if "confidence" in told:
        title = "Hours by confidence, the expected share of right words"
        drawn.append(_histogram("confidence", title, "confidence of a segment", told["confidence"]["hours"], told["confidence"]["bin"]))
    return {f"{FIGURES}/{name}.svg": (title, svg) for name, title, svg in sorted(drawn)}


def _funnel(release: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    dropped = {f"{reason} ({group['rows']} rows)": {"dropped": group["hours"]} for reason, group in release["dropped"].items()}
    kept = {f"in the release ({release['counts']['samples']} rows)": {"in the release": release["counts"]["hours"]}}
    return kept | dropped


def _lying(name: str, title: str, unit: str, rows: Mapping[str, Mapping[str, float]], kinds: Sequence[str]) -> tuple[str, str, str]:
    """Bars that lie, one a row and stacked by kind, the longest first."""
    ordered = sorted(rows.items(), key=lambda row: (-sum(row[1].values()), row[0]))
    if len(ordered) > _MOST:
        rest = [values for _, values in ordered[_MOST - 1 :]]
        ordered = [*ordered[: _MOST - 1], (f"{len(rest)} others", {kind: sum(values.get(kind, 0.0) for values in rest) for kind in kinds})]
    longest = max((sum(values.values()) for _, values in ordered), default=0.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    inside = [*_legend(kinds)]
    for number, (label, values) in enumerate(ordered):
        y, x = TOP + number * ROW, float(LEFT)
        inside.append(_label(LEFT - 8, y + 16, _short(label), "end"))
        for kind, colour in zip(kinds, _colours(kinds), strict=True):
            if length := values.get(kind, 0.0) * scale:
                inside.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>')
                x += length
        inside.append(_label(x + 6, y + 16, _number(sum(values.values()))))
    bottom = TOP + len(ordered) * ROW
    inside.append(f'<line x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}" stroke="#888"/>')
    inside.append(_label(LEFT + (WIDTH - LEFT - RIGHT) / 2, bottom + 20, unit, "middle"))
    return name, title, _svg(title, bottom + 32, inside)


def _histogram(name: str, title: str, unit: str, hours: Sequence[float], width: float) -> tuple[str, str, str]:
    """Bars that stand, one a bin from 0 on."""
    edge, highest = 70, max(hours) or 1.0
    step, bottom = (WIDTH - 2 * edge) / len(hours), TOP + PLOT
    inside = []
    for tick in range(5):
        y = bottom - PLOT * tick / 4
        inside.append(f'<line x1="{edge}" y1="{y:.1f}" x2="{WIDTH - edge}" y2="{y:.1f}" stroke="#ddd"/>')
        inside.append(_label(edge - 8, y + 4, _number(highest * tick / 4), "end"))
    for number, value in enumerate(hours):
        if value:
            height = PLOT * value / highest
            inside.append(
                f'<rect x="{edge + number * step + 1:.1f}" y="{bottom - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}" fill="{COLOURS[0]}"/>'
            )
    every = max(1, round(len(hours) / 10))
    inside += [_label(edge + number * step, bottom + 16, f"{number * width:g}", "middle") for number in range(0, len(hours) + 1, every)]
    inside += [_label(edge, TOP - 12, "hours"), _label(WIDTH / 2, bottom + 36, unit, "middle")]
    return name, title, _svg(title, bottom + 48, inside)


def _legend(kinds: Sequence[str]) -> list[str]:
    found, x = [], LEFT
    for kind, colour in zip(kinds, _colours(kinds), strict=True):
        found.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>')
        found.append(_label(x + 18, 44, _short(kind)))
        x += 34 + 7 * len(_short(kind))
    return found


def _colours(kinds: Sequence[str]) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(len(kinds))]


def _svg(title: str, height: float, inside: Sequence[str]) -> str:
    lines = "\n".join(inside)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#222">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height:g}" fill="#fff"/>\n<text x="12" y="22" font-size="15">{escape(title)}</text>\n{lines}\n</svg>\n'
    )


def _label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(_printable(text))}</text>'


def _printable(text: str) -> str:
    """Without control characters, which XML forbids."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _short(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"


def _number(value: float) -> str:
    """As few digits as a reader needs.

    >>> _number(12345.6), _number(0.0123), _number(0)
    ('12,346', '0.0123', '0')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
