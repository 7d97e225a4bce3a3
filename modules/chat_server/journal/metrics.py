"""The journal's metrics, on the server's registry."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class JournalMetrics:
    """What the journal counts and times.

    Args:
        registry: Where the metrics are registered, once per server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.append_seconds = Histogram(
            "potoserver_journal_append_seconds",
            "Time until a message was on disk, waiting included.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.flush_seconds = Histogram(
            "potoserver_journal_flush_seconds",
            "Time of one flush of a dialog's file.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.archives = Counter("potoserver_archives", "Dialogs archived.", ["reason"], registry=registry)
        self.recovered_dialogs = Counter(
            "potoserver_recovered_dialogs", "Open dialogs found again after a restart.", registry=registry
        )
        self.set_aside = Counter(
            "potoserver_set_aside", "Torn tails and unreadable files set aside.", registry=registry
        )
