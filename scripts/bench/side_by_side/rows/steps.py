"""What the same costs at each of some numbers of what there is, and the last beside the first."""

from __future__ import annotations

from scripts.bench.side_by_side.figures import Bound, Figure

_FLAT = (Bound(1.3, "", at_most=True),)
"""What differs by less is noise."""


class Steps:
    """Costs as something grows.

    Attributes:
        found: A figure for each.
    """

    def __init__(self) -> None:
        self.found: dict[Figure, float] = {}
        self._costs: dict[str, list[tuple[int, float]]] = {}

    def add(self, name: str, value: float, along: str, at: int) -> None:
        """Takes what one costs.

        Args:
            name: Of what, a comma, the unit.
            value: How much.
            along: What grows.
            at: Up to how many of it there were.
        """
        what, _, unit = name.rpartition(", ")
        self.found[Figure(f"{what}, up to {at:,} {along}", unit, series=what, along=along, at=at)] = value
        self._costs.setdefault(what, []).append((at, value))

    def compare(self) -> None:
        """Adds how much the last of each costs of what the first does."""
        for what, costs in self._costs.items():
            (first, before), (last, after) = costs[0], costs[-1]
            figure = Figure(f"{what}, the last of {last:,} against the first {first:,}", "times", _FLAT)
            self.found[figure] = after / before if before else 0.0
