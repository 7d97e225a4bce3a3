"""The tables that a run ends with, as Markdown, and its values as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.bench.side_by_side.figures import Figure, Samples, Spread

_MISSING = "—"


def number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _cell(spread: Spread | None) -> str:
    return _MISSING if spread is None else f"{number(spread.median)} ({spread.noise:.0%})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def values_table(samples: Samples, peers: list[str]) -> str:
    """The median of each figure and peer, and in brackets how far apart the repeats were."""
    measured = {peer for figure in samples.figures for peer in samples.by_peer(figure)}
    peers = [peer for peer in peers if peer in measured]
    rows = [
        [f"{figure.name}, {figure.unit}", *(_cell(samples.spread(figure, peer)) for peer in peers)]
        for figure in samples.figures
    ]
    return _table(["what", *peers], rows)


def bounds_table(samples: Samples, peer: str) -> str:
    """What each bound asks, what was measured, and whether it holds in every repeat."""
    rows = []
    for figure in samples.figures:
        for bound in figure.bounds:
            judged = samples.judged(figure, bound, peer)
            if judged is None:
                rows.append([figure.name, str(bound), _MISSING, _MISSING, "not measured"])
                continue
            ratio, holds = judged
            ends = f"{number(ratio.lowest)} to {number(ratio.highest)}"
            rows.append([figure.name, str(bound), number(ratio.median), ends, holds])
    return _table(["what", "bound", "median", "repeats", "holds"], rows)


def saved(folder: Path, name: str, text: str, samples: Samples, about: Mapping[str, object]) -> Path:
    """Writes the text and the values to files of that name; returns the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.md"
    page.write_text(text)
    values = {"about": dict(about), "figures": [_values(samples, figure) for figure in samples.figures]}
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1))
    return page


def _values(samples: Samples, figure: Figure) -> dict[str, object]:
    return {"name": figure.name, "unit": figure.unit, "values": samples.by_peer(figure)}
