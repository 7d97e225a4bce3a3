"""What is measured, and what the repeats of it say: medians, noise, ratios, and whether a bound holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Bound:
    """What a figure of this server has to be, as a ratio to a peer's in the same repeat.

    Attributes:
        factor: The ratio.
        of: The peer, or "" where it is the figure itself that is bounded, not its ratio.
        at_most: Whether the ratio is the highest allowed one, else the lowest.
        figure: The name of the peer's figure, where it is another one.
    """

    factor: float
    of: str
    at_most: bool
    figure: str | None = None

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        of = f"{self.of}, {self.figure}" if self.figure else self.of
        return f"{sign} {self.factor:.3g} × {of}" if of else f"{sign} {self.factor:.3g}"

    def allows(self, ratio: float) -> bool:
        """Whether it holds with that ratio."""
        return ratio <= self.factor if self.at_most else ratio >= self.factor


@dataclass(frozen=True)
class Figure:
    """One thing that is measured.

    Attributes:
        name: What it is, with all that distinguishes it.
        unit: Of its values.
        bounds: What it has to be.
        series: Of which plot it is a point; "" for none.
        along: What the plot's other axis is.
        at: Where on that.
    """

    name: str
    unit: str
    bounds: tuple[Bound, ...] = ()
    series: str = ""
    along: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Spread:
    """The values of all repeats.

    Attributes:
        median: The one in the middle.
        lowest: The lowest one.
        highest: The highest one.
    """

    median: float
    lowest: float
    highest: float

    @property
    def noise(self) -> float:
        """How far apart the repeats are, as a share of their median."""
        return (self.highest - self.lowest) / self.median if self.median else 0.0

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of some values."""
        return cls(median(values), min(values), max(values))


def percentile(values: Iterable[float], share: int) -> float:
    """The value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * share // 100, len(ordered) - 1)]


class Samples:
    """All values that were measured: by figure, peer and repeat."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        """In the order in which they came."""
        self._values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))

    def add(self, figure: Figure, peer: str, repeat: int, value: float) -> None:
        """Takes a value."""
        if figure not in self.figures:
            self.figures.append(figure)
        self._values[figure.name][peer][repeat] = value

    def by_peer(self, figure: Figure) -> dict[str, dict[int, float]]:
        """All values of a figure, by peer and repeat."""
        return {peer: dict(values) for peer, values in self._values[figure.name].items() if values}

    def spread(self, figure: Figure, peer: str) -> Spread | None:
        """A peer's values as a median and its noise; None where there is none."""
        values = list(self._values[figure.name][peer].values())
        return Spread.of(values) if values else None

    def ratio(self, figure: Figure, peer: str, of: str, other: str | None = None) -> Spread | None:
        """The ratio of two peers, repeat by repeat: what disturbs the machine for longer disturbs both.

        None where no repeat has both. `other` names the figure of the second one, where it is another one.
        """
        values, others = self._values[figure.name][peer], self._values[other or figure.name][of]
        ratios = [value / others[repeat] for repeat, value in values.items() if others.get(repeat)]
        return Spread.of(ratios) if ratios else None

    def judged(self, figure: Figure, bound: Bound, peer: str) -> tuple[Spread, str] | None:
        """The ratio that a bound is about, and what the repeats say: it holds, it doesn't, or both.

        None where it was not measured.
        """
        ratio = self.ratio(figure, peer, bound.of, bound.figure) if bound.of else self.spread(figure, peer)
        if ratio is None:
            return None
        held = {bound.allows(ratio.lowest), bound.allows(ratio.highest)}
        return ratio, "sometimes" if len(held) > 1 else "yes" if held.pop() else "no"
