"""Draws what a sampler has seen: a CSV with all of it, and an SVG with one small curve below the other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.sampler import Row

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 720, 50, 150, 34, 14
_POINTS = 180
_BROKEN_OFF = 5
"""After how many points without a value a curve begins anew."""
_COLOURS = {
    "ramp": "#e8f1fa",
    "steady": "#f3f8f0",
    "departure": "#fbe3df",
    "storm": "#fdf0cf",
    "gone": "#eeeeee",
    "quiet": "#ffffff",
}


class Curve(NamedTuple):
    """One of them: the column, and what it is called."""

    column: str
    title: str


CURVES = (
    Curve("users_online", "users online"),
    Curve("connections", "event streams"),
    Curve("sessions", "sessions"),
    Curve("tasks", "asyncio tasks"),
    Curve("descriptors", "open descriptors"),
    Curve("threads", "threads"),
    Curve("rss_mb", "resident memory, MiB"),
    Curve("open_marks", "dialogs marked open"),
    Curve("archives", "dialogs archived"),
    Curve("archive_ms_max", "slowest archive, ms"),
    Curve("connect_ms_p99", "connecting, ms, p99"),
    Curve("call_ms_p50", "a call, ms, median"),
    Curve("health_ms", "/health, ms"),
    Curve("server_cpu", "processors, server"),
    Curve("load_cpu", "processors, load"),
)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All rows, a column for each value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def svg(rows: Sequence[Row], title: str) -> str:
    """The curves over time, the phases as colours behind; at each point from the lowest to the highest."""
    last_s = max(row["t"] for row in rows) or 1.0
    height = _TOP + len(CURVES) * (_HEIGHT + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="20" font-size="14">{title}</text>',
    ]
    parts += _phases(rows, height - _TOP - 20, last_s)
    for number, curve in enumerate(CURVES):
        parts += _draw(rows, curve, _TOP + number * (_HEIGHT + _GAP), last_s)
    for minute in range(0, int(last_s / 60) + 1, max(1, int(last_s / 600))):
        parts.append(f'<text x="{_x(minute * 60, last_s):.0f}" y="{height - 8}">{minute} min</text>')
    return "\n".join([*parts, "</svg>", ""])


def _x(at_s: float, last_s: float) -> float:
    return _LEFT + _WIDTH * at_s / last_s


def _draw(rows: Sequence[Row], curve: Curve, top: int, last_s: float) -> list[str]:
    known = [(row["t"], row[curve.column]) for row in rows if row.get(curve.column) is not None]
    highest = max((value for _, value in known), default=0) or 1
    points: dict[int, list[float]] = {}
    for at_s, value in known:
        points.setdefault(int(at_s / last_s * _POINTS), []).append(value / highest)
    return [
        f'<text x="8" y="{top + 14}">{curve.title}</text>',
        f'<text x="8" y="{top + 30}" fill="#666">highest {highest:g}</text>',
        f'<text x="8" y="{top + 46}" fill="#666">last {known[-1][1] if known else 0:g}</text>',
        f'<path d="{_path(points, top)}" fill="none" stroke="#1f5fa8" stroke-width="1.2"/>',
    ]


def _path(points: dict[int, list[float]], top: int) -> str:
    """The curve as SVG has it; where nothing was measured it is broken off.

    Args:
        points: The values at each point, as parts of the highest of all.
        top: Where the highest is drawn.
    """
    steps = []
    before = -_BROKEN_OFF
    for slot, values in sorted(points.items()):
        x = round(_LEFT + _WIDTH * slot / _POINTS)
        high, low = (round(top + _HEIGHT * (1 - value)) for value in (max(values), min(values)))
        steps.append(f"{'M' if slot - before >= _BROKEN_OFF else 'L'}{x},{high}")
        if low != high:
            steps.append(f"V{low}")
        before = slot
    return "".join(steps)


def _phases(rows: Sequence[Row], height: int, last_s: float) -> list[str]:
    parts = []
    begun = 0
    for position, row in enumerate(rows):
        following = rows[position + 1] if position + 1 < len(rows) else None
        if following is None or following["phase"] != row["phase"]:
            left, right = _x(rows[begun]["t"], last_s), _x((following or row)["t"], last_s)
            colour = _COLOURS.get(row["phase"], "#fff")
            parts.append(
                f'<rect x="{left:.0f}" y="{_TOP}" width="{max(1, right - left):.0f}" height="{height}" '
                f'fill="{colour}"/>'
            )
            begun = position + 1
    return parts
