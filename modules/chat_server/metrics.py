"""The chat's metrics, on the server's registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)


class RetentionMetrics:
    """What the retention counts.

    Args:
        registry: Where the metrics are registered, once per server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.archives = Counter(
            "potoserver_retention_archives",
            "Archives that the retention deleted, would delete in a dry run, or users at whom it failed.",
            ["outcome"],
            registry=registry,
        )


class ChatMetrics:
    """What the chat counts and times.

    Args:
        registry: Where the metrics are registered, once per server.
        sessions: Tells how many sessions there are.
        pending_archives: Tells how many sessions have ended and are not archived yet.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        sessions: Callable[[], int],
        pending_archives: Callable[[], int],
    ) -> None:
        active = Gauge("potoserver_sessions", "Active sessions.", registry=registry)
        active.set_function(sessions)
        pending = Gauge(
            "potoserver_pending_archives",
            "Sessions that have ended and are not archived yet.",
            registry=registry,
        )
        pending.set_function(pending_archives)
        self.replies = Counter(
            "potoserver_chat_replies",
            "Replies: whole, interrupted, failed, or repeated for an idempotency key.",
            ["outcome"],
            registry=registry,
        )
        self.reply_seconds = Histogram(
            "potoserver_chat_reply_seconds",
            "From the question on disk to the reply on disk.",
            buckets=_BUCKETS,
            registry=registry,
        )
