"""Lines through the medians of figures that form a series, as SVG: nothing more is needed to look at it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from scripts.bench.side_by_side.figures import Figure, Samples
from scripts.bench.side_by_side.table import number

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 40, 50
_COLOURS = ("#0b6e99", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#5f3dc4")
_TICKS = 5
_TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'


def plots_of(samples: Samples, peers: Sequence[str]) -> dict[str, str]:
    """A plot of each series, by its name."""
    series: dict[str, list[Figure]] = {}
    for figure in samples.figures:
        if figure.series:
            series.setdefault(figure.series, []).append(figure)
    return {name: _plot(name, figures, samples, peers) for name, figures in series.items()}


def save_plots(samples: Samples, peers: Sequence[str], page: Path) -> list[Path]:
    """Writes them beside a page."""
    files = []
    for name, drawn in plots_of(samples, peers).items():
        file = page.with_name(f"{page.stem}-{re.sub(r'[^a-z0-9]+', '-', name.lower())}.svg")
        file.write_text(drawn)
        files.append(file)
    return files


def _plot(name: str, figures: list[Figure], samples: Samples, peers: Sequence[str]) -> str:
    lines: dict[str, list[tuple[float, float]]] = {}
    for figure in sorted(figures, key=lambda each: each.at):
        for peer in peers:
            spread = samples.spread(figure, peer)
            if spread is not None:
                lines.setdefault(peer, []).append((figure.at, spread.median))
    highest_x = _ceiling(max(x for line in lines.values() for x, _ in line))
    highest_y = _ceiling(max(y for line in lines.values() for _, y in line))

    def x_of(value: float) -> float:
        return _LEFT + value / highest_x * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / highest_y * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="22" {_TEXT} font-weight="bold">{escape(name)}, {figures[0].unit}</text>']
    for tick in range(_TICKS + 1):
        x, y = x_of(highest_x * tick / _TICKS), y_of(highest_y * tick / _TICKS)
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>'
            f"{number(highest_y * tick / _TICKS)}</text>",
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" {_TEXT}>'
            f"{highest_x * tick / _TICKS:,.0f}</text>",
        ]
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle" {_TEXT}>'
        f"{escape(figures[0].along)}</text>"
    )
    for at, (peer, line) in enumerate(lines.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        y = _TOP + 18 * at
        parts.append(f'<rect x="{_WIDTH - _RIGHT + 14}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 30}" y="{y}" {_TEXT}>{escape(peer)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _ceiling(value: float) -> float:
    """A round number that is not lower."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)
