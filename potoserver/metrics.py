"""The core's metrics, on a registry of the server's own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """Every metric of the core. Labels take values from closed sets only, never ids.

    Modules add theirs to `registry`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on: dict[str, Any] = {"registry": self.registry}
        self.connections = Gauge("potoserver_connections", "Open event streams.", **on)
        self.connections_refused = Counter(
            "potoserver_connections_refused", "Event streams refused.", ["reason"], **on
        )
        self.sockets = Gauge("potoserver_sockets", "Accepted connections without an event stream.", **on)
        self.sockets_refused = Counter(
            "potoserver_sockets_refused", "Connections refused since all were busy.", **on
        )
        self.connections_ended = Counter(
            "potoserver_connections_ended", "Event streams ended.", ["cause"], **on
        )
        self.users_online = Gauge("potoserver_users_online", "Users with a connection.", **on)
        self.events_published = Counter("potoserver_events_published", "Events published.", **on)
        self.events_delivered = Counter(
            "potoserver_events_delivered", "Events written to a connection.", **on
        )
        self.events_replayed = Counter(
            "potoserver_events_replayed", "Events that a returning client had missed.", **on
        )
        self.events_dropped = Counter(
            "potoserver_events_dropped", "Events that left a log by its bounds.", **on
        )
        self.gaps = Counter("potoserver_gaps", "Returns that could not be continued.", **on)
        self.departures = Counter("potoserver_departures", "Users gone past the grace.", ["cause"], **on)
        self.hook_seconds = Histogram(
            "potoserver_hook_seconds", "Time of one try.", ["module", "hook"], buckets=_FAST, **on
        )
        self.hook_failures = Counter(
            "potoserver_hook_failures", "Tries that failed.", ["module", "hook"], **on
        )
        self.hooks_parked = Counter(
            "potoserver_hooks_parked", "Departures that a module never took.", ["module"], **on
        )
        self.request_seconds = Histogram(
            "potoserver_request_seconds",
            "Time of a request.",
            ["route", "method", "status"],
            buckets=_FAST,
            **on,
        )
        self.requests_refused = Counter(
            "potoserver_requests_refused",
            "Requests that no route saw: no HTTP, or too slow.",
            ["status"],
            **on,
        )
        self.calls_in_flight = Gauge("potoserver_calls_in_flight", "Calls in flight.", **on)
        self.calls_refused = Counter(
            "potoserver_calls_refused", "Calls refused, too many being in flight.", ["of"], **on
        )
        self.endless_calls = Gauge("potoserver_endless_calls", "Endless calls open.", **on)
        self.rate_limited = Counter("potoserver_rate_limited", "Requests refused with 429.", **on)
        self.alarm = Gauge("potoserver_alarm", "1 while an alarm is on.", ["alarm"], **on)
        self.log_lines_dropped = Counter(
            "potoserver_log_lines_dropped", "Log lines that the writer could not keep up with.", **on
        )
