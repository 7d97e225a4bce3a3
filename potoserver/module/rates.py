"""How fast counters grow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry

from potoserver.clock import Clock

_SAME_S = 0.5
"""Looked at again so soon, it is the same look."""
_LONG_AGO_S = 30.0
"""A look that long ago tells nothing about now."""


class Rates:
    """What counters have grown by since the look before, by the second. All labels of one are one count.

    Args:
        registry: Where the counters are.
        clock: Measures the time between two looks.
        names: What is exported of them: `potoserver_events_published_total`.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._counters = registry.restricted_registry(self._names)
        self._clock = clock
        self._looked_s = -math.inf
        self._counts: Mapping[str, float] = {}
        self._rates: Mapping[str, float] | None = None

    def look(self) -> Mapping[str, float] | None:
        """The rates by name, 0 for what is not counted yet; None where nobody has looked shortly before."""
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._looked_s
        if elapsed_s < _SAME_S:
            return self._rates
        counts: defaultdict[str, float] = defaultdict(float)
        for metric in self._counters.collect():
            for sample in metric.samples:
                counts[sample.name] += sample.value
        before, self._counts, self._looked_s = self._counts, counts, now_s
        self._rates = (
            {name: round((counts[name] - before[name]) / elapsed_s, 2) for name in self._names}
            if elapsed_s < _LONG_AGO_S
            else None
        )
        return self._rates
